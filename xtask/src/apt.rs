//! Debian's packages, unpacked under `target/debian` and never installed. apt finds them and their
//! dependencies, verifies them against the archive's key and fetches them. It has a state of its
//! own, so that any architecture's packages come without root and without a change to the host.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use log::{info, warn};

use crate::apt_sources::{Source, sources};
use crate::programs::{is_installed, output_of};
use crate::workspace::{entries, remove_folder, target_dir};

/// The release whose packages we use: the last one with an i386 kernel (6.1).
pub(crate) const RELEASE: &str = "bookworm";
/// Its security updates, which have an archive of their own.
pub(crate) const SECURITY: &str = "bookworm-security";
/// The file in a folder that names its packages: a line with name and version for each.
const LABEL: &str = "package";
/// Read by apt after the host's own configuration, so that a proxy set there stays in force, while
/// the host's hooks, pins and its wish for further indices do not reach the private state, and
/// signatures are needed whatever the host allows. `@` is the state's folder, `%` the architecture.
const CONFIG: &str = r#"
Dir::State "@"; Dir::State::Lists "@/lists"; Dir::State::status "@/status"; Dir::Cache "@";
Dir::Etc::SourceList "@/sources.list"; Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "/dev/null"; Dir::Etc::PreferencesParts "/dev/null";
#clear APT::Architectures;
APT::Architecture "%"; APT::Architectures { "%"; };
APT::Get::List-Cleanup "false"; APT::Install-Recommends "false"; Acquire::Languages "none";
APT::Sandbox::User "root"; APT::Update::Error-Mode "any";
Acquire::AllowInsecureRepositories "false"; APT::Get::AllowUnauthenticated "false";
#clear Acquire::IndexTargets::deb::DEP-11;
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
"#;

/// Packages that are unpacked into one folder.
#[derive(Clone, Debug, Default)]
pub(crate) struct Packages<'a> {
    /// The folder.
    pub root: PathBuf,
    /// Debian's word for their CPU architecture.
    pub architecture: &'static str,
    /// Suites of the release's mirror; the first that has the packages serves.
    pub suites: &'static [&'static str],
    /// True to take the release's security updates as well, if the host's sources name them.
    pub security: bool,
    /// Packages that come alone. `*` in a name is a version, and the newest one counts.
    pub alone: &'a [&'a str],
    /// Packages that come with all that they depend on.
    pub complete: &'static [&'static str],
    /// Packages that need not come along, in the format of dpkg's status file.
    pub installed: String,
    /// The only files that are unpacked, as a pattern of tar's; else all are.
    pub only: Option<&'static str>,
    /// The oldest version of the first package that will do.
    pub oldest: &'static str,
}

/// A package as apt would fetch it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Deb {
    pub name: String,
    pub version: String,
    /// In bytes.
    pub size: u64,
}

