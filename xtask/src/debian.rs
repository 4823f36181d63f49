//! Debian's i386 kernel and busybox: found in the archive's index, fetched and unpacked under
//! `target/debian/i386`, by apt with a state of its own.
//!
//! No root, no change to the host's architectures or package lists. The mirror is the one that the
//! host's own apt sources name; `--mirror` names another. Packages are verified by apt against
//! Debian's archive key as always.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::image::target_dir;
use crate::setup::{is_installed, output_of, say};

/// The release whose i386 kernel is 6.1; later ones have no i386 kernel any more.
const RELEASE: &str = "bookworm";
/// Where the Debian archive's keys are on a Debian host.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// What a kernel package is called around its ABI number.
const KERNEL_NAME: (&str, &str) = ("linux-image-6.1.0-", "-686-pae");
/// The package with the static busybox.
const BUSYBOX: &str = "busybox-static";

/// The two files of a Linux first kernel's boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FirstKernelFiles {
    /// The bzImage.
    pub kernel: PathBuf,
    /// The static i386 busybox.
    pub busybox: PathBuf,
    /// Name and version of the kernel's package.
    pub package: String,
}

/// What an earlier run has unpacked, or `None`.
///
/// # Errors
/// When the folder is there and cannot be read.
pub(crate) fn unpacked() -> Result<Option<FirstKernelFiles>> {
    files_in(&folder().join("root"))
}

/// Finds, fetches and unpacks both packages.
///
/// # Errors
/// When no mirror is known, or apt or dpkg-deb fail; the text carries what they said.
pub(crate) fn fetch(mirror: Option<&str>) -> Result<FirstKernelFiles> {
    for program in ["apt-get", "apt-cache", "dpkg-deb"] {
        if !is_installed(program) {
            bail!("{program} is missing: Debian's i386 kernel is fetched with Debian's own tools");
        }
    }
    let sources = sources(mirror)?;
    let (last, others) = sources.split_last().expect("sources() never returns an empty list");
    for source in others {
        match fetch_from(source) {
            Ok(files) => return Ok(files),
            Err(error) => say(&format!("{}: {error:#}; trying the next source", source.uri)),
        }
    }
    fetch_from(last)
}

fn folder() -> PathBuf {
    target_dir().join("debian/i386")
}

fn fetch_from(source: &Source) -> Result<FirstKernelFiles> {
    let apt = Apt::new(&folder().join("apt"), source)?;
    say(&format!("reading the i386 package index of {RELEASE} from {}", source.uri));
    apt.get(&["update"])?;
    let names = apt.cache(&["pkgnames", KERNEL_NAME.0])?;
    let Some(kernel) = newest_kernel(&names) else {
        bail!("the index of {} has no {}*{}", source.uri, KERNEL_NAME.0, KERNEL_NAME.1);
    };
    let kernel = format!("{kernel}={}", apt.newest_version(&kernel)?);
    let busybox = format!("{BUSYBOX}={}", apt.newest_version(BUSYBOX)?);
    say(&format!("fetching {} and {}", kernel.replace('=', " "), busybox.replace('=', " ")));
    for leftover in entries(&apt.folder, "", ".deb")? {
        fs::remove_file(&leftover).with_context(|| format!("removing {}", leftover.display()))?;
    }
    apt.get(&["download", &kernel, &busybox])?;
    unpack(&apt.folder, &kernel)
}

/// Unpacks every package in `packages` into a new folder that gets its name only when it is whole.
fn unpack(packages: &Path, kernel: &str) -> Result<FirstKernelFiles> {
    let (fresh, root) = (folder().join("root.new"), folder().join("root"));
    remove(&fresh)?;
    for package in entries(packages, "", ".deb")? {
        say(&format!("unpacking {}", file_name(&package)));
        output_of(Command::new("dpkg-deb").arg("-x").arg(&package).arg(&fresh))?;
        fs::remove_file(&package).with_context(|| format!("removing {}", package.display()))?;
    }
    fs::write(fresh.join("package"), kernel.replace('=', " "))?;
    remove(&root)?;
    fs::rename(&fresh, &root).with_context(|| format!("renaming {}", fresh.display()))?;
    files_in(&root)?.context("the packages do not hold boot/vmlinuz-* and bin/busybox")
}

