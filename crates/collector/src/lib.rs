//! The host side of a dump: format a dump disk, and extract the vmcore from it.
//!
//! A dump disk is a file (the disk of a virtual machine) or a block device. What lies on it was
//! written by the capture kernel of a machine that has just crashed; its header is checked before a
//! number in it is used.

mod disk;
mod error;
mod extract;
mod format;

pub use disk::read_header;
pub use error::Error;
pub use extract::{Extracted, extract};
pub use format::format;
