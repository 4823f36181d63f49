//! Contents of the window on old memory: whole blocks of 2 MiB where every byte of one is known to
//! be RAM, and the pages of one request where that is not so.
//!
//! A block stays until another one needs its slot. So reading through memory, or in a few places of
//! it, changes few entries: one for 512 pages. Memory that is not known to be RAM is never in a
//! block, because the CPU may read ahead anywhere in one, and reads may change the registers of
//! devices. Also, the caching of a large page whose parts differ in their memory type is not
//! defined (Intel manual, volume 3, "Large Page Size Considerations"). The first block is never
//! mapped as one: in the first MiB each few pages have a memory type of their own.

use alloc::vec::Vec;
use core::ops::Range;
use handoff::layout::PAGE_SIZE;
use vmcore::{Error, PhysRange};

/// Bytes of a block, which a large page of PAE maps.
pub const BLOCK: u64 = 2 << 20;
/// Number of blocks that the window can show.
pub const SLOTS: usize = 32;
/// Stands in a slot without a block: no number of one.
const NOTHING: u64 = u64::MAX;

/// The entries of the window. A change holds at once.
pub trait Entries {
    /// Shows the page at the physical address `start` as page `index` of the window, or nothing.
    fn set_page(&mut self, index: usize, start: Option<u64>);

    /// Shows the block at the physical address `start` in `slot`, or nothing.
    fn set_block(&mut self, slot: usize, start: Option<u64>);
}

/// A part of memory in the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Bytes from the start of the window, which begins with a block's worth of pages; slot after
    /// slot follows.
    pub offset: usize,
    /// Number of bytes from there on.
    pub length: usize,
}

/// Memory that is in the window in one piece.
#[derive(Clone, Copy, Debug)]
struct Piece {
    /// Its first byte (physical).
    start: u64,
    /// Its place in the window.
    shown: Shown,
}

/// All that the window shows.
#[derive(Debug)]
pub struct Contents {
    /// Numbers of blocks of which every byte is known to be RAM, lowest first.
    whole: Vec<Range<u64>>,
    /// The number of the block in each slot.
    slots: [u64; SLOTS],
    /// The first page that is shown (physical address), and how many pages are.
    pages: (u64, usize),
    /// The block or the pages that were used last. They are still shown: only another use takes
    /// their place.
    last: Piece,
}

impl Contents {
    /// Nothing is shown, and nothing known to be RAM: all is shown page by page.
    pub const fn new() -> Self {
        let last = Piece { start: 0, shown: Shown { offset: 0, length: 0 } };
        Self { whole: Vec::new(), slots: [NOTHING; SLOTS], pages: (0, 0), last }
    }

    /// Takes `ram`, ranges that neither overlap nor touch, lowest first, and nothing else for RAM.
    /// Earlier contents are gone.
    ///
    /// # Errors
    /// [`Error::NoMemory`]: then nothing is known to be RAM.
    pub fn know(
        &mut self,
        ram: impl Iterator<Item = PhysRange>,
        entries: &mut impl Entries,
    ) -> Result<(), Error> {
        for slot in (0..SLOTS).filter(|slot| self.slots[*slot] != NOTHING) {
            entries.set_block(slot, None);
        }
        self.show_pages(0, 0, entries);
        *self = Self::new();
        let mut whole = Vec::new();
        for blocks in ram.map(whole_blocks).filter(|blocks| !blocks.is_empty()) {
            whole.try_reserve(1).map_err(|_| Error::NoMemory)?;
            whole.push(blocks);
        }
        self.whole = whole;
        Ok(())
    }

    /// Shows the first of `length` bytes from the physical address `at` on, and as many more of
    /// them as are in the same block. They end below the highest physical address (at most 2^52).
    ///
    /// Nearly all reads are small and close to the last one.
    #[inline]
    pub fn show(&mut self, at: u64, length: usize, entries: &mut impl Entries) -> Shown {
        self.last.part(at, length).unwrap_or_else(|| self.show_another(at, length, entries))
    }

    fn show_another(&mut self, at: u64, length: usize, entries: &mut impl Entries) -> Shown {
        let within = (at % BLOCK) as usize;
        let length = length.min(BLOCK as usize - within);
        let (start, offset, whole) = match self.slot(at / BLOCK, entries) {
            Some(slot) => (at - within as u64, (1 + slot) * BLOCK as usize, BLOCK as usize),
            None => {
                let skip = (at % PAGE_SIZE) as usize;
                let pages = (skip + length).div_ceil(PAGE_SIZE as usize);
                self.show_pages(at - skip as u64, pages, entries);
                (at - skip as u64, 0, pages * PAGE_SIZE as usize)
            }
        };
        self.last = Piece { start, shown: Shown { offset, length: whole } };
        Shown { offset: offset + (at - start) as usize, length }
    }

    /// The slot that shows the block, if it is whole.
    fn slot(&mut self, block: u64, entries: &mut impl Entries) -> Option<usize> {
        let slot = (block % SLOTS as u64) as usize;
        if self.slots[slot] != block {
            if !self.is_whole(block) {
                return None;
            }
            entries.set_block(slot, Some(block * BLOCK));
            self.slots[slot] = block;
        }
        Some(slot)
    }

    fn is_whole(&self, block: u64) -> bool {
        let next = self.whole.partition_point(|whole| whole.end <= block);
        self.whole.get(next).is_some_and(|whole| whole.contains(&block))
    }

    /// Shows `pages` pages from the one at `start` (physical) on, and no others.
    fn show_pages(&mut self, start: u64, pages: usize, entries: &mut impl Entries) {
        if self.pages == (start, pages) {
            return;
        }
        for index in pages..self.pages.1 {
            entries.set_page(index, None);
        }
        for index in 0..pages {
            entries.set_page(index, Some(start + index as u64 * PAGE_SIZE));
        }
        self.pages = (start, pages);
    }
}

impl Piece {
    /// Place of `length` bytes from `at` on (physical), if all of them are in it.
    fn part(&self, at: u64, length: usize) -> Option<Shown> {
        let skip = usize::try_from(at.wrapping_sub(self.start)).ok()?;
        let rest = self.shown.length.checked_sub(skip)?;
        (length <= rest).then_some(Shown { offset: self.shown.offset + skip, length })
    }
}

impl Default for Contents {
    fn default() -> Self {
        Self::new()
    }
}

/// The numbers of the blocks that are wholly in `ram`, without the first block of all.
fn whole_blocks(ram: PhysRange) -> Range<u64> {
    ram.start().get().div_ceil(BLOCK).max(1)..ram.end().get() / BLOCK
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "sets of one range are meant")]
mod tests;