fn files_in(root: &Path) -> Result<Option<FirstKernelFiles>> {
    let boot = root.join("boot");
    if !boot.is_dir() {
        return Ok(None);
    }
    let kernels = entries(&boot, "vmlinuz-", "")?;
    let busybox = root.join("bin/busybox");
    match (kernels.into_iter().next(), busybox.is_file()) {
        (Some(kernel), true) => {
            let package = fs::read_to_string(root.join("package"))?;
            Ok(Some(FirstKernelFiles { kernel, busybox, package }))
        }
        _ => Ok(None),
    }
}

/// The files of `folder` whose names begin and end like this, sorted.
fn entries(folder: &Path, prefix: &str, suffix: &str) -> Result<Vec<PathBuf>> {
    let listing = fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    let mut found = Vec::new();
    for entry in listing {
        let path = entry?.path();
        let name = file_name(&path);
        if name.starts_with(prefix) && name.ends_with(suffix) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// The signed kernel package with the highest ABI number among `names` (one a line). Debug,
/// unsigned and real-time variants have further words in their names and do not match.
fn newest_kernel(names: &str) -> Option<String> {
    let abi = |name: &str| -> Option<u32> {
        name.strip_prefix(KERNEL_NAME.0)?.strip_suffix(KERNEL_NAME.1)?.parse().ok()
    };
    names.lines().filter_map(|name| Some((abi(name)?, name))).max().map(|(_, name)| name.into())
}

/// apt with its state, its lists and its source in one folder.
struct Apt {
    folder: PathBuf,
    config: PathBuf,
}

impl Apt {
    fn new(folder: &Path, source: &Source) -> Result<Apt> {
        for part in ["lists/partial", "cache/archives/partial"] {
            let part = folder.join(part);
            fs::create_dir_all(&part).with_context(|| format!("creating {}", part.display()))?;
        }
        fs::write(folder.join("status"), "")?;
        fs::write(folder.join("sources.list"), source.line())?;
        let config = folder.join("apt.conf");
        fs::write(&config, config_text(folder))?;
        Ok(Apt { folder: folder.to_path_buf(), config })
    }

    /// `apt-get` in the private state; downloads land in its folder.
    fn get(&self, words: &[&str]) -> Result<String> {
        self.run("apt-get", words)
    }

    fn cache(&self, words: &[&str]) -> Result<String> {
        self.run("apt-cache", words)
    }

    fn run(&self, program: &str, words: &[&str]) -> Result<String> {
        let mut command = Command::new(program);
        command.arg("-c").arg(&self.config).arg("-q").args(words).current_dir(&self.folder);
        output_of(&mut command)
    }

    /// The newest version that the index has of `package`: the first stanza, as apt sorts them.
    fn newest_version(&self, package: &str) -> Result<String> {
        let stanzas = self.cache(&["show", package])?;
        let version = stanzas.lines().find_map(|line| line.strip_prefix("Version: "));
        version.map(str::to_string).with_context(|| format!("{package} is not in the index"))
    }
}

/// Read by apt after the host's own configuration, so that a proxy set there stays in force, while
/// the host's hooks and its wish for further indices do not reach the private state.
fn config_text(folder: &Path) -> String {
    let at = |part: &str| folder.join(part).display().to_string();
    format!(
        "Dir::State \"{}\";\nDir::State::Lists \"{}\";\nDir::State::status \"{}\";\n\
         Dir::Cache \"{}\";\nDir::Etc::SourceList \"{}\";\nDir::Etc::SourceParts \"/dev/null\";\n\
         #clear APT::Architectures;\nAPT::Architecture \"i386\";\nAPT::Architectures {{ \"i386\"; }};\n\
         APT::Sandbox::User \"root\";\nAPT::Update::Error-Mode \"any\";\nAcquire::Languages \"none\";\n\
         #clear Acquire::IndexTargets::deb::DEP-11;\n\
         #clear APT::Update::Pre-Invoke;\n#clear APT::Update::Post-Invoke;\n\
         #clear APT::Update::Post-Invoke-Success;\n",
        at(""),
        at("lists"),
        at("status"),
        at("cache"),
        at("sources.list"),
    )
}

/// One place that has the release's main section.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Source {
    uri: String,
    signed_by: Option<String>,
}

impl Source {
    fn line(&self) -> String {
        let option = match &self.signed_by {
            Some(keyring) => format!("[signed-by={keyring}] "),
            None => String::new(),
        };
        format!("deb {option}{} {RELEASE} main\n", self.uri)
    }
}

/// The mirror asked for, else those of the host's apt sources; never empty.
fn sources(mirror: Option<&str>) -> Result<Vec<Source>> {
    let keyring = || Path::new(KEYRING).is_file().then(|| KEYRING.to_string());
    if let Some(uri) = mirror {
        return Ok(vec![Source { uri: uri.to_string(), signed_by: keyring() }]);
    }
    let mut found: Vec<Source> = Vec::new();
    for file in source_files()? {
        let text = fs::read_to_string(&file)
            .with_context(|| format!("reading the apt source {}", file.display()))?;
        let is_deb822 = file.extension().is_some_and(|kind| kind == "sources");
        let entries = if is_deb822 { parse_deb822(&text) } else { parse_one_line(&text) };
        found.extend(entries.into_iter().filter(Entry::has_release).flat_map(Entry::into_sources));
    }
    for source in &mut found {
        source.signed_by = source.signed_by.take().or_else(keyring);
    }
    found.dedup();
    if found.is_empty() {
        bail!(
            "this host's apt sources name no mirror with Debian {RELEASE} main. Next step: \
             cargo xtask setup --mirror URL, with the address of a Debian mirror"
        );
    }
    Ok(found)
}

fn source_files() -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let single = PathBuf::from("/etc/apt/sources.list");
    if single.is_file() {
        files.push(single);
    }
    let parts = Path::new("/etc/apt/sources.list.d");
    if parts.is_dir() {
        files.extend(entries(parts, "", ".sources")?);
        files.extend(entries(parts, "", ".list")?);
    }
    Ok(files)
}

