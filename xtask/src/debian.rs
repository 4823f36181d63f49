//! Debian's packages, i386 and amd64: found in the archive's index, fetched and unpacked under
//! `target/debian`, by apt with a state of its own. The mirror is the one that the host's own apt
//! sources name; `--mirror` names another. Here: busybox and stock tools; kernels are in
//! [`crate::debian_kernels`].

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::apt::{self, Apt};
use crate::apt_sources::{RELEASE, Source, sources_of};
use crate::image::target_dir;
use crate::setup::say;

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
        folder(name)
    }
}

/// A folder under `target/debian`.
pub(crate) fn folder(name: &str) -> PathBuf {
    target_dir().join("debian").join(name)
}

/// What the first source of `suites` has that does not fail.
///
/// # Errors
/// When no mirror is known, and those of the last source.
pub(crate) fn from_any_source<T>(
    mirror: Option<&str>,
    suites: &[&str],
    fetch: impl Fn(&Source) -> Result<T>,
) -> Result<T> {
    let sources = sources_of(mirror, suites)?;
    let (last, others) = sources.split_last().expect("sources_of() never returns an empty list");
    for source in others {
        match fetch(source) {
            Ok(fetched) => return Ok(fetched),
            Err(error) => {
                say(&format!("{} {}: {error:#}; trying the next source", source.uri, source.suite))
            }
        }
    }
    fetch(last)
}

/// Makes sure of Debian's kexec-tools and makedumpfile of this architecture, with the libraries that
/// they use; returns the folder that they are unpacked into.
///
/// # Errors
/// As [`busybox`].
pub(crate) fn tools(architecture: Architecture, mirror: Option<&str>) -> Result<PathBuf> {
    let root = architecture.folder().join("tools");
    // An older folder may lack packages.
    let packages = fs::read_to_string(root.join("package")).unwrap_or_default();
    let is_there = |name: &str| packages.split(' ').any(|one| one.starts_with(&format!("{name}=")));
    if !architecture.tools().all(is_there) {
        from_any_source(mirror, &[RELEASE], |source| fetch_tools(architecture, source, &root))?;
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

/// Makes sure of a static busybox of this architecture, and says where it is.
///
/// # Errors
/// When no mirror is known, or apt or dpkg-deb fail; the text carries what they said.
pub(crate) fn busybox(architecture: Architecture, mirror: Option<&str>) -> Result<PathBuf> {
    let root = architecture.folder().join("busybox");
    let busybox = root.join("bin/busybox");
    if !busybox.is_file() {
        from_any_source(mirror, &[RELEASE], |source| fetch_busybox(architecture, source, &root))?;
    }
    Ok(busybox)
}

fn fetch_busybox(architecture: Architecture, source: &Source, root: &Path) -> Result<()> {
    let folder = architecture.folder().join("apt");
    let apt = Apt::new(&folder, architecture.name(), std::slice::from_ref(source))?;
    let package = format!("{BUSYBOX}={}", apt.newest_version(BUSYBOX)?);
    say(&format!("fetching {package} ({})", architecture.name()));
    let fresh = apt.unpack(std::slice::from_ref(&package), root)?;
    apt::settle(&fresh, root, &package)
}
