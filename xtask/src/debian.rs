//! Debian's kernels and busybox, i386 and amd64: found in the archive's index, fetched and unpacked
//! under `target/debian`, by apt with a state of its own. The mirror is the one that the host's own
//! apt sources name; `--mirror` names another.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::apt::{self, Apt, entries};
use crate::apt_sources::{RELEASE, Source, sources};
use crate::image::target_dir;
use crate::setup::say;

/// What every kernel package is called before its ABI number.
const KERNEL_NAME: &str = "linux-image-6.1.0-";
/// The package with the static busybox.
const BUSYBOX: &str = "busybox-static";

/// Stock tools that our images and dumps must get along with, and what they are linked with.
const TOOLS: &[&str] = &[
    "kexec-tools",
    "makedumpfile",
    "libc6",
    "libdw1",
    "libelf1",
    "liblzo2-2",
    "libsnappy1v5",
    "libstdc++6",
    "libgcc-s1",
    "libbz2-1.0",
    "liblzma5",
    "libzstd1",
    "zlib1g",
];
/// The amd64 kexec-tools are also linked with what talks to Xen.
const TOOLS_AMD64: &[&str] = &[
    "libxenmisc4.17",
    "libxencall1",
    "libxendevicemodel1",
    "libxenevtchn1",
    "libxenforeignmemory1",
    "libxengnttab1",
    "libxentoolcore1",
    "libxentoollog1",
];

/// Which of Debian's architectures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Architecture {
    /// 32 bits, with PAE.
    I386,
    /// x86_64.
    Amd64,
}

impl Architecture {
    /// Debian's word for it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::I386 => "i386",
            Self::Amd64 => "amd64",
        }
    }

    /// What a kernel package is called behind its ABI number.
    const fn kernel_suffix(self) -> &'static str {
        match self {
            Self::I386 => "-686-pae",
            Self::Amd64 => "-amd64",
        }
    }

    /// The packages of its stock tools.
    fn tools(self) -> impl Iterator<Item = &'static str> {
        let more: &[&str] = if self == Self::Amd64 { TOOLS_AMD64 } else { &[] };
        TOOLS.iter().chain(more).copied()
    }

    /// Where its packages are unpacked. (`amd64` is taken by Debian's Rust.)
    fn folder(self) -> PathBuf {
        let name = match self {
            Self::I386 => "i386",
            Self::Amd64 => "linux-amd64",
        };
        target_dir().join("debian").join(name)
    }
}

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

/// What an earlier run has unpacked, or `None`.
///
/// # Errors
/// When the folder is there and cannot be read.
pub(crate) fn unpacked(architecture: Architecture) -> Result<Option<FirstKernelFiles>> {
    files_in(&architecture.folder().join("root"))
}

/// Finds, fetches and unpacks both packages.
///
/// # Errors
/// When no mirror is known, or apt or dpkg-deb fail; the text carries what they said.
pub(crate) fn fetch(architecture: Architecture, mirror: Option<&str>) -> Result<FirstKernelFiles> {
    from_any_source(mirror, |source| fetch_from(architecture, source))
}

/// What the first source has that does not fail.
fn from_any_source<T>(mirror: Option<&str>, fetch: impl Fn(&Source) -> Result<T>) -> Result<T> {
    let sources = sources(mirror, &[RELEASE])?;
    let (last, others) = sources.split_last().expect("sources() never returns an empty list");
    for source in others {
        match fetch(source) {
            Ok(fetched) => return Ok(fetched),
            Err(error) => say(&format!("{}: {error:#}; trying the next source", source.uri)),
        }
    }
    fetch(last)
}

/// Makes sure of Debian's kexec-tools and makedumpfile of this architecture, with the libraries that
/// they use; returns the folder that they are unpacked into.
///
/// # Errors
/// As [`fetch`].
pub(crate) fn tools(architecture: Architecture, mirror: Option<&str>) -> Result<PathBuf> {
    let root = architecture.folder().join("tools");
    // An older folder may lack packages.
    let packages = fs::read_to_string(root.join("package")).unwrap_or_default();
    let is_there = |name: &str| packages.split(' ').any(|one| one.starts_with(&format!("{name}=")));
    if !architecture.tools().all(is_there) {
        from_any_source(mirror, |source| fetch_tools(architecture, source, &root))?;
    }
    Ok(root)
}

fn fetch_tools(architecture: Architecture, source: &Source, root: &Path) -> Result<()> {
    let folder = architecture.folder().join("apt");
    let apt = Apt::new(&folder, architecture.name(), std::slice::from_ref(source))?;
    let newest = |name: &str| Ok(format!("{name}={}", apt.newest_version(name)?));
    let packages = architecture.tools().map(newest).collect::<Result<Vec<_>>>()?;
    say(&format!("fetching {} and {} ({})", packages[0], packages[1], architecture.name()));
    let fresh = apt.unpack(&packages, root)?;
    apt::settle(&fresh, root, &packages.join(" "))
}

fn fetch_from(architecture: Architecture, source: &Source) -> Result<FirstKernelFiles> {
    let folder = architecture.folder();
    let apt = Apt::new(&folder.join("apt"), architecture.name(), std::slice::from_ref(source))?;
    let names = apt.cache(&["pkgnames", KERNEL_NAME])?;
    let suffix = architecture.kernel_suffix();
    let Some(kernel) = newest_kernel(&names, suffix) else {
        bail!("the index of {} has no {KERNEL_NAME}*{suffix}", source.uri);
    };
    let kernel = format!("{kernel}={}", apt.newest_version(&kernel)?);
    let busybox = format!("{BUSYBOX}={}", apt.newest_version(BUSYBOX)?);
    let label = kernel.replace('=', " ");
    say(&format!("fetching {label} and {}", busybox.replace('=', " ")));
    let root = folder.join("root");
    let fresh = apt.unpack(&[kernel, busybox], &root)?;
    apt::settle(&fresh, &root, &label)?;
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

/// The signed kernel package with the highest ABI number among `names` (one a line). Debug,
/// unsigned and real-time variants have further words in their names and do not match.
fn newest_kernel(names: &str, suffix: &str) -> Option<String> {
    let abi = |name: &str| -> Option<u32> {
        name.strip_prefix(KERNEL_NAME)?.strip_suffix(suffix)?.parse().ok()
    };
    names.lines().filter_map(|name| Some((abi(name)?, name))).max().map(|(_, name)| name.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_signed_kernel_wins() {
        let names = "linux-image-6.1.0-9-686-pae\nlinux-image-6.1.0-50-686-pae-dbg\n\
                     linux-image-6.1.0-47-686-pae\nlinux-image-6.1.0-51-rt-686-pae\n\
                     linux-image-6.1.0-52-686-pae-unsigned\nlinux-image-6.1.0-53-686\n";
        let newest = |names, suffix| newest_kernel(names, suffix);
        assert_eq!(newest(names, "-686-pae").as_deref(), Some("linux-image-6.1.0-47-686-pae"));
        assert_eq!(newest("linux-image-686-pae\n", "-686-pae"), None);
        let names = "linux-image-6.1.0-9-amd64\nlinux-image-6.1.0-50-cloud-amd64\n\
                     linux-image-6.1.0-47-amd64\nlinux-image-6.1.0-51-amd64-unsigned\n";
        assert_eq!(newest(names, "-amd64").as_deref(), Some("linux-image-6.1.0-47-amd64"));
    }
}