/// One stanza or line of an apt source file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Entry {
    types: Vec<String>,
    uris: Vec<String>,
    suites: Vec<String>,
    components: Vec<String>,
    signed_by: Option<String>,
    disabled: bool,
}

impl Entry {
    fn has_release(&self) -> bool {
        let has = |words: &[String], word: &str| words.iter().any(|each| each == word);
        !self.disabled
            && has(&self.types, "deb")
            && has(&self.suites, RELEASE)
            && has(&self.components, "main")
    }

    fn into_sources(self) -> Vec<Source> {
        let signed_by = self.signed_by;
        let source = |uri: String| Source { uri, signed_by: signed_by.clone() };
        self.uris.into_iter().map(source).collect()
    }
}

/// The stanzas of a `.sources` file (sources.list(5), "DEB822-STYLE FORMAT").
fn parse_deb822(text: &str) -> Vec<Entry> {
    let mut entries = vec![Entry::default()];
    let mut field = String::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if line.trim().is_empty() {
            entries.push(Entry::default());
            continue;
        }
        let value = match line.split_once(':') {
            Some((name, value)) if !line.starts_with([' ', '\t']) => {
                field = name.trim().to_ascii_lowercase();
                value
            }
            _ => line,
        };
        let entry = entries.last_mut().expect("there is always a stanza");
        entry.add(&field, value);
    }
    entries
}

