//! The walk over the page structs of a window.

use super::layout::{Layout, MOST_STRUCT, Page};
use super::memory_map::{MemoryMap, Structs};
use crate::virtual_memory::{Run, VirtualMemory};
use handoff::layout::PAGE_SIZE;
use vmcore::{PageClass, ReadPhys, Verdict, WINDOW_PAGES};

/// Bytes of page structs that are read at once.
const BUFFER: usize = 8 << 10;
/// The most pages of a compound page, as a power of two: huge pages of 1 GiB.
const MOST_ORDER: u8 = 18;

/// A walk over a window.
pub(super) struct Scan<'a, M> {
    pub(super) space: VirtualMemory<'a, M>,
    pub(super) layout: &'a Layout,
    pub(super) map: &'a MemoryMap,
    /// The structs of the window.
    pub(super) structs: Structs,
    /// First page of the window.
    pub(super) window: u64,
    pub(super) into: &'a mut [Verdict; WINDOW_PAGES],
}

/// Progress of a walk.
struct State {
    /// The structs that are read.
    run: Run,
    /// The compound page seen last.
    compound: Option<Compound>,
    /// The free block that the next page is in.
    block: Option<Block>,
}

/// A compound page.
#[derive(Clone, Copy)]
struct Compound {
    /// Address of its first struct.
    head: u64,
    /// One past its last struct.
    end: u64,
    verdict: Verdict,
}

/// Pages that are free together.
#[derive(Clone, Copy)]
struct Block {
    first: u64,
    end: u64,
    class: PageClass,
    /// No struct in it contradicts.
    is_sound: bool,
}

