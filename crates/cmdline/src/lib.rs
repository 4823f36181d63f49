//! The command line of the capture kernel: every option in one table; numbers as Linux writes them.
//!
//! Everything here is pure: the capture kernel, the loader and the host's tools use the same
//! parser.

#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate alloc;

mod iommu;
mod number;
mod options;
mod parse;
mod problem;
mod table;
mod target;
mod value;
mod words;

pub use iommu::{IommuKind, IommuList, IommuUnit};
pub use number::{memparse, size_at};
pub use options::{
    Action, Compress, DEFAULT_TIMEOUT, MAX_MEMMAP, MAX_TARGETS, MAX_VIRTIO_MMIO, Options, PowerOff,
    ViewSpec,
};
pub use problem::{Problem, Trouble};
pub use table::table;
pub use target::{SerialPort, TargetEntry, TargetSpec};
