//! A segment of a dump's bulk: which chunks it has, and where their stored bytes are.

use alloc::vec::Vec;

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{BLOCK, DumpHeader, StoredChunks, damage, end, first_block, is_whole, seal};
use crate::chunk::{ChunkEntry, Codec, Left, PAGE, pages_of};

/// Most entries of a segment.
pub const SEGMENT_ENTRIES: usize = 126;

const MAGIC: [u8; 8] = *b"KDRSSEGM";
const HAS_CHECKSUM: u8 = 1;

/// A segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its number: 0 for the first one of a dump, then ascending.
    pub number: u32,
    /// Length of the stored bytes after its block, a multiple of [`BLOCK`].
    pub length: u64,
    /// The chunks.
    pub chunks: Vec<StoredChunks>,
}

/// A reason why a block is not the segment that it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SegmentError {
    /// It is none of this dump.
    #[error("there is no segment of this dump")]
    NotOurs,
    /// Its CRC-32C is wrong.
    #[error("a segment is damaged: the disk is failing")]
    Checksum,
    /// It names chunks or places that cannot be.
    #[error("a segment names chunks or places that cannot be: the writer is at fault")]
    Layout,
    /// The heap has no room for it.
    #[error("there is no memory for a segment")]
    NoMemory,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Entry {
    chunk: U32,
    codec: u8,
    flags: u8,
    repeat: U16,
    at: U64,
    stored: U32,
    crc: U32,
    left: [u8; 8],
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Block {
    magic: [u8; 8],
    id: [u8; 16],
    sequence: U64,
    number: U32,
    count: U32,
    length: U64,
    key: U32,
    zero: [u8; 8],
    entries: [Entry; SEGMENT_ENTRIES],
    crc: U32,
}

/// Makes the block of a segment of `dump`: the first [`SEGMENT_ENTRIES`] of `chunks`, and `length`
/// bytes after it.
pub fn encode_segment(
    dump: &DumpHeader,
    number: u32,
    length: u64,
    chunks: &[StoredChunks],
    bytes: &mut [u8; BLOCK],
) {
    bytes.fill(0);
    let block: &mut Block = zerocopy::transmute_mut!(bytes);
    block.magic = MAGIC;
    block.id = dump.id.0;
    block.sequence = dump.sequence.into();
    block.number = number.into();
    block.count = (chunks.len().min(SEGMENT_ENTRIES) as u32).into();
    block.length = length.into();
    block.key = dump.key.into();
    for (field, chunks) in block.entries.iter_mut().zip(chunks) {
        let ChunkEntry { chunk, codec, stored, crc, left } = chunks.entry;
        field.chunk = chunk.into();
        field.codec = codec.code();
        field.flags = crc.map_or(0, |_| HAS_CHECKSUM);
        field.repeat = chunks.repeat.into();
        field.at = chunks.at.into();
        field.stored = stored.into();
        field.crc = crc.unwrap_or(0).into();
        field.left = left.to_bytes();
    }
    seal(bytes);
}

impl Segment {
    /// Reads the block of a segment of `dump`, which is at `at` bytes from the region's start. All
    /// that it names is in the segment, and the segment ends at or before the committed end.
    ///
    /// # Errors
    /// The first check that failed.
    pub fn decode(bytes: &[u8], dump: &DumpHeader, at: u64) -> Result<Self, SegmentError> {
        Self::decode_within(bytes, dump, at, dump.committed)
    }

    /// The same, where segments that end at or before `limit` count.
    ///
    /// # Errors
    /// As for [`Self::decode`].
    pub fn decode_within(
        bytes: &[u8],
        dump: &DumpHeader,
        at: u64,
        limit: u64,
    ) -> Result<Self, SegmentError> {
        let bytes = first_block(bytes).ok_or(SegmentError::NotOurs)?;
        let block: &Block = zerocopy::transmute_ref!(bytes);
        if block.magic != MAGIC {
            return Err(SegmentError::NotOurs);
        }
        if damage(bytes).is_some() {
            return Err(SegmentError::Checksum);
        }
        let is_of = block.sequence == dump.sequence && block.key == dump.key;
        if block.id != dump.id.0 || !is_of {
            return Err(SegmentError::NotOurs);
        }
        block.segment(dump.raw_length, at, limit)
    }

    /// Its end if it begins at `at`.
    pub const fn end(&self, at: u64) -> u64 {
        at.saturating_add(BLOCK as u64).saturating_add(self.length)
    }
}

impl Block {
    fn segment(&self, raw_length: u64, at: u64, limit: u64) -> Result<Segment, SegmentError> {
        let (number, length) = (self.number.get(), self.length.get());
        let start = end(at, BLOCK as u64).ok_or(SegmentError::Layout)?;
        let end = end(start, length).filter(|end| *end <= limit && is_whole(length));
        let end = end.ok_or(SegmentError::Layout)?;
        let count = usize::try_from(self.count.get()).unwrap_or(usize::MAX);
        let listed = self.entries.get(..count).filter(|listed| !listed.is_empty());
        let listed = listed.ok_or(SegmentError::Layout)?;
        let mut chunks = Vec::new();
        chunks.try_reserve_exact(count).or(Err(SegmentError::NoMemory))?;
        for entry in listed {
            let entry = entry.chunks(raw_length).ok_or(SegmentError::Layout)?;
            if !entry.is_right(raw_length, start, end) {
                return Err(SegmentError::Layout);
            }
            chunks.push(entry);
        }
        Ok(Segment { number, length, chunks })
    }
}

impl Entry {
    fn chunks(&self, raw_length: u64) -> Option<StoredChunks> {
        let chunk = self.chunk.get();
        let left = Left::from_bytes(self.left, pages_of(chunk, raw_length))?;
        let crc = (self.flags & HAS_CHECKSUM != 0).then_some(self.crc.get());
        let codec = Codec::from_code(self.codec)?;
        let entry = ChunkEntry { chunk, codec, stored: self.stored.get(), crc, left };
        Some(StoredChunks { entry, repeat: self.repeat.get(), at: self.at.get() })
    }
}

const _: () = assert!(PAGE == BLOCK as u64, "kept pages are whole blocks");
