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
