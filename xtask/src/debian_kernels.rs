//! Debian's kernels that `--first-kernel` knows by name: which package of which suite each one is.
//! They are fetched only when asked for, from the mirror that has the host's own release, and
//! unpacked, never installed.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::apt::{self, Apt, entries};
use crate::apt_sources::{RELEASE, Source};
use crate::debian::{self, Architecture, from_any_source};
use crate::setup::say;

/// A kernel of Debian's archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DebianKernel {
    /// What `--first-kernel` calls it.
    pub name: &'static str,
    /// Its CPU architecture.
    pub architecture: Architecture,
    /// The suites that have it, the cheapest to look into first.
    suites: &'static [&'static str],
    /// Name of its package before and after the number that changes with each update.
    package: (&'static str, &'static str),
    /// Its folder under `target/debian`.
    folder: &'static str,
}

/// The newest release that has an i386 kernel, for CPUs with PAE.
pub(crate) const I386: DebianKernel = DebianKernel {
    name: "debian-i386",
    architecture: Architecture::I386,
    suites: &[RELEASE],
    package: ("linux-image-6.1.0-", "-686-pae"),
    folder: "i386",
};
/// The x86_64 kernel of the same release.
pub(crate) const AMD64: DebianKernel = DebianKernel {
    name: "debian-amd64",
    architecture: Architecture::Amd64,
    suites: &[RELEASE],
    package: ("linux-image-6.1.0-", "-amd64"),
    folder: "linux-amd64",
};
/// Two-level page tables, and no memory above 4 GiB.
pub(crate) const I386_NONPAE: DebianKernel = DebianKernel {
    name: "debian-i386-nonpae",
    architecture: Architecture::I386,
    suites: &[RELEASE],
    package: ("linux-image-6.1.0-", "-686"),
    folder: "i386-nonpae",
};
/// The first with the log as a ring of records; VMCOREINFO names no symbol tables.
pub(crate) const AMD64_5_10: DebianKernel = DebianKernel {
    name: "debian-amd64-5.10",
    architecture: Architecture::Amd64,
    suites: &["bullseye"],
    package: ("linux-image-5.10.0-", "-amd64"),
    folder: "linux-amd64-5.10",
};
/// What Debian 13 has; the backports' index is a thirtieth of its own.
pub(crate) const AMD64_6_12: DebianKernel = DebianKernel {
    name: "debian-amd64-6.12",
    architecture: Architecture::Amd64,
    suites: &["bookworm-backports", "trixie"],
    package: ("linux-image-6.12.", "-amd64"),
    folder: "linux-amd64-6.12",
};
/// Where `panic` calls `vpanic`. The packages have other names, and the modules lie in one of their
/// own.
pub(crate) const AMD64_7_2: DebianKernel = DebianKernel {
    name: "debian-amd64-7.2",
    architecture: Architecture::Amd64,
    suites: &["sid", "forky"],
    package: ("linux-binary-7.2.", "-amd64"),
    folder: "linux-amd64-7.2",
};

/// All of them.
pub(crate) const ALL: [DebianKernel; 6] =
    [I386, AMD64, I386_NONPAE, AMD64_5_10, AMD64_6_12, AMD64_7_2];

/// The two files of a Linux first kernel's boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FirstKernelFiles {
    /// The bzImage.
    pub kernel: PathBuf,
    /// The static busybox.
    pub busybox: PathBuf,
    /// Name and version of the kernel's package.
    pub package: String,
}

impl DebianKernel {
    /// The one that `--first-kernel` calls `name`.
    pub(crate) fn named(name: &str) -> Option<DebianKernel> {
        ALL.into_iter().find(|kernel| kernel.name == name)
    }

    /// The ordinary one of this architecture.
    pub(crate) fn of(architecture: Architecture) -> DebianKernel {
        match architecture {
            Architecture::I386 => I386,
            Architecture::Amd64 => AMD64,
        }
    }

    fn folder(&self) -> PathBuf {
        debian::folder(self.folder)
    }

    /// Makes sure of the kernel and of busybox, and says where they are.
    ///
    /// # Errors
    /// When no mirror is known, or none has it, or apt or dpkg-deb fail; the text carries what they said.
    pub(crate) fn ensure(&self, mirror: Option<&str>) -> Result<FirstKernelFiles> {
        let (kernel, package) = match self.unpacked()? {
            Some(unpacked) => unpacked,
            None => from_any_source(mirror, self.suites, |source| self.fetch(source))?,
        };
        let busybox = debian::busybox(self.architecture, mirror)?;
        Ok(FirstKernelFiles { kernel, busybox, package })
    }

    /// The bzImage that an earlier run has unpacked, and what its package is called; or `None`.
    ///
    /// # Errors
    /// When the folder is there and cannot be read.
    pub(crate) fn unpacked(&self) -> Result<Option<(PathBuf, String)>> {
        let root = self.folder().join("root");
        let Some(kernel) = kernel_in(&root)? else { return Ok(None) };
        Ok(Some((kernel, fs::read_to_string(root.join("package"))?)))
    }

