//! Runs of chunks as a segment names them, and the numbers of their pages.

use vmcore::PageClass;

use super::is_whole;
use crate::chunk::{CHUNK, ChunkEntry, Codec, IN_DOUBT, Left, PAGES, pages_of};

/// A chunk of a segment, and chunks after it that are alike: all of them are left out for the same
/// reasons, or all are kept and raw, without checksums, and stored one after the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoredChunks {
    /// The first chunk.
    pub entry: ChunkEntry,
    /// Number of chunks after the first.
    pub repeat: u16,
    /// Start of its stored bytes, in bytes from the region's start; zero if nothing is stored.
    pub at: u64,
}

impl StoredChunks {
    /// Number of chunks.
    pub fn count(&self) -> u32 {
        u32::from(self.repeat) + 1
    }

    /// Number of stored bytes of all of them.
    pub fn stored(&self) -> u64 {
        u64::from(self.entry.stored) * u64::from(self.count())
    }

    /// End of their stored bytes, in bytes from the region's start.
    pub fn end(&self) -> u64 {
        self.at.saturating_add(self.stored())
    }

    /// Chunk `index` of them, counted from zero, and where its stored bytes are.
    pub fn nth(&self, index: u32) -> Self {
        let at = self.at + u64::from(index) * u64::from(self.entry.stored);
        let entry = ChunkEntry { chunk: self.entry.chunk + index, ..self.entry };
        Self { entry, repeat: 0, at }
    }

    /// The first `count` of them, at least one.
    #[must_use]
    pub fn first(self, count: u32) -> Self {
        Self {
            repeat: self.repeat.min(count.saturating_sub(1).min(u16::MAX.into()) as u16),
            ..self
        }
    }

    /// Adds `next` to them, if it follows and is alike. `raw_length` is that of the raw view, in
    /// bytes.
    pub fn join(&mut self, next: &Self, raw_length: u64) -> bool {
        let (count, both) = (self.count(), self.count() + next.count());
        let is_next = self.entry.chunk.checked_add(count) == Some(next.entry.chunk);
        let whole = |chunks: &Self| chunks.is_alike() && chunks.is_full(raw_length);
        let is_alike = self.entry.left == next.entry.left
            && (self.entry.stored == 0 || self.end() == next.at)
            && self.entry.stored == next.entry.stored;
        let fits = both <= u32::from(u16::MAX) + 1;
        let joins = is_next && is_alike && fits && whole(self) && whole(next);
        if joins {
            self.repeat = (both - 1) as u16;
        }
        joins
    }

    /// True if chunks like this one can be one entry.
    fn is_alike(&self) -> bool {
        let ChunkEntry { codec, stored, crc, left, .. } = self.entry;
        let is_kept = left == Left::default() && u64::from(stored) == CHUNK;
        codec == Codec::Raw && crc.is_none() && (is_kept || left.kept(PAGES) == 0)
    }

    /// True if all of them have all their pages.
    fn is_full(&self, raw_length: u64) -> bool {
        let last = self.entry.chunk.checked_add(self.repeat.into());
        last.is_some_and(|last| pages_of(last, raw_length) == PAGES)
    }

    /// True if its values are possible, for stored bytes between `start` and `end` of the region.
    pub(super) fn is_right(&self, raw_length: u64, start: u64, end: u64) -> bool {
        let is_repeated = self.repeat == 0 || self.is_alike() && self.is_full(raw_length);
        let is_raw = self.entry.codec == Codec::Raw;
        let is_inside = self.entry.stored == 0
            || self.at >= start
                && self.at.checked_add(self.stored()).is_some_and(|stored| stored <= end)
                && (!is_raw || is_whole(self.at));
        self.entry.check(raw_length).is_ok() && is_repeated && is_inside
    }
}

/// Numbers of pages: kept, and left out by class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageCounts(pub(super) [u64; 16]);

impl PageCounts {
    /// Number of kept pages.
    pub const fn kept(&self) -> u64 {
        self.0[0]
    }

    /// These numbers, by the code of the class.
    pub const fn new(by_code: [u64; 16]) -> Self {
        Self(by_code)
    }

    /// All numbers, by the code of the class; index 0 counts kept pages, index
    /// [`IN_DOUBT`] those in doubt.
    pub const fn by_code(&self) -> &[u64; 16] {
        &self.0
    }

    /// Number of pages of the whole view that are kept because their class is in doubt.
    pub const fn in_doubt(&self) -> u64 {
        self.0[IN_DOUBT]
    }

    /// The same numbers, with so many pages in doubt.
    #[must_use]
    pub const fn with_doubt(mut self, pages: u64) -> Self {
        self.0[IN_DOUBT] = pages;
        self
    }

    /// Number of all pages.
    pub fn all(&self) -> u64 {
        self.0[..IN_DOUBT].iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Number of pages of this class.
    pub fn of(&self, class: PageClass) -> u64 {
        self.0[usize::from(class.code())]
    }

    /// Adds the pages of these chunks.
    pub fn add(&mut self, chunks: &StoredChunks, raw_length: u64) {
        for page in 0..crate::chunk::pages_of(chunks.entry.chunk, raw_length) {
            let code = chunks.entry.left.get(page).map_or(0, |class| usize::from(class.code()));
            self.0[code] = self.0[code].saturating_add(chunks.count().into());
        }
    }
}