impl Packages<'_> {
    /// Returns the result of `find` in the folder. If that is nothing, the packages are fetched
    /// first: from the given mirror, or from those of the host's own apt sources.
    ///
    /// # Errors
    /// Fails if no mirror is known, none has the packages, or apt or dpkg-deb fail; the text has
    /// their messages.
    pub(crate) fn ensure<T>(
        &self,
        mirror: Option<&str>,
        find: impl Fn(&Path) -> Result<Option<T>>,
    ) -> Result<T> {
        if let Some(found) = find(&self.root)? {
            return Ok(found);
        }
        let _lock = lock()?;
        // Another process may have fetched them meanwhile.
        if let Some(found) = find(&self.root)? {
            return Ok(found);
        }
        let security = match mirror {
            None if self.security => sources(None, SECURITY).unwrap_or_default(),
            _ => Vec::new(),
        };
        let mirrors = sources(mirror, RELEASE)?;
        let mut failed = None;
        for suite in self.suites {
            for mirror in &mirrors {
                if let Some(error) = failed.take() {
                    warn!("{error:#}; trying {suite} at {}", mirror.uri);
                }
                let source = Source { suite: suite.to_string(), ..mirror.clone() };
                match self.fetch(&[&[source], &*security].concat(), &find) {
                    Ok(found) => return Ok(found),
                    Err(error) => failed = Some(error),
                }
            }
        }
        Err(failed.expect("there is a suite and a mirror"))
    }

    /// Fetches and unpacks the packages. The folder gets its name when it is whole.
    fn fetch<T>(&self, sources: &[Source], find: impl Fn(&Path) -> Result<Option<T>>) -> Result<T> {
        let apt = Apt::new(&folder("apt"), self.architecture, sources, &self.installed)?;
        let mut debs =
            self.alone.iter().map(|name| apt.newest(name)).collect::<Result<Vec<_>>>()?;
        if !self.complete.is_empty() {
            let mut complete = apt.debs("install", self.complete)?;
            complete.sort_by_key(|deb| !self.complete.contains(&&*deb.name));
            debs.extend(complete);
        }
        let main = debs.first().context("apt offers no package")?;
        ensure!(
            numbers(&main.version) >= numbers(self.oldest),
            "the newest {} in the index is {}, and {} is needed. It is in {SECURITY}, which has a \
             server of its own: with --mirror only {RELEASE} itself is read. Next step: name \
             {SECURITY} in this host's apt sources, and do without --mirror",
            main.name,
            main.version,
            self.oldest
        );
        let label = |deb: &Deb| format!("{} {}", deb.name, deb.version);
        let labels: Vec<_> = debs.iter().map(label).collect();
        let (all, size) = (labels.join(", "), debs.iter().map(|deb| deb.size).sum::<u64>());
        let (architecture, size) = (self.architecture, size as f64 / 1e6);
        info!("fetching and unpacking {all} ({architecture}, {size:.1} MB)");
        let fresh = self.root.with_extension("new");
        apt.unpack(&debs, self.only, &fresh)?;
        fs::write(fresh.join(LABEL), labels.join("\n"))?;
        find(&fresh)?.with_context(|| format!("a file is missing in {}", labels[0]))?;
        remove_folder(&self.root)?;
        fs::rename(&fresh, &self.root).with_context(|| format!("renaming {}", fresh.display()))?;
        find(&self.root)?.with_context(|| format!("{} is gone", self.root.display()))
    }
}

/// A folder under `target/debian`.
pub(crate) fn folder(name: &str) -> PathBuf {
    target_dir().join("debian").join(name)
}

/// Name and version of the package that `root` was unpacked for.
///
/// # Errors
/// Fails if nothing was unpacked there.
pub(crate) fn package_in(root: &Path) -> Result<String> {
    let label = root.join(LABEL);
    let text =
        fs::read_to_string(&label).with_context(|| format!("reading {}", label.display()))?;
    Ok(text.lines().next().unwrap_or_default().to_string())
}

/// Keeps other processes from fetching until the file is dropped.
fn lock() -> Result<File> {
    let path = folder("lock");
    fs::create_dir_all(folder("")).with_context(|| format!("creating {}", path.display()))?;
    let file = File::create(&path).with_context(|| format!("creating {}", path.display()))?;
    if let Err(TryLockError::WouldBlock) = file.try_lock() {
        info!("waiting for another cargo xtask that fetches packages ({})", path.display());
    }
    file.lock().with_context(|| format!("locking {}", path.display()))?;
    Ok(file)
}

/// apt with its configuration, state and lists in one folder. Lists stay when another suite or
/// architecture is read.
struct Apt(PathBuf);

