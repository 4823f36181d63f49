//! The most room that the bulk of a dump takes on a disk.

use vmcore::{DumpOffset, View, What};

use super::{BLOCK, SEGMENT_ENTRIES};
use crate::chunk::{CHUNK, PAGE};

/// A capture kernel closes a segment that is not full only after so many bytes of kept pages, but
/// for the last one.
pub const LEAST_SEGMENT: u64 = 4 << 20;

/// The numbers that the room for a bulk depends on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BulkSize {
    /// Length of the raw view in bytes.
    pub raw_length: u64,
    /// Number of kept pages.
    pub pages: u64,
    /// Number of chunks that have a kept page.
    pub chunks: u64,
    /// Number of pieces of the view that are left out or zeros.
    pub runs: u64,
}

impl BulkSize {
    /// Counts pages and pieces of `view`, at level 0: all of it that is memory, or bytes of ours.
    pub fn of(view: &dyn View) -> Self {
        let mut size = Self { raw_length: view.len(), ..Self::default() };
        let (mut at, mut next_page, mut next_chunk) = (DumpOffset::new(0), 0, 0);
        while let Some(piece) = view.piece(at, u64::MAX) {
            let (start, end) = (piece.at.get(), piece.end().get());
            if matches!(piece.what, What::Zero | What::Left(_)) {
                size.runs += 1;
            } else {
                let (page, chunk) = (end.div_ceil(PAGE), end.div_ceil(CHUNK));
                size.pages += page - next_page.max(start / PAGE);
                size.chunks += chunk - next_chunk.max(start / CHUNK);
                (next_page, next_chunk) = (page, chunk);
            }
            at = piece.end();
        }
        size
    }

    /// The most bytes that the bulk takes in a dump's region, with any codec: kept pages, and a
    /// block for each segment. A segment that is not full has at least `least` bytes of kept pages.
    /// A chunk is compressed only if that saves a page, which is more than the loss by padding.
    pub const fn most(&self, least: u64) -> u64 {
        let Self { raw_length, pages, chunks, runs } = *self;
        // A piece that is left out is one entry, and one for each 65536 chunks, and shares at most
        // two chunks with its neighbours.
        let entries =
            chunks.saturating_add(runs.saturating_mul(3)).saturating_add(raw_length >> 32);
        let bytes = pages.saturating_mul(PAGE);
        let blocks = entries / SEGMENT_ENTRIES as u64 + bytes / least + 2;
        bytes.saturating_add(blocks.saturating_mul(BLOCK as u64))
    }
}
