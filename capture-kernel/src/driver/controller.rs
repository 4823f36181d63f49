//! Controllers, each with any number of disks.

use super::dma::{Limits, Pieces};
use super::{BlockDevice, Error};
use alloc::boxed::Box;
use core::fmt;

/// The most disks of one controller that are looked at.
pub const MOST_DISKS: usize = 256;

/// A controller with disks (namespaces, ports, LUNs), of which one at a time is the block device.
pub trait Controller: BlockDevice {
    /// Number of disks that may be there, at most [`MOST_DISKS`].
    fn disks(&self) -> usize;
    /// Makes disk `index` the one that the methods of [`BlockDevice`] mean, and waits until it is
    /// ready.
    ///
    /// # Errors
    /// The disk cannot be used; others can still be selected.
    fn select(&mut self, index: usize) -> Result<(), Error>;
    /// The name of disk `index` for the console.
    fn disk_name(&self, index: usize) -> DiskName;
}

/// The name of a disk among those of its controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskName {
    /// The only one that there can be.
    Only,
    /// A namespace of an NVMe controller.
    Namespace(u32),
    /// A port of an AHCI controller.
    Port(u8),
    /// A SCSI disk.
    Lun {
        /// Its target.
        target: u8,
        /// Its number there.
        lun: u16,
    },
}

impl fmt::Display for DiskName {
    /// With a comma before it, for after the controller's place.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Only => Ok(()),
            Self::Namespace(number) => write!(f, ", namespace {number}"),
            Self::Port(number) => write!(f, ", port {number}"),
            Self::Lun { target, lun } => write!(f, ", target {target} LUN {lun}"),
        }
    }
}

impl BlockDevice for Box<dyn Controller + '_> {
    fn capacity(&self) -> u64 {
        (**self).capacity()
    }

    fn block_size(&self) -> u32 {
        (**self).block_size()
    }

    fn is_read_only(&self) -> bool {
        (**self).is_read_only()
    }

    fn limits(&self) -> Limits {
        (**self).limits()
    }

    fn read(&mut self, at: u64, into: &mut [u8]) -> Result<(), Error> {
        (**self).read(at, into)
    }

    fn write(&mut self, at: u64, pieces: Pieces) -> Result<(), Error> {
        (**self).write(at, pieces)
    }

    fn wait_for_one(&mut self) -> Result<bool, Error> {
        (**self).wait_for_one()
    }

    fn drain(&mut self) -> Result<(), Error> {
        (**self).drain()
    }

    fn settle(&mut self) -> Result<(), Error> {
        (**self).settle()
    }

    fn written_below(&self) -> u64 {
        (**self).written_below()
    }

    fn flush(&mut self) -> Result<(), Error> {
        (**self).flush()
    }

    fn stop(&mut self) -> Result<(), Error> {
        (**self).stop()
    }
}