impl Apt {
    /// Lays the state out and reads the indexes that `sources` have of `architecture`.
    fn new(folder: &Path, architecture: &str, sources: &[Source], installed: &str) -> Result<Apt> {
        for program in ["apt-get", "dpkg-deb"] {
            let hint = "Debian's packages are fetched with Debian's own tools";
            ensure!(is_installed(program), "{program} is missing: {hint}");
        }
        remove_folder(&folder.join("archives"))?;
        fs::create_dir_all(folder.join("archives/partial"))
            .with_context(|| format!("creating {}", folder.display()))?;
        let config = CONFIG.replace('%', architecture).replace('@', &folder.to_string_lossy());
        fs::write(folder.join("apt.conf"), config)?;
        let lines: String = sources.iter().map(Source::line).collect();
        fs::write(folder.join("sources.list"), lines)?;
        fs::write(folder.join("status"), installed)?;
        let apt = Apt(folder.to_path_buf());
        for Source { uri, suite, .. } in sources {
            info!("reading the {architecture} package index of {suite} from {uri}");
        }
        apt.run(&["apt-get", "update"]).context(
            "a package index cannot be read. Next step: cargo xtask setup --mirror URL, with the \
             address of a Debian mirror that can be reached and has the suite",
        )?;
        Ok(apt)
    }

    fn run(&self, words: &[&str]) -> Result<String> {
        let mut command = Command::new(words[0]);
        command.arg("-c").arg(self.0.join("apt.conf")).arg("-q").args(&words[1..]);
        output_of(command.current_dir(self.0.join("archives")))
    }

    /// Packages that apt would fetch with `command` (`download` or `install`).
    fn debs(&self, command: &str, names: &[&str]) -> Result<Vec<Deb>> {
        let printed = self.run(&[&["apt-get", command, "--print-uris"], names].concat())?;
        Ok(printed.lines().filter_map(parse_uri).collect())
    }

    /// The package of this name; the newest one where `*` stands for a version. (Kernels for
    /// debugging, unsigned, cloud and real-time ones have further words in their names.)
    fn newest(&self, name: &str) -> Result<Deb> {
        let pattern = format!("^{}$", name.replace('.', r"\.").replace('*', "[0-9][^-]*"));
        let found = self.debs("download", &[&pattern]);
        let found = found.with_context(|| format!("there is no {name} (any more)"))?;
        let newest = found.into_iter().max_by_key(|deb| numbers(&deb.version));
        newest.with_context(|| format!("apt does not offer {name}"))
    }

    /// Fetches `debs` and unpacks them into a new folder.
    fn unpack(&self, debs: &[Deb], only: Option<&str>, root: &Path) -> Result<()> {
        let words: Vec<_> =
            debs.iter().map(|deb| format!("{}={}", deb.name, deb.version)).collect();
        let command = ["apt-get", "download"].into_iter();
        self.run(&command.chain(words.iter().map(String::as_str)).collect::<Vec<_>>())?;
        remove_folder(root)?;
        fs::create_dir_all(root).with_context(|| format!("creating {}", root.display()))?;
        for package in entries(&self.0.join("archives"), "", ".deb")? {
            match only {
                Some(only) => unpack_only(only, &package, root)?,
                None => {
                    output_of(Command::new("dpkg-deb").arg("-x").arg(&package).arg(root))?;
                }
            }
            fs::remove_file(&package).with_context(|| format!("removing {}", package.display()))?;
        }
        Ok(())
    }
}

/// Unpacks the files of `package` whose names, which begin with `./`, are of the pattern `only`.
fn unpack_only(only: &str, package: &Path, root: &Path) -> Result<()> {
    let mut archive = Command::new("dpkg-deb");
    let archive = archive.arg("--fsys-tarfile").arg(package).stdout(Stdio::piped());
    let mut archive = archive.spawn().context("cannot start dpkg-deb")?;
    let read = archive.stdout.take().expect("it is a pipe");
    let mut tar = Command::new("tar");
    tar.arg("-x").arg("-C").arg(root).args(["--wildcards", only]).stdin(read);
    let unpacked = output_of(&mut tar);
    // It ends as well when nobody reads its archive any more.
    drop(tar);
    let status = archive.wait().context("waiting for dpkg-deb")?;
    unpacked?;
    ensure!(status.success(), "dpkg-deb --fsys-tarfile {}: {status}", package.display());
    Ok(())
}

