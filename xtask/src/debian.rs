//! Debian's i386 kernel and busybox: found in the archive's index, fetched and unpacked under
//! `target/debian/i386`, by apt with a state of its own. The mirror is the one that the host's own
//! apt sources name; `--mirror` names another.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::apt::{self, Apt, entries};
use crate::apt_sources::{RELEASE, Source, sources};
use crate::image::target_dir;
use crate::setup::say;

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
    let sources = sources(mirror, &[RELEASE])?;
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
    let apt = Apt::new(&folder().join("apt"), "i386", std::slice::from_ref(source))?;
    let names = apt.cache(&["pkgnames", KERNEL_NAME.0])?;
    let Some(kernel) = newest_kernel(&names) else {
        bail!("the index of {} has no {}*{}", source.uri, KERNEL_NAME.0, KERNEL_NAME.1);
    };
    let kernel = format!("{kernel}={}", apt.newest_version(&kernel)?);
    let busybox = format!("{BUSYBOX}={}", apt.newest_version(BUSYBOX)?);
    let label = kernel.replace('=', " ");
    say(&format!("fetching {label} and {}", busybox.replace('=', " ")));
    let root = folder().join("root");
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
fn newest_kernel(names: &str) -> Option<String> {
    let abi = |name: &str| -> Option<u32> {
        name.strip_prefix(KERNEL_NAME.0)?.strip_suffix(KERNEL_NAME.1)?.parse().ok()
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
        assert_eq!(newest_kernel(names).as_deref(), Some("linux-image-6.1.0-47-686-pae"));
        assert_eq!(newest_kernel("linux-image-686-pae\n"), None);
    }
}
