//! Chunks: the unit in which the bulk of a dump is encoded, stored and sent.
//!
//! Chunk N is the 64 KiB of the raw view from N × 64 KiB on: 16 pages. Each page is kept, or left
//! out for a reason. Stored are the kept pages, ascending, concatenated; compressed as the codec
//! says. The last chunk of a view may have fewer pages. A view's last page counts as a whole one.

mod encode;
mod select;

use vmcore::PageClass;

use crate::Crc32c;

pub use encode::{Encoder, MOST_COMPRESSED};
pub use select::{left_of, repeats, totals};

/// Bytes of a page.
pub const PAGE: u64 = 4096;
/// Bytes of the raw view in a chunk.
pub const CHUNK: u64 = 64 << 10;
/// Pages of a chunk.
pub const PAGES: usize = 16;
/// In numbers of pages by class code: the index for the pages of the whole view that are kept
/// because their class is in doubt. They are also counted by what became of them.
pub const IN_DOUBT: usize = 15;

/// The encoding of the kept pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Codec {
    /// None.
    #[default]
    Raw = 1,
    /// An LZ4 block (without a frame or a length in front).
    Lz4 = 2,
}

impl Codec {
    /// The number that stands for it in files and frames.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The codec with this number, if this program knows it.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Raw),
            2 => Some(Self::Lz4),
            _ => None,
        }
    }

    /// Its name, as command lines and reports have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raw => "none",
            Self::Lz4 => "lz4",
        }
    }
}

/// The pages of a chunk that are left out: 4 bits a page, the low half of a byte first, 0 for a
/// kept page, else the code of a [`PageClass`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left([u8; 8]);

impl Left {
    /// All pages of one class.
    pub fn all(class: PageClass) -> Self {
        Self([class.code() << 4 | class.code(); 8])
    }

    /// The class of page 0–15 of the chunk; [`None`] for a kept one.
    pub fn get(self, page: usize) -> Option<PageClass> {
        let byte = self.0.get(page / 2).copied().unwrap_or_default();
        PageClass::from_code(byte >> (4 * (page % 2)) & 15)
    }

    /// Leaves out page 0–15.
    pub fn set(&mut self, page: usize, class: PageClass) {
        if let Some(byte) = self.0.get_mut(page / 2) {
            let shift = 4 * (page % 2);
            *byte = *byte & !(15 << shift) | class.code() << shift;
        }
    }

    /// Number of kept pages among the first `pages`.
    pub fn kept(self, pages: usize) -> usize {
        (0..pages.min(PAGES)).filter(|page| self.get(*page).is_none()).count()
    }

    /// As files and frames have it.
    pub const fn to_bytes(self) -> [u8; 8] {
        self.0
    }

    /// The same, read back. [`None`] if one of the first `pages` has a class that this program does
    /// not know, or a page after these is left out.
    pub fn from_bytes(bytes: [u8; 8], pages: usize) -> Option<Self> {
        let nibble = |page: usize| bytes[page / 2] >> (4 * (page % 2)) & 15;
        let is_known = |page| match nibble(page) {
            0 => true,
            code => page < pages && PageClass::from_code(code).is_some(),
        };
        (0..PAGES).all(is_known).then_some(Self(bytes))
    }
}

/// A chunk, without its stored bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChunkEntry {
    /// Number of the chunk: its offset in the raw view, in units of [`CHUNK`].
    pub chunk: u32,
    /// The encoding.
    pub codec: Codec,
    /// Number of stored bytes.
    pub stored: u32,
    /// CRC-32C of the stored bytes. Compressed chunks always have one.
    pub crc: Option<u32>,
    /// The pages that are left out.
    pub left: Left,
}

/// A reason why stored bytes are not a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// The chunk is not in the view.
    #[error("chunk {0} is after the end of the view: the writer is at fault")]
    Outside(u32),
    /// The stored bytes are too few or too many.
    #[error("chunk {chunk} has {stored} stored bytes, which cannot be {pages} pages")]
    Length {
        /// Its number.
        chunk: u32,
        /// Bytes stored.
        stored: u64,
        /// Pages kept.
        pages: usize,
    },
    /// The checksum is wrong.
    #[error("chunk {0} is damaged: its checksum is wrong")]
    Checksum(u32),
    /// The stored bytes do not decompress to the kept pages.
    #[error(
        "chunk {0} does not decompress to its pages: it was damaged before its checksum was made"
    )]
    Damaged(u32),
}

/// Number of pages of chunk `chunk` in a view of `raw_length` bytes: 0 after its end.
pub const fn pages_of(chunk: u32, raw_length: u64) -> usize {
    let rest = raw_length.saturating_sub(chunk as u64 * CHUNK);
    if rest >= CHUNK { PAGES } else { rest.div_ceil(PAGE) as usize }
}

impl ChunkEntry {
    /// Offset of its first byte in the raw view.
    pub const fn start(&self) -> u64 {
        self.chunk as u64 * CHUNK
    }

    /// Checks all that can be checked without the stored bytes, for a view of `raw_length` bytes.
    ///
    /// # Errors
    /// [`ChunkError::Outside`], [`ChunkError::Length`].
    pub fn check(&self, raw_length: u64) -> Result<(), ChunkError> {
        let pages = pages_of(self.chunk, raw_length);
        if pages == 0 {
            return Err(ChunkError::Outside(self.chunk));
        }
        let kept = self.left.kept(pages);
        let (stored, raw) = (u64::from(self.stored), kept as u64 * PAGE);
        let fits = match self.codec {
            Codec::Raw => stored == raw,
            Codec::Lz4 => (1..raw).contains(&stored) && self.crc.is_some(),
        };
        fits.then_some(()).ok_or(ChunkError::Length { chunk: self.chunk, stored, pages: kept })
    }

    /// Decodes `stored` to the chunk's pages: pages that are left out become zeros. `into` has room
    /// for the chunk's pages in a view of `raw_length` bytes, [`CHUNK`] bytes at most. `room` is
    /// memory for decompression, [`CHUNK`] bytes.
    ///
    /// # Errors
    /// As [`Self::check`], [`ChunkError::Checksum`], [`ChunkError::Damaged`]; `into` is then
    /// undefined.
    pub fn decode(
        &self,
        stored: &[u8],
        raw_length: u64,
        room: &mut [u8],
        into: &mut [u8],
    ) -> Result<(), ChunkError> {
        self.check(raw_length)?;
        let pages = pages_of(self.chunk, raw_length);
        let kept = self.left.kept(pages);
        if stored.len() as u64 != u64::from(self.stored) || into.len() != pages * PAGE as usize {
            let stored = stored.len() as u64;
            return Err(ChunkError::Length { chunk: self.chunk, stored, pages: kept });
        }
        if self.crc.is_some_and(|crc| crc != Crc32c::of(stored)) {
            return Err(ChunkError::Checksum(self.chunk));
        }
        let raw = match self.codec {
            Codec::Raw => stored,
            Codec::Lz4 => {
                let length = kept * PAGE as usize;
                let room = room.get_mut(..length).ok_or(ChunkError::Damaged(self.chunk))?;
                match lz4_flex::block::decompress_into(stored, room) {
                    Ok(count) if count == length => &*room,
                    _ => return Err(ChunkError::Damaged(self.chunk)),
                }
            }
        };
        let mut raw = raw.chunks_exact(PAGE as usize);
        for (page, bytes) in into.chunks_exact_mut(PAGE as usize).enumerate() {
            match self.left.get(page) {
                Some(_) => bytes.fill(0),
                None => bytes.copy_from_slice(raw.next().unwrap_or(&[0; PAGE as usize])),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
