//! The first page of a slot image: everything that a slot holds, in one file that describes itself.
//!
//! ```text
//! file:  | SlotHeader, one page | bytes of segment 0, page-aligned | bytes of segment 1 | … |
//! slot:  | kernel | free | command line | boot_params | purgatory | elfcorehdr | backup |
//! ```
//!
//! Each segment has its place in the slot, and the file has its first bytes; the rest of the place
//! is to be zeros. All addresses are physical, all lengths are bytes, all numbers little-endian.
//!
//! # Where an image lies
//! A boot loader may hand the image to the first kernel as a module, anywhere outside the slot. Or
//! firmware puts it *in place* before the first kernel runs: its first byte at the start of the
//! slot's backup region, the last [`BACKUP_LENGTH`](crate::layout::BACKUP_LENGTH) bytes of the
//! slot. That place follows from `crashkernel=SIZE@BASE` alone, and an image longer than it is
//! refused when it is packed. The first kernel unpacks the segments from there to their places,
//! which never overlap the backup region. After the first kernel's death, purgatory copies low
//! memory over the image; by then nobody needs it.
//!
//! # Sealing
//! Whoever packs an image need not know the first kernel's RAM, nor where its CPUs leave their
//! notes. Then the elfcorehdr segment is empty and the image is *unsealed*, in this header and in
//! purgatory's parameter block. The first kernel builds the ELF core header at boot, puts it into
//! its place with zeros up to the place's end, writes the digest over all of that place into the
//! parameter block's region of this name, and marks the block sealed. Purgatory refuses an unsealed
//! one.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::block::{Block, BlockHeader};

/// Flag: the ELF core header is there and purgatory's digests cover it.
pub const SLOT_SEALED: u32 = 1;
/// Most segments of the header.
pub const MAX_SLOT_SEGMENTS: usize = 32;

/// A piece of physical memory.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct SlotPlace {
    /// Physical address of the first byte.
    pub start: U64,
    /// Length in bytes.
    pub length: U64,
}

/// One segment: its place in the slot, and its bytes in the file.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct SlotSegment {
    /// Name for people, in ASCII, padded with NULs.
    pub name: [u8; 16],
    /// Its place, in whole pages.
    pub place: SlotPlace,
    /// Offset of its bytes in the file, in bytes; a multiple of a page.
    pub file_offset: U64,
    /// Number of its bytes in the file; the rest of the place is zeros.
    pub file_length: U64,
    /// SHA-256 of the bytes in the file.
    pub digest: [u8; 32],
}

/// The header, one page.
#[derive(Clone, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct SlotHeader {
    /// Magic, version, size and digest.
    pub block: BlockHeader,
    /// [`SLOT_SEALED`] or nothing; other bits must be zero.
    pub flags: U32,
    /// Number of `segments` in use.
    pub segment_count: U32,
    /// The reservation that the image is for.
    pub slot: SlotPlace,
    /// Address to which the first kernel jumps when it dies: purgatory's 32-bit entry point.
    pub entry: U64,
    /// Place of purgatory's [`PurgatoryParams`](crate::PurgatoryParams), within one segment.
    pub params: U64,
    /// The place of the ELF core header: all of one segment.
    pub elfcorehdr: SlotPlace,
    /// Memory that purgatory copies into the slot, and …
    pub backup_source: U64,
    /// … to where; no segment overlaps that.
    pub backup: SlotPlace,
    /// The segments, lowest first.
    pub segments: [SlotSegment; MAX_SLOT_SEGMENTS],
    _reserved: [u8; 4096 - 128 - 80 * MAX_SLOT_SEGMENTS],
}

impl Block for SlotHeader {
    const MAGIC: [u8; 8] = *b"KDRSSLOT";
    const VERSION: u32 = 1;

    fn header_mut(&mut self) -> &mut BlockHeader {
        &mut self.block
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::{align_of, offset_of};

    /// The layout is the same for every compiler. Changing one needs a new version.
    #[test]
    fn layout_of_version_1() {
        assert_eq!(SlotHeader::VERSION, 1);
        assert_eq!((size_of::<SlotHeader>(), align_of::<SlotHeader>()), (4096, 1));
        assert_eq!(offset_of!(SlotHeader, block), 0);
        assert_eq!(offset_of!(SlotHeader, flags), 48);
        assert_eq!(offset_of!(SlotHeader, segment_count), 52);
        assert_eq!(offset_of!(SlotHeader, slot), 56);
        assert_eq!(offset_of!(SlotHeader, entry), 72);
        assert_eq!(offset_of!(SlotHeader, params), 80);
        assert_eq!(offset_of!(SlotHeader, elfcorehdr), 88);
        assert_eq!(offset_of!(SlotHeader, backup_source), 104);
        assert_eq!(offset_of!(SlotHeader, backup), 112);
        assert_eq!(offset_of!(SlotHeader, segments), 128);
        assert_eq!(size_of::<SlotSegment>(), 80);
        assert_eq!(offset_of!(SlotSegment, place), 16);
        assert_eq!(offset_of!(SlotSegment, file_offset), 32);
        assert_eq!(offset_of!(SlotSegment, file_length), 40);
        assert_eq!(offset_of!(SlotSegment, digest), 48);
    }
}