/// One line of `--print-uris`: address, file name, size, checksum.
fn parse_uri(line: &str) -> Option<Deb> {
    let mut words = line.strip_prefix('\'')?.split_once("' ")?.1.split(' ');
    let mut file = words.next()?.split('_');
    let (name, version) = (file.next()?.to_string(), file.next()?.replace("%3a", ":"));
    Some(Deb { name, version, size: words.next()?.parse().ok()? })
}

/// The numbers of a version, which versions of one kind are compared by.
fn numbers(version: &str) -> Vec<u64> {
    version.split(|one: char| !one.is_ascii_digit()).flat_map(str::parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        let is_newer = |one: &str, other: &str| numbers(one) > numbers(other);
        assert!(is_newer("6.1.176-1", "6.1.99-1") && is_newer("6.1.176-2", "6.1.176-1"));
        assert!(is_newer("6.12.90-1~bpo12+1", "6.12.9-2~bpo12+1"));
        assert!(is_newer("1.100.0+dfsg1", "1.95") && is_newer("1.95.0+dfsg1", "1.95"));
        assert!(is_newer("1.95", "1.94.9") && is_newer("1.95", "1.9") && is_newer("1.95", ""));
    }

    #[test]
    fn apts_list_of_files_is_read() {
        let line = "'http://deb.example/pool/b/a_1%3a1.35.0-4%2bb1_i386.deb' \
                    a_1%3a1.35.0-4+b1_i386.deb 958344 SHA256:725ef9e6";
        let deb = Deb { name: "a".into(), version: "1:1.35.0-4+b1".into(), size: 958_344 };
        assert_eq!(parse_uri(line), Some(deb));
        assert_eq!(parse_uri("Reading package lists..."), None);
    }

    #[test]
    fn only_the_wanted_files_are_unpacked() {
        let folder = tempfile::tempdir().unwrap();
        let (tree, root) = (folder.path().join("tree"), folder.path().join("root"));
        for folder in [&tree.join("DEBIAN"), &tree.join("boot"), &root] {
            fs::create_dir_all(folder).unwrap();
        }
        let control = "Package: a\nVersion: 1\nArchitecture: all\nMaintainer: a\nDescription: a\n";
        fs::write(tree.join("DEBIAN/control"), control).unwrap();
        for name in ["boot/vmlinux-1", "boot/config-1"] {
            fs::write(tree.join(name), name).unwrap();
        }
        let package = folder.path().join("a.deb");
        output_of(Command::new("dpkg-deb").arg("-b").args([&tree, &package])).unwrap();
        unpack_only("./boot/vmlinux-*", &package, &root).unwrap();
        assert_eq!(entries(&root.join("boot"), "", "").unwrap(), [root.join("boot/vmlinux-1")]);
        assert!(unpack_only("./boot/vmlinuz-*", &package, &root).is_err());
        fs::write(&package, "no package").unwrap();
        assert!(unpack_only("*", &package, &root).is_err());
    }

    #[test]
    fn an_unsigned_archive_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let index = folder.path().join("archive/dists/x/main/binary-i386");
        fs::create_dir_all(&index).unwrap();
        fs::write(index.join("Packages"), "").unwrap();
        fs::write(folder.path().join("archive/dists/x/Release"), "Suite: x\n").unwrap();
        let uri = format!("file:{}", folder.path().join("archive").display());
        let source = Source { uri, suite: "x".into(), signed_by: None };
        let apt = Apt::new(&folder.path().join("apt"), "i386", &[source], "");
        let error = format!("{:#}", apt.err().expect("nobody has signed it"));
        assert!(error.contains("is not signed") && error.contains("--mirror"), "{error}");
    }
}
