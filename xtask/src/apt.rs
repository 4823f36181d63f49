//! Debian's packages, unpacked under `target/debian` and never installed. apt finds them and what
//! they depend on, verifies them against the archive's key and fetches them. It has a state of its
//! own, so that any architecture's packages come without root and without a change to the host.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use log::{info, warn};

use crate::apt_sources::{Source, named_by_host, of_release};
use crate::programs::{is_installed, output_of};
use crate::workspace::{entries, remove_folder, target_dir};

/// The file in a folder that names its packages: a line with name and version for each.
const LABEL: &str = "package";

/// Suites that packages are taken from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Suites {
    /// The first that has them.
    FirstOf(&'static [&'static str]),
    /// All at once, as far as the host's sources name them.
    AllOf(&'static [&'static str]),
}

/// Packages that are unpacked into one folder.
#[derive(Clone, Debug)]
pub(crate) struct Packages {
    /// The folder.
    pub root: PathBuf,
    /// Debian's word for their CPU architecture.
    pub architecture: &'static str,
    pub suites: Suites,
    /// Packages that come alone. `*` in a name is a number, and the highest one counts.
    pub alone: Vec<&'static str>,
    /// Packages that come with all that they depend on.
    pub complete: Vec<&'static str>,
    /// Packages that need not come along, in the format of dpkg's status file.
    pub installed: String,
}

/// A package as apt would fetch it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Deb {
    pub name: String,
    pub version: String,
    /// In bytes.
    pub size: u64,
}

impl Packages {
    /// Returns what `find` sees in the folder. Where that is nothing, the packages are fetched.
    ///
    /// # Errors
    /// When no mirror is known, none has the packages, or apt or dpkg-deb fail; the text carries
    /// what they said.
    pub(crate) fn ensure<T>(
        &self,
        mirror: Option<&str>,
        find: impl Fn(&Path) -> Result<Option<T>>,
    ) -> Result<T> {
        self.ensure_if(|_| Ok(()), mirror, find)
    }

