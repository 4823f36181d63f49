//! The reason why a target has not taken a dump.

use crate::driver;
use dumpfile::wire::{Outcome, WireError};
use dumpfile::{DiskError, DiskId};

/// An error of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Its device cannot be used.
    #[error(transparent)]
    Device(#[from] driver::Error),
    /// The disk carries no dump-disk header that we can use.
    #[error("{prefix}{0}", prefix = not_a_dump_disk(.0))]
    NotADumpDisk(DiskError),
    /// The disk carries another dump disk's header.
    #[error("a dump disk, but with id {0}")]
    OtherDumpDisk(DiskId),
    /// No disk carries the header with this id.
    #[error(
        "no disk or partition carries a dump-disk header with id {0}; nothing was written \
         (`kdump-collector format DISK` prints the id of the disk it formats)"
    )]
    NoSuchDisk(DiskId),
    /// The disk is no dump disk, and none of its partitions is the one with the id.
    #[error("not a dump disk, and none of its partitions ({0}) has the id")]
    NoPartition(usize),
    /// The dump does not fit.
    #[error("the dump disk is too small: {need} bytes needed, {have} there")]
    TooSmall {
        /// Bytes needed, with the header.
        need: u64,
        /// Bytes there are.
        have: u64,
    },
    /// The dump does not fit beside the complete dumps on the disk.
    #[error(
        "no room on the dump disk beside its complete dumps: {need} bytes needed, {have} \
         there: `kdump-collector extract` them and `kdump-collector format` it, or \
         kdump.replace=oldest"
    )]
    DiskFull {
        /// Bytes needed.
        need: u64,
        /// The largest place, in bytes.
        have: u64,
    },
    /// The disk had no room for all of the dump. The part that fits is on it.
    #[error(
        "the dump disk had no room for all of the dump: {there} of {length} bytes are on it, and \
         the small views; take a larger disk"
    )]
    NoRoom {
        /// Bytes of the dump that are on the disk or left out.
        there: u64,
        /// Bytes of the dump.
        length: u64,
    },
    /// The disk cannot be written.
    #[error("the disk is read-only")]
    ReadOnly,
    /// The disk's blocks are larger than ours, in bytes.
    #[error("a disk with blocks of {0} bytes; at most 4096 can be used")]
    LargeBlocks(u32),
    /// The other end of a line has not taken the dump.
    #[error("{0}")]
    Collector(Outcome),
    /// A frame could not be made: a mistake of ours.
    #[error("internal error: {0}")]
    Frame(WireError),
    /// No target was named on the command line, and no collector has asked for the dump.
    #[error(
        "the command line has no usable kdump.target=, and no collector has asked \
         for it"
    )]
    NoTarget,
    /// There is nothing to send: the ELF core header was missing or refused.
    #[error("vmcore has length zero")]
    NothingToSend,
}

/// The words before the reason. A dump disk of another version is one.
const fn not_a_dump_disk(reason: &DiskError) -> &'static str {
    match reason {
        DiskError::Version(_) => "",
        _ => "not a dump disk: ",
    }
}
