//! The views of a dump as what a sender sends.

use crate::Failure;
use crate::dump::{Dump, NamedView};
use dumpfile::wire::{MAX_VIEWS, Run, Source, Unreadable, ViewInfo};
use handoff::layout::PAGE_SIZE;
use vmcore::{DumpOffset, PhysAddr, Piece, ReadPhys, What};

/// A run of zeros of this many bytes ends a bulk: what comes with a frame of its own must be worth it.
const ZERO_RUN: u64 = 16 << 10;
/// Bytes that we made are sent by DMA only where there are as many as this.
const MANY: u64 = 1024;

/// The views of a dump.
pub(super) struct Views<'d, M> {
    dump: &'d Dump,
    pub(super) memory: &'d M,
    /// Whether contents of a view were looked at.
    pub(super) touched: bool,
}

impl<'d, M: ReadPhys> Views<'d, M> {
    pub(super) fn new(dump: &'d Dump, memory: &'d M) -> Self {
        Self { dump, memory, touched: false }
    }

    /// What the bytes of `view` from `offset` on are: at most `most`, at least one.
    ///
    /// # Errors
    /// [`Failure::NothingToSend`] when there are none.
    pub(super) fn part(&self, view: u16, offset: u64, most: u64) -> Result<Piece<'d>, Failure> {
        self.piece(view, offset, most).ok_or(Failure::NothingToSend)
    }

    fn named(&self, view: u16) -> Option<(&'d NamedView, bool)> {
        self.dump.views().take(MAX_VIEWS.into()).nth(view.into())
    }

    fn piece(&self, view: u16, offset: u64, most: u64) -> Option<Piece<'d>> {
        self.named(view)?.0.view.piece(DumpOffset::new(offset), most)
    }

    /// What the `most` bytes of memory from `start` on begin with, page by page.
    fn scan(&self, start: PhysAddr, most: u64) -> Run {
        let (mut done, mut zeros) = (0, 0);
        while done < most && (zeros < ZERO_RUN || zeros == done) {
            let Some(at) = start.checked_add(done) else { break };
            let length = (PAGE_SIZE - at.get() % PAGE_SIZE).min(most - done);
            let Ok(is_zero) = self.memory.is_zero(at, length) else { break };
            match is_zero {
                true => zeros += length,
                false if zeros == done && zeros >= ZERO_RUN => break,
                false => zeros = 0,
            }
            done += length;
        }
        match done - zeros {
            0 if done == 0 => Run::Read,
            0 => Run::Zeros(done),
            bulk => Run::Bulk(bulk),
        }
    }
}

impl<M: ReadPhys> Source for Views<'_, M> {
    fn view(&self, view: u16) -> Option<ViewInfo<'_>> {
        let (NamedView { name, view, start }, pushed) = self.named(view)?;
        Some(ViewInfo { name, length: view.len(), start: *start, pushed })
    }

    fn read(&mut self, view: u16, offset: u64, bytes: &mut [u8]) -> Result<(), Unreadable> {
        self.touched = true;
        let (named, _) = self.named(view).ok_or(Unreadable)?;
        let read = named.view.read_at(DumpOffset::new(offset), bytes, self.memory);
        if read == Ok(bytes.len()) { Ok(()) } else { Err(Unreadable) }
    }

    fn zeros(&self, view: u16, offset: u64) -> u64 {
        match self.piece(view, offset, u64::MAX) {
            Some(Piece { what: What::Zero | What::Left(_), len, .. }) => len,
            _ => 0,
        }
    }

    fn run(&mut self, view: u16, offset: u64, most: u64) -> Run {
        self.touched = true;
        let Some(piece) = self.piece(view, offset, most) else { return Run::Read };
        match piece.what {
            What::Zero | What::Left(_) => Run::Zeros(piece.len),
            What::Bytes(_) if piece.len >= MANY => Run::Bulk(piece.len),
            What::Bytes(_) => Run::Read,
            What::Phys(range) => self.scan(range.start(), piece.len),
        }
    }
}
