//! The dump disk.
//!
//! Version 3, all numbers little-endian, all places multiples of [`BLOCK`]:
//!
//! | where | what |
//! |---|---|
//! | blocks 0 and 1 of the disk | two copies of the [`DiskHeader`]: id, directory of the dumps |
//! | anywhere after them | the regions of the dumps, as the directory says |
//!
//! | in a dump's region | what |
//! |---|---|
//! | blocks 0 and 1 | two copies of the [`DumpHeader`]: state, stage, where the rest is |
//! | after them | the small views: why the machine died, in short; and room for those that are read later |
//! | from `bulk_start` on | the bulk, vmcore or oldmem: a log of [`Segment`]s |
//!
//! A segment is a block that names up to [`SEGMENT_ENTRIES`] runs of chunks, and then the stored
//! bytes of these chunks. Chunks that are left out have no stored bytes. Raw chunks start at
//! multiples of [`BLOCK`]. The chunks of a dump may stand in any order; each stands in one segment
//! only.
//!
//! Of two copies the older one is overwritten, and the newer one that is whole counts: a write that
//! is torn by a power loss costs its own contents, and nothing else. Only segments that end at or
//! before `committed` of the header count, and that is written after a flush that follows all of
//! them. So committed data is there, whatever happens later. Small views have checksums instead.
//!
//! The entry of the directory and the dump's header (and each segment) have a key, which differs
//! from capture to capture: a header that an earlier capture left in the same place, with the same
//! number on a disk that was formatted again with its old id, is never taken for the header of this
//! dump.
//!
//! Magic, version and checksum of block 0 are where they are in every version.

mod directory;
mod dump;
mod header;
mod place;
mod segment;
mod size;
mod small_views;
mod stored_chunks;

pub use directory::{Directory, DumpEntry, MAX_DUMPS};
pub use dump::{DumpError, DumpHeader, NewDump};
pub use header::{DiskHeader, FoundDisk, Refused};
pub use place::{NoRoom, Placement};
pub use segment::{SEGMENT_ENTRIES, Segment, SegmentError, encode_segment};
pub use size::{BulkSize, LEAST_SEGMENT};
pub use small_views::{MAX_SMALL_VIEWS, SmallView, SmallViews, ViewName};
pub use stored_chunks::{PageCounts, StoredChunks};

use crate::checksum::Crc32c;

/// First bytes of a disk's header.
pub const MAGIC: [u8; 8] = *b"KDRSDISK";
/// Version of the layout that is written.
pub const VERSION: u32 = 3;
/// The unit of everything on the disk, in bytes.
pub const BLOCK: usize = 4096;
/// Lowest possible start of the first dump on the disk, in bytes.
pub const FIRST_OFFSET: u64 = 2 * BLOCK as u64;

/// State of a dump. Foreign bytes may have any number here, so this is not an `enum`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct DiskState(pub u32);

impl DiskState {
    /// No dump.
    pub const EMPTY: Self = Self(0);
    /// A capture has begun and has not said how it ended.
    pub const IN_PROGRESS: Self = Self(1);
    /// A whole dump.
    pub const COMPLETE: Self = Self(2);
    /// A capture has failed at the stage that the header names.
    pub const FAILED: Self = Self(3);
    /// A capture has ended as it should, but the disk had no room for all of the dump.
    pub const PARTIAL: Self = Self(4);

    /// True if this is known not to be a whole dump.
    pub const fn is_partial(self) -> bool {
        matches!(self, Self::EMPTY | Self::IN_PROGRESS | Self::FAILED | Self::PARTIAL)
    }
}

/// The view that a dump holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Contents {
    /// An ELF core file, the vmcore view. Zero on the disk, as before there was another.
    #[default]
    Vmcore,
    /// Physical memory as it is, the oldmem view.
    OldMem {
        /// The physical address of its first byte.
        start: u64,
    },
    /// Something that a later program has written.
    Unknown(u32),
}

