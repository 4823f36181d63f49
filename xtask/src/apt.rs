//! apt with a state of its own: any architecture's packages, without root and without a change to
//! the host's architectures or package lists. Packages are verified by apt against the archive's
//! key as always, and unpacked, never installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::apt_sources::Source;
use crate::setup::{is_installed, output_of, say};

/// apt with its state, its lists and its sources in one folder.
pub(crate) struct Apt {
    folder: PathBuf,
    config: PathBuf,
}

impl Apt {
    /// Lays the state out in `folder` and reads the index that `sources` have of `architecture`
    /// (Debian's word for it).
    ///
    /// # Errors
    /// When apt or dpkg-deb are not here, the folder cannot be written, or `apt-get update` fails.
    pub(crate) fn new(folder: &Path, architecture: &str, sources: &[Source]) -> Result<Apt> {
        for program in ["apt-get", "apt-cache", "dpkg-deb"] {
            if !is_installed(program) {
                bail!(
                    "{program} is missing: Debian's packages are fetched with Debian's own tools"
                );
            }
        }
        for part in ["lists/partial", "cache/archives/partial"] {
            let part = folder.join(part);
            fs::create_dir_all(&part).with_context(|| format!("creating {}", part.display()))?;
        }
        let lines: String = sources.iter().map(Source::line).collect();
        let config = folder.join("apt.conf");
        fs::write(folder.join("status"), "")?;
        fs::write(folder.join("sources.list"), lines)?;
        fs::write(&config, config_text(folder, architecture))?;
        for Source { uri, suite, .. } in sources {
            say(&format!("reading the {architecture} package index of {suite} from {uri}"));
        }
        let apt = Apt { folder: folder.to_path_buf(), config };
        apt.run("apt-get", &["update"])?;
        Ok(apt)
    }

    /// What `apt-cache` prints in the private state.
    ///
    /// # Errors
    /// When it fails; the text carries what it said.
    pub(crate) fn cache(&self, words: &[&str]) -> Result<String> {
        self.run("apt-cache", words)
    }

    fn run(&self, program: &str, words: &[&str]) -> Result<String> {
        let mut command = Command::new(program);
        command.arg("-c").arg(&self.config).arg("-q").args(words).current_dir(&self.folder);
        output_of(&mut command)
    }

    /// The newest version that the index has of `package`: the first stanza, as apt sorts them.
    ///
    /// # Errors
    /// When the index does not have it.
    pub(crate) fn newest_version(&self, package: &str) -> Result<String> {
        let stanzas = self.cache(&["show", package])?;
        let version = stanzas.lines().find_map(|line| line.strip_prefix("Version: "));
        version.map(str::to_string).with_context(|| format!("{package} is not in the index"))
    }

    /// Fetches `packages` (each a `name=version`) and unpacks them into a new folder beside `root`,
    /// which [`settle`] puts in its place.
    ///
    /// # Errors
    /// When a download or dpkg-deb fails; the text carries what they said.
    pub(crate) fn unpack(&self, packages: &[String], root: &Path) -> Result<PathBuf> {
        for left_over in entries(&self.folder, "", ".deb")? {
            remove_file(&left_over)?;
        }
        let mut words = vec!["download"];
        words.extend(packages.iter().map(String::as_str));
        self.run("apt-get", &words)?;
        let fresh = root.with_extension("new");
        remove_folder(&fresh)?;
        for package in entries(&self.folder, "", ".deb")? {
            say(&format!("unpacking {}", file_name(&package)));
            output_of(Command::new("dpkg-deb").arg("-x").arg(&package).arg(&fresh))?;
            remove_file(&package)?;
        }
        Ok(fresh)
    }
}

/// Gives what [`Apt::unpack`] made the name `root`, with `label` in its file `package`. A folder of
/// that name is therefore always whole.
///
/// # Errors
/// When the file system refuses.
pub(crate) fn settle(fresh: &Path, root: &Path, label: &str) -> Result<()> {
    fs::write(fresh.join("package"), label)?;
    remove_folder(root)?;
    fs::rename(fresh, root).with_context(|| format!("renaming {}", fresh.display()))
}

/// Read by apt after the host's own configuration, so that a proxy set there stays in force, while
/// the host's hooks and its wish for further indices do not reach the private state.
fn config_text(folder: &Path, architecture: &str) -> String {
    let at = |part: &str| folder.join(part).display().to_string();
    format!(
        "Dir::State \"{}\";\nDir::State::Lists \"{}\";\nDir::State::status \"{}\";\n\
         Dir::Cache \"{}\";\nDir::Etc::SourceList \"{}\";\nDir::Etc::SourceParts \"/dev/null\";\n\
         #clear APT::Architectures;\nAPT::Architecture \"{architecture}\";\n\
         APT::Architectures {{ \"{architecture}\"; }};\n\
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

/// The files of `folder` whose names begin and end like this, sorted.
pub(crate) fn entries(folder: &Path, prefix: &str, suffix: &str) -> Result<Vec<PathBuf>> {
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

fn remove_folder(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", folder.display()))
        }
        _ => Ok(()),
    }
}

fn remove_file(file: &Path) -> Result<()> {
    fs::remove_file(file).with_context(|| format!("removing {}", file.display()))
}
