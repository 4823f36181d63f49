//! The command line of the capture kernel: every option, parsed; numbers as Linux writes them.
//!
//! Everything here is pure: the capture kernel, the loader and the host's tools use the same parser.

#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate alloc;

mod number;
mod options;

pub use number::{memparse, size_at};
pub use options::{
    Action, Compress, DEFAULT_TIMEOUT, MAX_MEMMAP, MAX_TARGETS, MAX_VIRTIO_MMIO, Options, PowerOff,
    Problem, SerialPort, TargetEntry, TargetSpec, Trouble, ViewSpec,
};