impl Entry {
    fn add(&mut self, field: &str, value: &str) {
        let words = value.split_whitespace().map(str::to_string);
        match field {
            "types" => self.types.extend(words),
            "uris" => self.uris.extend(words),
            "suites" => self.suites.extend(words),
            "components" => self.components.extend(words),
            "enabled" => self.disabled = matches!(value.trim(), "no" | "false" | "0"),
            // A key block may stand here instead of a file's name; then Debian's keyring serves.
            "signed-by" if value.trim().starts_with('/') => {
                self.signed_by = Some(value.trim().to_string());
            }
            _ => {}
        }
    }
}

/// The lines of a `.list` file (sources.list(5), "ONE-LINE-STYLE FORMAT").
fn parse_one_line(text: &str) -> Vec<Entry> {
    text.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<Entry> {
    let line = line.split('#').next().unwrap_or_default();
    let (kind, rest) = line.trim().split_once([' ', '\t'])?;
    let (options, rest) = match rest.trim().strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => ("", rest),
    };
    let mut words = rest.split_whitespace().map(str::to_string);
    let signed_by = options.split_whitespace().find_map(|each| each.strip_prefix("signed-by="));
    Some(Entry {
        types: vec![kind.to_string()],
        uris: vec![words.next()?],
        suites: vec![words.next()?],
        components: words.collect(),
        signed_by: signed_by.map(str::to_string),
        disabled: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(entries: Vec<Entry>) -> Vec<Source> {
        entries.into_iter().filter(Entry::has_release).flat_map(Entry::into_sources).collect()
    }

    #[test]
    fn deb822_sources_are_found_and_security_is_not() {
        let text = "Types: deb deb-src\n# a comment\nURIs: http://mirror.example/debian\n\
                    Suites: bookworm bookworm-updates\nComponents: main\n\
                    Signed-By: /keys/debian.gpg\n\nTypes: deb\nURIs: http://mirror.example/security\n\
                    Suites: bookworm-security\nComponents: main\n\nEnabled: no\nTypes: deb\n\
                    URIs: http://off.example\nSuites: bookworm\nComponents: main\n";
        let expected = Source {
            uri: "http://mirror.example/debian".into(),
            signed_by: Some("/keys/debian.gpg".into()),
        };
        assert_eq!(found(parse_deb822(text)), [expected]);
    }

    #[test]
    fn an_embedded_key_is_not_taken_for_a_file() {
        let text = "Types: deb\nURIs: http://mirror.example\nSuites: bookworm\nComponents:\n main\n\
                    Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\n";
        let expected = Source { uri: "http://mirror.example".into(), signed_by: None };
        assert_eq!(found(parse_deb822(text)), [expected]);
    }

    #[test]
    fn one_line_sources_with_and_without_options() {
        let text = "# deb http://off.example bookworm main\n\
                    deb [arch=amd64 signed-by=/keys/a.gpg] http://a.example bookworm main contrib\n\
                    deb-src http://b.example bookworm main\n\
                    deb http://c.example bookworm non-free\ndeb\thttp://d.example bookworm main # x\n";
        let sources = found(parse_one_line(text));
        assert_eq!(sources.len(), 2);
        assert_eq!(
            sources[0].line(),
            "deb [signed-by=/keys/a.gpg] http://a.example bookworm main\n"
        );
        assert_eq!(sources[1].line(), "deb http://d.example bookworm main\n");
    }

    #[test]
    fn the_newest_signed_kernel_wins() {
        let names = "linux-image-6.1.0-9-686-pae\nlinux-image-6.1.0-50-686-pae-dbg\n\
                     linux-image-6.1.0-47-686-pae\nlinux-image-6.1.0-51-rt-686-pae\n\
                     linux-image-6.1.0-52-686-pae-unsigned\nlinux-image-6.1.0-53-686\n";
        assert_eq!(newest_kernel(names).as_deref(), Some("linux-image-6.1.0-47-686-pae"));
        assert_eq!(newest_kernel("linux-image-686-pae\n"), None);
    }
}
