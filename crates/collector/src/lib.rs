//! The host side of a dump: format a dump disk, extract the vmcore from it, or receive it over a line.
//!
//! A dump disk is a file (the disk of a virtual machine) or a block device. What lies on it was
//! written by the capture kernel of a machine that has just crashed; its header is checked before a
//! number in it is used.

mod disk;
mod error;
mod extract;
mod format;
mod link;
mod range_map;
mod read;
mod receive;
mod source;
mod store;
mod talk;

pub use disk::read_header;
pub use error::Error;
pub use extract::{Extracted, extract};
pub use format::format;
pub use link::LinkOptions;
pub use read::{read, read_disk};
pub use receive::{Received, ReceivedView, forget, receive};
pub use source::Source;
pub use talk::{Observer, Patience};
