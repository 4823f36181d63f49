//! The place of a dump disk on a disk: all of it, or a partition.

use super::dump_disk::matching_header;
use super::scratch::Scratch;
use crate::driver::{BlockDevice, Error};
use crate::targets::TargetError;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;
use dumpfile::partitions::{Disk, Partition};
use dumpfile::{DiskError, DiskId};

/// A part of a disk that carries the header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// The partition's number; [`None`] for the whole disk.
    pub partition: Option<u32>,
    /// Its bytes on the disk.
    pub place: Range<u64>,
}

impl fmt::Display for Located {
    /// The partition, with a comma before it, for after the disk's name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.partition.map_or(Ok(()), |number| write!(f, ", partition {number}"))
    }
}

/// Finds the header with `id` on `device`: at its front, else at the front of a partition. The
/// table names places to look at, and nothing more. Other dump disks and faults of the table are
/// given to `say`.
///
/// # Errors
/// The header is not there, or the disk cannot be read.
pub fn locate(
    device: &mut (impl BlockDevice + ?Sized),
    id: DiskId,
    say: &mut dyn FnMut(fmt::Arguments<'_>),
) -> Result<Located, TargetError> {
    let mut scratch = Scratch::new()?;
    let whole = 0..device.capacity();
    let failure = match matching_header(device, &whole, id, &mut scratch) {
        Ok(_) => return Ok(Located { partition: None, place: whole }),
        Err(failure) => failure,
    };
    if !may_be_partitioned(&failure) {
        return Err(failure);
    }
    let partitions = partitions(device, say)?;
    for Partition { number, place } in &partitions {
        let located = Located { partition: Some(*number), place: place.clone() };
        match matching_header(device, place, id, &mut scratch) {
            Ok(_) => return Ok(located),
            Err(failure @ TargetError::Device(_)) if !may_be_partitioned(&failure) => {
                return Err(failure);
            }
            Err(TargetError::NotADumpDisk(DiskError::NotOurs | DiskError::TooShort(_))) => {}
            Err(failure) => say(format_args!("{located}: {failure}")),
        }
    }
    Err(if partitions.is_empty() { failure } else { TargetError::NoPartition(partitions.len()) })
}

/// False where there can be no partition, or no answer to the next request either.
const fn may_be_partitioned(failure: &TargetError) -> bool {
    match failure {
        TargetError::Device(error) => {
            !matches!(error, Error::Timeout(_) | Error::BadAnswer(_) | Error::NoMemory)
        }
        TargetError::NotADumpDisk(_) => true,
        _ => false,
    }
}

fn partitions(
    device: &mut (impl BlockDevice + ?Sized),
    say: &mut dyn FnMut(fmt::Arguments<'_>),
) -> Result<Vec<Partition>, Error> {
    let (size, sector) = (device.capacity(), device.block_size());
    let mut disk = Disk { size, sector, read: &mut |at, into| device.read(at, into) };
    disk.partitions(&mut |fault| say(format_args!(": {fault}")))
}
