//! A view without the pages that a dump level leaves out.

use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::fmt;

use handoff::layout::PAGE_SIZE;

use crate::{
    DumpOffset, Error, Level, PageClass, PageFilter, PhysAddr, PhysRange, Piece, ReadPhys, Verdict,
    View, WINDOW, WINDOW_PAGES, What,
};

/// Most windows that one call looks at, so that no call takes long.
const MOST_WINDOWS: u64 = 16;
/// Most pages that one call compares with zero.
const MOST_TESTS: u32 = 256;

/// A view, less the pages that a level leaves out. Offsets do not change.
///
/// Only whole pages of memory are left out: pages at multiples of 4096 in the first kernel's
/// physical memory, all of which the view has. Pages of zeros are looked for last, among the pages
/// that are otherwise kept. Pages that a filter excludes at this level are never read. A page of
/// the first kernel comes from one place only, as in [`Vmcore`](crate::Vmcore).
///
/// A dump of level 0 needs no such view: each piece of it is that of the view below.
pub struct KeptView<V, F, M> {
    view: V,
    filter: F,
    level: Level,
    /// The memory for the test for zeros, if there is one.
    zeros: Option<M>,
    windows: RefCell<[Window; 2]>,
    /// The end of the furthest page that was looked at, as an offset in the view.
    seen: Cell<u64>,
    /// Pages before that which are kept in doubt.
    doubt: Cell<u64>,
}

impl<V: View, F: PageFilter, M: ReadPhys> KeptView<V, F, M> {
    /// The pages of `view` that `level` keeps. With `zeros`, the memory of the view, a level with
    /// bit 1 also leaves out pages of zeros; without it they are kept, and the view reads nothing.
    ///
    /// # Errors
    /// [`Error::NoMemory`]. It takes 3 KiB of heap.
    pub fn new(view: V, filter: F, level: Level, zeros: Option<M>) -> Result<Self, Error> {
        let zeros = zeros.filter(|_| level.excludes(PageClass::Zero));
        let windows = RefCell::new([Window::new()?, Window::new()?]);
        let (seen, doubt) = (Cell::new(0), Cell::new(0));
        Ok(Self { view, filter, level, zeros, windows, seen, doubt })
    }

    /// Length and class of the run at the front of memory `source` at `at`, not empty. [`None`] is
    /// the class of kept pages.
    fn run(&self, at: u64, source: PhysRange) -> (u64, Option<PageClass>) {
        let first = self.view.in_first_kernel(source.start()).get();
        let mut windows = self.windows.borrow_mut();
        let (mut done, mut class, mut tests) = (0, None, 0);
        let most = source.length().min((MOST_WINDOWS * WINDOW).saturating_sub(first % WINDOW));
        while done < most && tests < MOST_TESTS {
            let address = first.saturating_add(done);
            let into = address % PAGE_SIZE;
            let length = (PAGE_SIZE - into).min(most - done);
            let page = Page {
                address: PhysAddr::new(address - into),
                source: (source.start().get() + done).checked_sub(into),
                at: (at + done).checked_sub(into),
            };
            let this = match length == PAGE_SIZE || self.has(page) {
                true => self.class_of(page, &mut windows, &mut tests),
                false => None,
            };
            if *class.get_or_insert(this) != this {
                break;
            }
            done += length;
        }
        (done, class.flatten())
    }

    /// True if the view has all of `page` as one piece of memory.
    fn has(&self, page: Page) -> bool {
        let piece = page.at.and_then(|at| self.view.piece(DumpOffset::new(at), PAGE_SIZE));
        piece.is_some_and(|piece| match piece.what {
            What::Phys(range) => {
                range.length() == PAGE_SIZE && Some(range.start().get()) == page.source
            }
            _ => false,
        })
    }