impl Contents {
    const VMCORE: u32 = 0;
    const OLDMEM: u32 = 1;

    /// Its number, and the physical address at which it starts.
    const fn fields(self) -> (u32, u64) {
        match self {
            Self::Vmcore => (Self::VMCORE, 0),
            Self::OldMem { start } => (Self::OLDMEM, start),
            Self::Unknown(number) => (number, 0),
        }
    }

    const fn from_fields(number: u32, start: u64) -> Self {
        match number {
            Self::VMCORE => Self::Vmcore,
            Self::OLDMEM => Self::OldMem { start },
            _ => Self::Unknown(number),
        }
    }
}

/// Reason that a block is not the header of a dump disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiskError {
    /// There are fewer than [`BLOCK`] bytes.
    #[error("{0} bytes are too few for the header of a dump disk")]
    TooShort(usize),
    /// It does not begin with [`MAGIC`].
    #[error("this is no dump disk: `kdump-collector format` makes one")]
    NotOurs,
    /// It was a dump disk, and now has a partition table.
    #[error(
        "a disk that was a dump disk and now has a partition table: nothing is written to it (to \
         make it a dump disk again, `kdump-collector format`)"
    )]
    Partitioned,
    /// It has a version that is not known.
    #[error("the dump disk has version {0}, this program knows version {VERSION}: {next}", next = other_version(*.0))]
    Version(u32),
    /// Its CRC-32C is wrong.
    #[error(
        "the header of the dump disk is damaged (CRC-32C {found:#010x}, not {expected:#010x}): the \
         write was cut short or the disk is failing"
    )]
    Checksum {
        /// The checksum of the block's bytes.
        expected: u32,
        /// The checksum that the block names.
        found: u32,
    },
    /// There are more dumps than a directory has room for.
    #[error("the directory names {0} dumps, {MAX_DUMPS} are the most: the writer is at fault")]
    TooManyDumps(u32),
    /// The directory contradicts itself.
    #[error(
        "the directory's dump {0} has no place of its own or stands in the wrong order: the writer \
         is at fault"
    )]
    Directory(u64),
}

/// The next step for a disk of another version.
const fn other_version(version: u32) -> &'static str {
    if version < VERSION {
        "if a dump on it is needed, extract it with the collector of the release that wrote it; then \
         format the disk again (`kdump-collector format`)"
    } else {
        "use programs of the same release on both sides"
    }
}

/// The checksum that a block of ours should have: over all of it, with its own field, the last four
/// bytes, as zero.
fn checksum(block: &[u8; BLOCK]) -> u32 {
    let mut digest = Crc32c::new();
    digest.update(&block[..BLOCK - 4]);
    digest.update(&[0; 4]);
    digest.finish()
}

/// Puts the checksum where it belongs.
fn seal(block: &mut [u8; BLOCK]) {
    let crc = checksum(block);
    block[BLOCK - 4..].copy_from_slice(&crc.to_le_bytes());
}

/// A block that `fill` has filled in.
fn filled(fill: impl FnOnce(&mut [u8; BLOCK])) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    fill(&mut block);
    block
}

/// The first block of `bytes`.
fn first_block(bytes: &[u8]) -> Option<&[u8; BLOCK]> {
    bytes.first_chunk()
}

fn is_whole(offset: u64) -> bool {
    offset.is_multiple_of(BLOCK as u64)
}

/// Rounded up to whole blocks.
fn blocks(bytes: u64) -> Option<u64> {
    bytes.checked_next_multiple_of(BLOCK as u64)
}

/// Expected and found checksum, where these differ.
fn damage(block: &[u8; BLOCK]) -> Option<(u32, u32)> {
    let [.., a, b, c, d] = *block;
    let (expected, found) = (checksum(block), u32::from_le_bytes([a, b, c, d]));
    (expected != found).then_some((expected, found))
}

/// The end of a range of bytes, where 64 bits can say it.
fn end(offset: u64, length: u64) -> Option<u64> {
    offset.checked_add(length)
}
