//! The chunk table: which chunks of a dump's bulk are whole.

use alloc::vec;
use alloc::vec::Vec;

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{BLOCK, DumpHeader, damage, first_block, seal};

/// Chunks that one block of the table tells about.
pub const MARKS: usize = 506;

const MAGIC: [u8; 8] = *b"KDRSTABL";

/// What is known of a chunk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mark {
    /// Nothing: it may be there, or a part of it.
    #[default]
    Absent,
    /// It is whole.
    Whole,
    /// It is whole, and this is the CRC-32C of its bytes.
    Checked(u32),
}

impl Mark {
    /// The same without the checksum.
    #[must_use]
    pub const fn without_checksum(self) -> Self {
        match self {
            Self::Absent => Self::Absent,
            Self::Whole | Self::Checked(_) => Self::Whole,
        }
    }

    const fn fields(self) -> (u32, u32) {
        match self {
            Self::Absent => (0, 0),
            Self::Whole => (1, 0),
            Self::Checked(crc) => (2, crc),
        }
    }

    /// A number of a later program means nothing that could be relied on.
    const fn from_fields(kind: u32, crc: u32) -> Self {
        match kind {
            1 => Self::Whole,
            2 => Self::Checked(crc),
            _ => Self::Absent,
        }
    }
}

/// One block of the chunk table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableBlock {
    /// Which block of the table it is.
    pub index: u64,
    /// What is known of chunk [`MARKS`] × `index` and those behind it: [`MARKS`] of them.
    pub marks: Vec<Mark>,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Block {
    magic: [u8; 8],
    id: [u8; 16],
    sequence: U64,
    index: U64,
    zero: U32,
    marks: [[U32; 2]; MARKS],
    crc: U32,
}

impl TableBlock {
    /// A block in which nothing is marked.
    pub fn new(index: u64) -> Self {
        Self { index, marks: vec![Mark::Absent; MARKS] }
    }

    /// The block as it goes into the region of `dump`.
    pub fn encode(&self, dump: &DumpHeader) -> [u8; BLOCK] {
        super::filled(|block| self.encode_to(dump, block))
    }

    /// The same, where the stack has no room for a block.
    pub fn encode_to(&self, dump: &DumpHeader, bytes: &mut [u8; BLOCK]) {
        bytes.fill(0);
        let block: &mut Block = zerocopy::transmute_mut!(bytes);
        block.magic = MAGIC;
        block.id = dump.id.0;
        block.sequence = dump.sequence.into();
        block.index = self.index.into();
        for (field, mark) in block.marks.iter_mut().zip(&self.marks) {
            let (kind, crc) = mark.fields();
            *field = [kind.into(), crc.into()];
        }
        seal(bytes);
    }

    /// Reads block `index` of the table of `dump`; [`None`] when these bytes are not that, whole. A
    /// block of zeros marks nothing.
    pub fn decode(bytes: &[u8], dump: &DumpHeader, index: u64) -> Option<Self> {
        let bytes = first_block(bytes)?;
        if bytes.iter().all(|byte| *byte == 0) {
            return Some(Self::new(index));
        }
        if damage(bytes).is_some() {
            return None;
        }
        let block: &Block = zerocopy::transmute_ref!(bytes);
        let is_of = block.id == dump.id.0 && block.sequence == dump.sequence;
        if block.magic != MAGIC || !is_of || block.index != index {
            return None;
        }
        let marks = block.marks.iter().map(|[kind, crc]| Mark::from_fields(kind.get(), crc.get()));
        Some(Self { index, marks: marks.collect() })
    }

    /// What both copies of block `index` say together, and how many of them are whole. Marks are never
    /// taken back, so either copy's are right.
    pub fn decode_copies(bytes: &[u8], dump: &DumpHeader, index: u64) -> (Self, usize) {
        let second = bytes.get(BLOCK..).unwrap_or_default();
        let copies = [bytes, second].map(|copy| Self::decode(copy, dump, index));
        let mut both = Self::new(index);
        for copy in copies.iter().flatten() {
            for (mark, other) in both.marks.iter_mut().zip(&copy.marks) {
                if *mark == Mark::Absent {
                    *mark = *other;
                }
            }
        }
        (both, copies.iter().flatten().count())
    }
}