    /// The class of a page that the view has, if it is left out.
    fn class_of(
        &self,
        page: Page,
        windows: &mut [Window; 2],
        tests: &mut u32,
    ) -> Option<PageClass> {
        let start = page.address.align_down(WINDOW);
        if windows[0].start != Some(start) {
            windows.swap(0, 1);
            if windows[0].start != Some(start) {
                windows[0].classify(start, &self.filter);
            }
        }
        let index = ((page.address.get() - start.get()) / PAGE_SIZE) as usize;
        let verdict = windows[0].verdicts.get(index).copied().unwrap_or(Verdict::Doubt);
        self.count(page, verdict);
        match verdict {
            Verdict::Excluded(class) if self.level.excludes(class) => Some(class),
            _ => {
                let (memory, source) = (self.zeros.as_ref()?, page.source?);
                *tests += 1;
                let is_zero = || memory.is_zero(PhysAddr::new(source), PAGE_SIZE) == Ok(true);
                windows[0].is_zero(index, is_zero).then_some(PageClass::Zero)
            }
        }
    }

    /// Counts a page once, if pages are looked at in ascending order.
    fn count(&self, page: Page, verdict: Verdict) {
        if let Some(at) = page.at.filter(|at| *at >= self.seen.get()) {
            self.seen.set(at + PAGE_SIZE);
            self.doubt.set(self.doubt.get() + u64::from(verdict == Verdict::Doubt));
        }
    }
}

impl<V: View, F: PageFilter, M: ReadPhys> View for KeptView<V, F, M> {
    fn len(&self) -> u64 {
        self.view.len()
    }

    fn piece(&self, at: DumpOffset, most: u64) -> Option<Piece<'_>> {
        let piece = self.view.piece(at, most)?;
        let What::Phys(source) = piece.what else { return Some(piece) };
        let (len, class) = self.run(at.get(), source);
        let what = match class {
            Some(class) => What::Left(class),
            None => What::Phys(PhysRange::new(source.start(), len).ok()?),
        };
        Some(Piece { at, len, what })
    }

    fn in_first_kernel(&self, at: PhysAddr) -> PhysAddr {
        self.view.in_first_kernel(at)
    }

    fn level(&self) -> Level {
        self.level
    }

    fn in_doubt(&self) -> u64 {
        self.doubt.get()
    }
}

impl<V: View, F: PageFilter, M> fmt::Debug for KeptView<V, F, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { view, filter, level, .. } = self;
        f.debug_struct("KeptView")
            .field("view", view)
            .field("filter", filter)
            .field("level", level)
            .finish_non_exhaustive()
    }
}

/// A page of memory, of which the view may have a part only.
#[derive(Clone, Copy)]
struct Page {
    /// Its address in the first kernel.
    address: PhysAddr,
    /// Its present address.
    source: Option<u64>,
    /// Its offset in the view.
    at: Option<u64>,
}

/// A window that was classified.
struct Window {
    /// Its address.
    start: Option<PhysAddr>,
    /// As many as a window has pages.
    verdicts: Vec<Verdict>,
    /// Pages that were compared with zero, and those of them that are zero, as bits.
    tested: [u32; WINDOW_PAGES / 32],
    zero: [u32; WINDOW_PAGES / 32],
}

impl Window {
    fn new() -> Result<Self, Error> {
        let mut verdicts = Vec::new();
        verdicts.try_reserve_exact(WINDOW_PAGES).map_err(|_| Error::NoMemory)?;
        verdicts.resize(WINDOW_PAGES, Verdict::Kept);
        let none = [0; WINDOW_PAGES / 32];
        Ok(Self { start: None, verdicts, tested: none, zero: none })
    }

    fn classify(&mut self, start: PhysAddr, filter: &impl PageFilter) {
        self.start = Some(start);
        (self.tested, self.zero) = Default::default();
        if let Some(verdicts) = self.verdicts.first_chunk_mut() {
            filter.classify(start, verdicts);
        }
    }

    /// The result of `test` for page `index`, which is called once.
    fn is_zero(&mut self, index: usize, test: impl FnOnce() -> bool) -> bool {
        let (word, bit) = (index / 32, 1 << (index % 32));
        if self.tested[word] & bit == 0 {
            self.tested[word] |= bit;
            self.zero[word] |= if test() { bit } else { 0 };
        }
        self.zero[word] & bit != 0
    }
}

#[cfg(test)]
mod tests;