    /// As [`Packages::ensure`], but `accept` may refuse the packages before they are fetched.
    ///
    /// # Errors
    /// As [`Packages::ensure`], and those of `accept`.
    pub(crate) fn ensure_if<T>(
        &self,
        accept: impl Fn(&[Deb]) -> Result<()>,
        mirror: Option<&str>,
        find: impl Fn(&Path) -> Result<Option<T>>,
    ) -> Result<T> {
        if let Some(found) = find(&self.root)? {
            return Ok(found);
        }
        let _lock = lock(&folder(""))?;
        // Another process may have fetched them meanwhile.
        if let Some(found) = find(&self.root)? {
            return Ok(found);
        }
        let alternatives = match self.suites {
            Suites::FirstOf(suites) => {
                of_release(mirror, suites)?.into_iter().map(|one| vec![one]).collect()
            }
            Suites::AllOf(suites) => vec![named_by_host(mirror, suites)?],
        };
        let mut failed = None;
        for sources in &alternatives {
            if let Some(error) = failed.take() {
                warn!("{error:#}; trying {} of {}", sources[0].suite, sources[0].uri);
            }
            match self.fetch(sources, &accept, &find) {
                Ok(()) => break,
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(()), Err)?;
        find(&self.root)?.with_context(|| format!("{} is not whole", self.root.display()))
    }

    /// Fetches and unpacks the packages. The folder gets its name when it is whole.
    fn fetch<T>(
        &self,
        sources: &[Source],
        accept: impl Fn(&[Deb]) -> Result<()>,
        find: impl Fn(&Path) -> Result<Option<T>>,
    ) -> Result<()> {
        let apt = Apt::new(&folder("apt"), self.architecture, sources, &self.installed)?;
        let alone = self.alone.iter().map(|name| apt.newest(name)).collect::<Result<Vec<_>>>()?;
        let complete = self.complete.iter().map(|name| name.to_string()).collect::<Vec<_>>();
        let mut debs = [apt.debs("download", &alone)?, apt.debs("install", &complete)?].concat();
        let names = [&*alone, &complete].concat();
        debs.sort_by_key(|deb| {
            names.iter().position(|name| *name == deb.name).unwrap_or(names.len())
        });
        accept(&debs)?;
        let megabytes = debs.iter().map(|deb| deb.size).sum::<u64>() as f64 / 1e6;
        let packages: Vec<_> =
            debs.iter().map(|deb| format!("{} {}", deb.name, deb.version)).collect();
        info!("fetching {} ({}, {megabytes:.1} MB)", packages.join(", "), self.architecture);
        apt.fetch("download", &alone)?;
        apt.fetch("install", &complete)?;
        let fresh = self.root.with_extension("new");
        apt.unpack(&fresh)?;
        fs::write(fresh.join(LABEL), packages.join("\n"))?;
        find(&fresh)?
            .with_context(|| format!("there is not what was sought in {}", packages[0]))?;
        remove_folder(&self.root)?;
        fs::rename(&fresh, &self.root).with_context(|| format!("renaming {}", fresh.display()))
    }
}

/// A folder under `target/debian`.
pub(crate) fn folder(name: &str) -> PathBuf {
    target_dir().join("debian").join(name)
}

/// Name and version of the package that `root` was unpacked for.
///
/// # Errors
/// When nothing was unpacked there.
pub(crate) fn package_in(root: &Path) -> Result<String> {
    let label = root.join(LABEL);
    let text =
        fs::read_to_string(&label).with_context(|| format!("reading {}", label.display()))?;
    Ok(text.lines().next().unwrap_or_default().to_string())
}

/// Holds other processes back from fetching until the file is dropped.
fn lock(folder: &Path) -> Result<File> {
    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    let path = folder.join("lock");
    let file = File::create(&path).with_context(|| format!("creating {}", path.display()))?;
    if let Err(TryLockError::WouldBlock) = file.try_lock() {
        info!("waiting for another cargo xtask that fetches packages ({})", path.display());
    }
    file.lock().with_context(|| format!("locking {}", path.display()))?;
    Ok(file)
}

/// apt with its configuration, state, lists and archives in one folder.
struct Apt {
    folder: PathBuf,
    config: PathBuf,
}

impl Apt {
    /// Lays the state out and reads the indexes that `sources` have of `architecture`.
    fn new(folder: &Path, architecture: &str, sources: &[Source], installed: &str) -> Result<Apt> {
        for program in ["apt-get", "apt-cache", "dpkg-deb"] {
            if !is_installed(program) {
                bail!(
                    "{program} is missing: Debian's packages are fetched with Debian's own tools"
                );
            }
        }
        let apt = Apt { folder: folder.to_path_buf(), config: folder.join("apt.conf") };
        remove_folder(&apt.archives())?;
        let partial = apt.archives().join("partial");
        fs::create_dir_all(&partial).with_context(|| format!("creating {}", partial.display()))?;
        let lines: String = sources.iter().map(Source::line).collect();
        fs::write(folder.join("sources.list"), lines)?;
        fs::write(folder.join("status"), installed)?;
        fs::write(&apt.config, config_text(folder, architecture))?;
        for Source { uri, suite, .. } in sources {
            info!("reading the {architecture} package index of {suite} from {uri}");
        }
        apt.run("apt-get", &["update"]).with_context(|| {
            let suites: Vec<_> =
                sources.iter().map(|one| format!("{} at {}", one.suite, one.uri)).collect();
            format!(
                "cannot read the package index of {}. Next step: cargo xtask setup --mirror URL, \
                 with the address of a Debian mirror that can be reached",
                suites.join(", ")
            )
        })?;
        Ok(apt)
    }

    fn archives(&self) -> PathBuf {
        self.folder.join("archives")
    }

    fn run(&self, program: &str, words: &[&str]) -> Result<String> {
        let mut command = Command::new(program);
        command.arg("-c").arg(&self.config).arg("-q").args(words).current_dir(self.archives());
        output_of(&mut command)
    }

    /// The package of this name, or with the highest number for `*`.
    fn newest(&self, name: &str) -> Result<String> {
        let Some((prefix, suffix)) = name.split_once('*') else { return Ok(name.to_string()) };
        let names = self.run("apt-cache", &["pkgnames", prefix])?;
        let sources = fs::read_to_string(self.folder.join("sources.list"))?;
        newest(&names, prefix, suffix)
            .with_context(|| format!("there is no {name} (any more) in\n{}", sources.trim_end()))
    }

    /// What apt would fetch.
    fn debs(&self, command: &str, packages: &[String]) -> Result<Vec<Deb>> {
        let printed = self.fetch(&format!("{command} --print-uris"), packages)?;
        Ok(printed.lines().filter_map(parse_uri).collect())
    }

    /// Fetches `packages`: `command` is `download`, or `install` for what they depend on, too. (The
    /// configuration ends an installation after the download.)
    fn fetch(&self, command: &str, packages: &[String]) -> Result<String> {
        if packages.is_empty() {
            return Ok(String::new());
        }
        let words: Vec<_> = command.split(' ').chain(packages.iter().map(String::as_str)).collect();
        self.run("apt-get", &words)
    }