    fn fetch(&self, source: &Source) -> Result<(PathBuf, String)> {
        let folder = self.folder();
        let architecture = self.architecture.name();
        let apt = Apt::new(&folder.join("apt"), architecture, std::slice::from_ref(source))?;
        let (prefix, suffix) = self.package;
        let names = apt.cache(&["pkgnames", prefix])?;
        let Some(package) = newest(&names, self.package) else {
            bail!(
                "{}: {} of {} has no {prefix}*{suffix} (any more)",
                self.name,
                source.suite,
                source.uri
            );
        };
        let version = apt.newest_version(&package)?;
        say(&format!("fetching {package} {version}"));
        let root = folder.join("root");
        let fresh = apt.unpack(&[format!("{package}={version}")], &root)?;
        apt::settle(&fresh, &root, &format!("{package} {version}"))?;
        self.unpacked()?.with_context(|| format!("there is no bzImage in {package} {version}"))
    }
}

/// The bzImage among a package's files: `boot/vmlinuz-VERSION`, or, from 7.x on,
/// `usr/lib/modules/VERSION/vmlinuz`.
fn kernel_in(root: &Path) -> Result<Option<PathBuf>> {
    let boot = root.join("boot");
    if boot.is_dir()
        && let Some(kernel) = entries(&boot, "vmlinuz-", "")?.into_iter().next()
    {
        return Ok(Some(kernel));
    }
    let modules = root.join("usr/lib/modules");
    if !modules.is_dir() {
        return Ok(None);
    }
    let mut kernels = entries(&modules, "", "")?.into_iter().map(|folder| folder.join("vmlinuz"));
    Ok(kernels.find(|kernel| kernel.is_file()))
}

/// The signed kernel package with the highest number among `names` (one a line). Those of debug,
/// unsigned, cloud and real-time variants have further words in their names and do not match.
fn newest(names: &str, (prefix, suffix): (&str, &str)) -> Option<String> {
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

    #[test]
    fn the_newest_signed_kernel_wins() {
        let names = "linux-image-6.1.0-9-686-pae\nlinux-image-6.1.0-50-686-pae-dbg\n\
                     linux-image-6.1.0-47-686-pae\nlinux-image-6.1.0-51-rt-686-pae\n\
                     linux-image-6.1.0-52-686-pae-unsigned\nlinux-image-6.1.0-46-686\n";
        let found = |names, kernel: DebianKernel| newest(names, kernel.package);
        assert_eq!(found(names, I386).as_deref(), Some("linux-image-6.1.0-47-686-pae"));
        assert_eq!(found(names, I386_NONPAE).as_deref(), Some("linux-image-6.1.0-46-686"));
        assert_eq!(found("linux-image-686-pae\n", I386), None);
        let names = "linux-image-6.1.0-9-amd64\nlinux-image-6.1.0-50-cloud-amd64\n\
                     linux-image-6.1.0-47-amd64\nlinux-image-6.1.0-51-amd64-unsigned\n";
        assert_eq!(found(names, AMD64).as_deref(), Some("linux-image-6.1.0-47-amd64"));
    }

    #[test]
    fn a_release_between_two_numbers_counts() {
        let names = "linux-image-6.12.90+deb12-amd64\nlinux-image-6.12.90+deb12.1-amd64\n\
                     linux-image-6.12.95+deb12-cloud-amd64\nlinux-image-6.12.9+deb12-amd64\n\
                     linux-image-6.12.95+deb12-rt-amd64\nlinux-image-6.12.95+deb12-amd64-dbg\n";
        let found = newest(names, AMD64_6_12.package);
        assert_eq!(found.as_deref(), Some("linux-image-6.12.90+deb12.1-amd64"));
    }

    #[test]
    fn each_kernel_has_a_name_and_a_folder_of_its_own() {
        for (at, kernel) in ALL.iter().enumerate() {
            assert_eq!(DebianKernel::named(kernel.name), Some(*kernel));
            for other in &ALL[at + 1..] {
                assert_ne!(kernel.folder, other.folder);
            }
        }
        assert_eq!(DebianKernel::named("debian"), None);
    }

    #[test]
    fn the_bzimage_is_found_in_old_and_new_packages() {
        for place in ["boot/vmlinuz-6.1.0-50-amd64", "usr/lib/modules/7.2.13+deb14-amd64/vmlinuz"] {
            let root = tempfile::tempdir().unwrap();
            assert_eq!(kernel_in(root.path()).unwrap(), None);
            let kernel = root.path().join(place);
            fs::create_dir_all(kernel.parent().unwrap()).unwrap();
            fs::write(&kernel, "").unwrap();
            assert_eq!(kernel_in(root.path()).unwrap(), Some(kernel));
        }
    }
}