impl<M: ReadPhys> Scan<'_, M> {
    /// Finds the verdict on each page that has a struct.
    pub(super) fn run(&mut self) {
        let first = self.window.max(self.structs.first);
        let end = (self.window + WINDOW_PAGES as u64).min(self.structs.end);
        let size = self.layout.size;
        let mut buffer = [0; BUFFER];
        let at_once = (BUFFER / size) as u64 & !1;
        let mut state = State { run: Run::default(), compound: None, block: None };
        state.block = self.block_around(&mut state.run, first, end);
        let mut pfn = first;
        while pfn < end {
            let count = at_once.min(end - pfn);
            let bytes = &mut buffer[..count as usize * size];
            if matches!(self.space.read_run(&mut state.run, self.address(pfn), bytes), Ok(true)) {
                self.structs(&mut state, pfn, end, bytes);
            } else {
                self.one_by_one(&mut state, pfn..pfn + count, end, bytes);
            }
            pfn += count;
        }
        self.finish(&mut state);
    }

    /// Address of the struct of a page.
    const fn address(&self, pfn: u64) -> u64 {
        self.structs.base.wrapping_add(pfn.wrapping_mul(self.layout.size as u64))
    }

    fn verdict(&mut self, pfn: u64) -> &mut Verdict {
        // The walk is over the pages of the window.
        &mut self.into[(pfn - self.window) as usize % WINDOW_PAGES]
    }

    /// Looks at structs that have been read, those from page `pfn` on.
    fn structs(&mut self, state: &mut State, pfn: u64, end: u64, bytes: &[u8]) {
        let size = self.layout.size;
        for (index, (pfn, page)) in (pfn..).zip(bytes.chunks_exact(size)).enumerate() {
            let second = || bytes.get((index + 1) * size..(index + 2) * size);
            self.step(state, pfn, end, page, second);
        }
    }

    /// The same where not all can be read.
    fn one_by_one(
        &mut self,
        state: &mut State,
        pages: core::ops::Range<u64>,
        end: u64,
        buffer: &mut [u8],
    ) {
        let page = &mut buffer[..self.layout.size];
        for pfn in pages {
            match self.space.read_run(&mut state.run, self.address(pfn), page) {
                Ok(true) => self.step(state, pfn, end, page, || None),
                read => {
                    // A page without a struct is not the kernel's; such a block cannot be.
                    let unread = if read.is_ok() { Verdict::Kept } else { Verdict::Doubt };
                    *self.verdict(pfn) = unread;
                    if let Some(block) = &mut state.block {
                        block.is_sound = false;
                    }
                }
            }
        }
    }

    /// Looks at the struct of a page.
    fn step<'b>(
        &mut self,
        state: &mut State,
        pfn: u64,
        end: u64,
        bytes: &[u8],
        second: impl FnOnce() -> Option<&'b [u8]>,
    ) {
        let layout = self.layout;
        if let Some(block) = &mut state.block
            && pfn < block.end
        {
            block.is_sound &= layout.is_unused(bytes);
            let is_broken = layout.flags(bytes) & layout.poison != 0;
            let class = if is_broken { PageClass::HwPoison } else { block.class };
            *self.verdict(pfn) = Verdict::Excluded(class);
            return;
        }
        self.finish(state);
        let page = layout.page(bytes);
        let verdict = if let Some((class, order)) = layout.free(&page) {
            match order.filter(|order| pfn & ((1 << order) - 1) == 0) {
                Some(order) => {
                    let end = end.min(pfn + (1 << order));
                    state.block = Some(Block { first: pfn, end, class, is_sound: true });
                    Verdict::Excluded(class)
                }
                None => Verdict::Doubt,
            }
        } else {
            self.used(state, pfn, &page, second)
        };
        *self.verdict(pfn) = verdict;
    }

    /// The end of a free block: all of it is in doubt if a struct contradicts.
    fn finish(&mut self, state: &mut State) {
        let Some(block) = state.block.take().filter(|block| !block.is_sound) else { return };
        for pfn in block.first..block.end {
            let verdict = self.verdict(pfn);
            if *verdict == Verdict::Excluded(block.class) {
                *verdict = Verdict::Doubt;
            }
        }
    }

    /// The free block that begins before the window and that page `pfn` is in. Orders above that
    /// of a window are rare.
    fn block_around(&self, run: &mut Run, pfn: u64, end: u64) -> Option<Block> {
        let above = u64::from(WINDOW_PAGES.ilog2()) + 1..self.layout.orders;
        above.into_iter().find_map(|order| {
            let head = pfn & !((1 << order) - 1);
            let mut bytes = [0; MOST_STRUCT];
            let bytes = &mut bytes[..self.layout.size];
            if head == pfn || head < self.structs.first {
                return None;
            }
            self.space.read_run(run, self.address(head), bytes).ok().filter(|read| *read)?;
            let (class, found) = self.layout.free(&self.layout.page(bytes))?;
            let block = Block { first: pfn, end, class, is_sound: true };
            (found == Some(order)).then_some(block)
        })
    }

    /// The verdict on a page that is not free.
    fn used<'b>(
        &self,
        state: &mut State,
        pfn: u64,
        page: &Page,
        second: impl FnOnce() -> Option<&'b [u8]>,
    ) -> Verdict {
        let at = self.address(pfn);
        if page.flags == u64::MAX >> (64 - 8 * self.layout.word) {
            // A struct that was never filled in (`PAGE_POISON_PATTERN`).
            Verdict::Kept
        } else if page.flags & self.layout.poison != 0 {
            Verdict::Excluded(PageClass::HwPoison)
        } else if let Some(head) = self.layout.head_of(at, page.compound) {
            self.tail(state, pfn, head)
        } else if page.flags & self.layout.head == 0 {
            self.layout.verdict(page, None)
        } else {
            self.head(state, pfn, page, second())
        }
    }

    /// The verdict on a page whose struct is that of a tail.
    fn tail(&self, state: &mut State, pfn: u64, head: u64) -> Verdict {
        let at = self.address(pfn);
        let known = state.compound.filter(|compound| compound.head == head);
        let compound = known.unwrap_or_else(|| {
            let found = self.find_head(state, pfn, head);
            found.unwrap_or(Compound { head, end: u64::MAX, verdict: Verdict::Doubt })
        });
        state.compound = Some(compound);
        if (head..compound.end).contains(&at) { compound.verdict } else { Verdict::Doubt }
    }

    /// Reads the head of the compound page that page `pfn` claims to be in. [`None`] if it cannot
    /// be.
    fn find_head(&self, state: &mut State, pfn: u64, head: u64) -> Option<Compound> {
        let size = self.layout.size as u64;
        let distance = self.address(pfn).checked_sub(head)?;
        if distance == 0 || distance >= size << MOST_ORDER {
            return None;
        }
        let pfn = pfn.checked_sub(distance / size)?;
        if self.struct_of(pfn) != Some(head) {
            return None;
        }
        let mut bytes = [0; MOST_STRUCT];
        let bytes = &mut bytes[..size as usize];
        self.space.read_run(&mut state.run, head, bytes).ok().filter(|read| *read)?;
        let page = self.layout.page(bytes);
        if page.compound & 1 != 0 || page.flags & self.layout.head == 0 {
            return None;
        }
        self.compound(state, pfn, head, &page, None)?.ok()
    }

    /// Address of the struct of a page that may be in another section.
    fn struct_of(&self, pfn: u64) -> Option<u64> {
        let has = |structs: &Structs| (structs.first..structs.end).contains(&pfn);
        let other = || self.map.structs(self.space, pfn).ok()?.filter(has);
        let structs = Some(self.structs).filter(has).or_else(other)?;
        Some(structs.base.wrapping_add(pfn.wrapping_mul(self.layout.size as u64)))
    }

    /// The verdict on a page whose struct is that of a head. Before Linux 7.1, the structs of huge
    /// pages may be mapped repeatedly (HVO), so that tails look like their head.
    fn head(&self, state: &mut State, pfn: u64, page: &Page, second: Option<&[u8]>) -> Verdict {
        match self.compound(state, pfn, self.address(pfn), page, second) {
            Some(Ok(compound)) => {
                state.compound = Some(compound);
                compound.verdict
            }
            Some(Err(head)) => self.tail(state, pfn, head),
            None => Verdict::Doubt,
        }
    }

    /// The compound page whose head is at `at`. As an error the address of the real head, if this
    /// is a tail that looks like it. [`None`] if the structs contradict each other.
    fn compound(
        &self,
        state: &mut State,
        pfn: u64,
        at: u64,
        page: &Page,
        second: Option<&[u8]>,
    ) -> Option<Result<Compound, u64>> {
        let size = self.layout.size;
        self.space.memory.physical(pfn * PAGE_SIZE)?;
        let mut bytes = [0; MOST_STRUCT];
        let next = at.wrapping_add(size as u64);
        let second = match second {
            Some(second) => second,
            None => {
                let bytes = &mut bytes[..size];
                self.space.read_run(&mut state.run, next, bytes).ok().filter(|read| *read)?;
                bytes
            }
        };
        let head = self.layout.head_of(next, self.layout.page(second).compound)?;
        if head != at {
            return (head < at && at.is_multiple_of(PAGE_SIZE)).then_some(Err(head));
        }
        let order = match self.layout.order(second) {
            Some(order) if (1..=MOST_ORDER).contains(&order) => order,
            Some(_) => return None,
            None => MOST_ORDER,
        };
        if self.layout.order(second).is_some() && pfn & ((1 << order) - 1) != 0 {
            return None;
        }
        let verdict = self.layout.verdict(page, Some(second));
        Some(Ok(Compound { head, end: at.saturating_add((size as u64) << order), verdict }))
    }
}

impl Layout {
    /// The class of a page that begins a free block, and its order, if that can be.
    fn free(&self, page: &Page) -> Option<(PageClass, Option<u64>)> {
        let is_single = page.compound & 1 == 0 && page.flags & (self.head | self.slab) == 0;
        let has = |page_type: Option<super::page_type::PageType>| {
            page_type.is_some_and(|page_type| page_type.matches(page.mapcount)) && is_single
        };
        let order = Some(page.private).filter(|order| *order < self.orders);
        let order = order.filter(|_| page.refcount == 0);
        if page.flags & self.poison != 0 {
            None
        } else if has(self.types.buddy) {
            Some((PageClass::Free, order))
        } else if has(self.types.unaccepted) {
            // Blocks of the highest order only.
            Some((PageClass::Unaccepted, self.orders.checked_sub(1)))
        } else {
            None
        }
    }
}
