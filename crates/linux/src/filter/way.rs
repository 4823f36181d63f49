//! Memory that is read on the way to something.

use core::cell::RefCell;

use super::protected::Protected;
use crate::SegmentMap;
use handoff::layout::PAGE_SIZE;
use vmcore::{Error, PhysAddr, PhysRange, ReadPhys};

/// A reader that keeps the places of the pages that it reads.
pub(super) struct Way<'a, M> {
    mem: &'a M,
    segments: &'a SegmentMap,
    pages: RefCell<Protected>,
}

impl<'a, M> Way<'a, M> {
    pub(super) fn new(mem: &'a M, segments: &'a SegmentMap) -> Self {
        Self { mem, segments, pages: RefCell::default() }
    }

    /// The pages that were read, by their physical addresses in the first kernel.
    pub(super) fn pages(self) -> Protected {
        self.pages.into_inner()
    }
}

impl<M: ReadPhys> ReadPhys for Way<'_, M> {
    fn read_phys(&self, at: PhysAddr, into: &mut [u8]) -> Result<(), Error> {
        // The way leads over numbers, each of them on one page.
        let page = self.segments.paddr_of(at).map(|at| PhysAddr::new(at).align_down(PAGE_SIZE));
        if let Some(range) = page.and_then(|page| PhysRange::new(page, PAGE_SIZE).ok()) {
            self.pages.borrow_mut().add(range);
        }
        self.mem.read_phys(at, into)
    }
}
