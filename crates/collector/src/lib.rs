//! The host side of a dump: format a dump disk, extract the vmcore from it, and say what is in it.
//!
//! A dump disk is a file (the disk of a virtual machine) or a block device. What lies on it was
//! written by the capture kernel of a machine that has just crashed; its header is checked before a
//! number in it is used.

mod disk;
mod dmesg;
mod error;
mod extract;
mod format;
mod info;
mod utc;
mod vmcore_file;

pub use disk::read_header;
pub use dmesg::{LogFormat, LogPart, dmesg};
pub use error::Error;
pub use extract::{Extracted, extract};
pub use format::format;
pub use info::{Cpu, DiskInfo, Hex, Info, Load, VmcoreInfo, info};
pub use vmcore_file::VmcoreFile;
