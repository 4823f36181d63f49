//! A bit for each page frame.

use alloc::vec::Vec;

use super::{KdumpError, MOST_PAGES};

/// Bytes of the bitmap for which the number of pages before them is kept.
const STEP: usize = 512;

/// A set of page frames, as the file has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageBitmap {
    bytes: Vec<u8>,
    /// Number of pages before each [`STEP`] of the bytes; empty before [`Self::count_pages`].
    before: Vec<u64>,
    pages: u64,
}

impl PageBitmap {
    /// An empty set of `pages` page frames.
    ///
    /// # Errors
    /// [`KdumpError::NoMemory`], also above [`MOST_PAGES`].
    pub fn new(pages: u64) -> Result<Self, KdumpError> {
        let mut set = Self::default();
        let length = usize::try_from(pages.div_ceil(8)).map_err(|_| KdumpError::NoMemory)?;
        let fits = pages <= MOST_PAGES && set.bytes.try_reserve_exact(length).is_ok();
        fits.then_some(()).ok_or(KdumpError::NoMemory)?;
        set.bytes.resize(length, 0);
        Ok(set)
    }

    /// Adds bytes of a file at the end.
    ///
    /// # Errors
    /// [`KdumpError::NoMemory`].
    pub fn extend(&mut self, bytes: &[u8]) -> Result<(), KdumpError> {
        let fits = (self.bytes.len() + bytes.len()) as u64 <= MOST_PAGES / 8;
        let fits = fits && self.bytes.try_reserve(bytes.len()).is_ok();
        fits.then_some(()).ok_or(KdumpError::NoMemory)?;
        self.bytes.extend_from_slice(bytes);
        self.before.clear();
        Ok(())
    }

    /// Adds a page frame. One beyond the end is ignored.
    pub fn insert(&mut self, page: u64) {
        let byte = usize::try_from(page / 8).ok().and_then(|at| self.bytes.get_mut(at));
        if let Some(byte) = byte {
            *byte |= 1 << (page % 8);
            self.before.clear();
        }
    }

    /// Adds all page frames from `start` up to `end`, end exclusive.
    pub fn insert_range(&mut self, start: u64, end: u64) {
        self.change(start, end, |byte, bits| byte | bits);
    }

    /// Removes all page frames from `start` up to `end`, end exclusive.
    pub fn remove_range(&mut self, start: u64, end: u64) {
        self.change(start, end, |byte, bits| byte & !bits);
    }

    /// Changes the bits of a range, byte by byte.
    fn change(&mut self, start: u64, end: u64, change: impl Fn(u8, u8) -> u8) {
        let (mut page, end) = (start, end.min(self.end()));
        while page < end {
            let next = end.min((page / 8 + 1) * 8);
            let bits = (0xff_u8 << (page % 8)) & (0xff_u8 >> ((8 - next % 8) % 8));
            if let Some(byte) = usize::try_from(page / 8).ok().and_then(|at| self.bytes.get_mut(at))
            {
                *byte = change(*byte, bits);
            }
            page = next;
        }
        self.before.clear();
    }

    /// True if the page frame is in the set.
    pub fn contains(&self, page: u64) -> bool {
        let byte = usize::try_from(page / 8).ok().and_then(|at| self.bytes.get(at));
        byte.is_some_and(|byte| byte >> (page % 8) & 1 == 1)
    }

    /// Counts the pages, for [`Self::len`] and [`Self::rank`].
    ///
    /// # Errors
    /// [`KdumpError::NoMemory`].
    pub fn count_pages(&mut self) -> Result<(), KdumpError> {
        let steps = self.bytes.len().div_ceil(STEP);
        self.before.clear();
        self.before.try_reserve_exact(steps).map_err(|_| KdumpError::NoMemory)?;
        self.pages = 0;
        for step in self.bytes.chunks(STEP) {
            self.before.push(self.pages);
            self.pages += ones(step);
        }
        Ok(())
    }

    /// Number of pages, as they were counted last.
    #[expect(clippy::len_without_is_empty, reason = "nobody asks")]
    pub const fn len(&self) -> u64 {
        self.pages
    }

    /// Number of pages before `page`, after [`Self::count_pages`].
    pub fn rank(&self, page: u64) -> u64 {
        let at = usize::try_from(page / 8).unwrap_or(usize::MAX).min(self.bytes.len());
        let Some(before) = self.before.get(at / STEP) else { return self.pages };
        let whole = &self.bytes[at / STEP * STEP..at];
        let rest = self.bytes.get(at).map_or(0, |byte| byte & ((1 << (page % 8)) - 1));
        before + ones(whole) + u64::from(rest.count_ones())
    }

    /// The page frames from `start` up to `end`, as runs (start, end, in the set?), ascending.
    pub fn runs(&self, start: u64, end: u64) -> impl Iterator<Item = (u64, u64, bool)> {
        let mut at = start;
        core::iter::from_fn(move || {
            let (from, is_in) = (at, self.contains(at));
            if from >= end {
                return None;
            }
            while at < end && self.contains(at) == is_in {
                let alike = if is_in { 0xff } else { 0 };
                let byte = usize::try_from(at / 8).ok().and_then(|at| self.bytes.get(at).copied());
                let is_whole = at.is_multiple_of(8) && byte.unwrap_or(0) == alike;
                at += if is_whole { 8 } else { 1 };
            }
            at = at.min(end);
            Some((from, at, is_in))
        })
    }

    /// One past the last page frame that it has room for.
    pub const fn end(&self) -> u64 {
        self.bytes.len() as u64 * 8
    }

    /// As the file has it, without the zeros after it.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

fn ones(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let words = words.iter().map(|word| u64::from_le_bytes(*word).count_ones());
    words.chain(rest.iter().map(|byte| byte.count_ones())).map(u64::from).sum()
}
