//! A dump that is being written.

use dumpfile::kdump_file::PageCodec;
use vmcore::{Level, PageClass};

use crate::memory::{Memory, PAGE};
use crate::selection::PageSums;
use crate::stored_bulk::Range;

/// A dump that is being written.
pub(super) struct Writing<'a> {
    pub(super) memory: &'a Memory<'a>,
    pub(super) codec: PageCodec,
    pub(super) level: Level,
    pub(super) pages: PageSums,
    pub(super) unreadable: Vec<Range>,
    pub(super) progress: &'a mut (dyn FnMut(u64, u64) + Send),
}

impl Writing<'_> {
    /// Counts a page that was selected and is left out after all: it is zero, or it could not be
    /// read.
    pub(super) fn count(&mut self, page: u64, is_zero: bool, is_good: bool) {
        if !is_zero && is_good {
            return;
        }
        // A page may be in two parts of an ELF core.
        self.pages.kept = self.pages.kept.saturating_sub(1);
        match is_good {
            true => self.pages.leave_out(PageClass::Zero, 1),
            false => self.add_unreadable(page),
        }
    }

    fn add_unreadable(&mut self, page: u64) {
        self.pages.leave_out(PageClass::Unreadable, 1);
        let start = page * PAGE;
        match self.unreadable.last_mut() {
            Some(last) if last.1 == start => last.1 = start + PAGE,
            _ => self.unreadable.push((start, start + PAGE)),
        }
    }
}
