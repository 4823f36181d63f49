//! The reasons for not knowing the first kernel.

use std::io;
use std::path::PathBuf;

/// The reason why the facts could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SystemError {
    /// A file that every Linux has cannot be read.
    #[error("cannot read {}: {source} (a saved system needs this file too)", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The kernel's error.
        source: io::Error,
    },
    /// A file does not have the kernel's format.
    #[error("{} is not understood: {what}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The fault.
        what: String,
    },
}

/// The reason why the pages of the running kernel were not counted.
#[derive(Debug, thiserror::Error)]
pub enum PagesError {
    /// There is no file, or the kernel does not open it.
    #[error(
        "/proc/kcore cannot be opened ({0}): it takes root, CONFIG_PROC_KCORE, and no lockdown"
    )]
    Kcore(io::Error),
    /// The file's headers.
    #[error("the headers of /proc/kcore cannot be used: {0}")]
    Headers(vmcore::Error),
    /// The text that describes the page structs.
    #[error("neither /proc/kcore nor /sys/kernel/vmcoreinfo has VMCOREINFO")]
    NoVmcoreinfo,
    /// The kernel's structures.
    #[error(transparent)]
    Filter(#[from] linux::Error),
    /// None of them can be read.
    #[error("/proc/kcore does not have the kernel's page structs: is it the copy of its front?")]
    NoStructs,
}
