//! The reasons for not knowing the first kernel.

use std::io;
use std::path::PathBuf;

/// Why the facts could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SystemError {
    /// A file that every Linux has cannot be read.
    #[error("cannot read {}: {source} (a saved system needs this file too)", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A file does not look like what the kernel writes.
    #[error("{} is not understood: {what}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
}