    /// Unpacks everything that was fetched into a new folder.
    fn unpack(&self, root: &Path) -> Result<()> {
        remove_folder(root)?;
        fs::create_dir_all(root).with_context(|| format!("creating {}", root.display()))?;
        for package in entries(&self.archives(), "", ".deb")? {
            output_of(Command::new("dpkg-deb").arg("-x").arg(&package).arg(root))?;
            fs::remove_file(&package).with_context(|| format!("removing {}", package.display()))?;
        }
        Ok(())
    }
}

/// Read by apt after the host's own configuration, so that a proxy set there stays in force, while
/// the host's hooks, pins and its wish for further indices do not reach the private state. Lists
/// stay when another suite or architecture is read.
fn config_text(folder: &Path, architecture: &str) -> String {
    let folder = folder.display();
    format!(
        "Dir::State \"{folder}\";\nDir::State::Lists \"{folder}/lists\";\n\
         Dir::State::status \"{folder}/status\";\nDir::Cache \"{folder}\";\n\
         Dir::Cache::Archives \"{folder}/archives\";\n\
         Dir::Etc::SourceList \"{folder}/sources.list\";\nDir::Etc::SourceParts \"/dev/null\";\n\
         Dir::Etc::Preferences \"/dev/null\";\nDir::Etc::PreferencesParts \"/dev/null\";\n\
         #clear APT::Architectures;\nAPT::Architecture \"{architecture}\";\n\
         APT::Architectures {{ \"{architecture}\"; }};\n\
         APT::Get::Download-Only \"true\";\nAPT::Get::Assume-Yes \"true\";\n\
         APT::Get::List-Cleanup \"false\";\nAPT::Install-Recommends \"false\";\n\
         APT::Sandbox::User \"root\";\nAPT::Update::Error-Mode \"any\";\nAcquire::Languages \"none\";\n\
         #clear Acquire::IndexTargets::deb::DEP-11;\n\
         #clear APT::Update::Pre-Invoke;\n#clear APT::Update::Post-Invoke;\n\
         #clear APT::Update::Post-Invoke-Success;\n",
    )
}

/// One line of `--print-uris`: address, file name, size, checksum.
fn parse_uri(line: &str) -> Option<Deb> {
    let mut words = line.strip_prefix('\'')?.split_once("' ")?.1.split(' ');
    let mut file = words.next()?.split('_');
    let (name, version) = (file.next()?.to_string(), file.next()?.replace("%3a", ":"));
    Some(Deb { name, version, size: words.next()?.parse().ok()? })
}

/// The highest number between `prefix` and `suffix` among `names` (one a line). Kernels for
/// debugging, unsigned, cloud and real-time ones have further words in their names, and do not count.
fn newest(names: &str, prefix: &str, suffix: &str) -> Option<String> {
    let numbers = |name: &str| -> Option<Vec<u32>> {
        let middle = name.strip_prefix(prefix)?.strip_suffix(suffix)?;
        let is_number =
            !middle.contains('-') && middle.starts_with(|one: char| one.is_ascii_digit());
        let numbers = middle.split(|one: char| !one.is_ascii_digit());
        is_number.then(|| numbers.filter_map(|number| number.parse().ok()).collect())
    };
    let newest = names.lines().filter_map(|name| Some((numbers(name)?, name))).max();
    newest.map(|(_, name)| name.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn newest_of(names: &str, pattern: &str) -> Option<String> {
        let (prefix, suffix) = pattern.split_once('*').unwrap();
        newest(names, prefix, suffix)
    }

    #[test]
    fn the_newest_signed_kernel_wins() {
        let names = "linux-image-6.1.0-9-686-pae\nlinux-image-6.1.0-50-686-pae-dbg\n\
                     linux-image-6.1.0-47-686-pae\nlinux-image-6.1.0-51-rt-686-pae\n\
                     linux-image-6.1.0-52-686-pae-unsigned\nlinux-image-6.1.0-46-686\n";
        let found = |pattern| newest_of(names, pattern);
        assert_eq!(found("linux-image-6.1.0-*-686-pae").unwrap(), "linux-image-6.1.0-47-686-pae");
        assert_eq!(found("linux-image-6.1.0-*-686").unwrap(), "linux-image-6.1.0-46-686");
        assert_eq!(newest_of("linux-image-686-pae\n", "linux-image-6.1.0-*-686-pae"), None);
    }

    #[test]
    fn a_release_between_two_numbers_counts() {
        let names = "linux-image-6.12.90+deb12-amd64\nlinux-image-6.12.90+deb12.1-amd64\n\
                     linux-image-6.12.95+deb12-cloud-amd64\nlinux-image-6.12.9+deb12-amd64\n\
                     linux-image-6.12.95+deb12-rt-amd64\nlinux-image-6.12.95+deb12-amd64-dbg\n\
                     linux-image-6.12.95+deb12-amd64-unsigned\n";
        let found = newest_of(names, "linux-image-6.12.*-amd64");
        assert_eq!(found.as_deref(), Some("linux-image-6.12.90+deb12.1-amd64"));
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
