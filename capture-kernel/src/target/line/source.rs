//! The views of a dump as what a sender sends.

use crate::Failure;
use crate::dma::{Readable, SlotMemory};
use crate::dump::{Dump, NamedView};
use dumpfile::wire::{MAX_VIEWS, Run, Source, Unreadable, ViewInfo};
use handoff::layout::PAGE_SIZE;
use vmcore::{DumpOffset, Extent, PhysAddr, ReadPhys};

/// A run of zeros of this many bytes ends a bulk: what comes with a frame of its own must be worth it.
const ZERO_RUN: u64 = 16 << 10;
/// Bytes that we made are sent by DMA only where there are as many as this.
const MANY: u64 = 1024;

/// The views of a dump.
pub(super) struct Views<'d, M> {
    dump: &'d Dump,
    memory: &'d M,
    slot: SlotMemory,
    /// Whether contents of a view were looked at.
    pub(super) touched: bool,
}

impl<'d, M: ReadPhys> Views<'d, M> {
    pub(super) fn new(dump: &'d Dump, memory: &'d M, slot: SlotMemory) -> Self {
        Self { dump, memory, slot, touched: false }
    }

    /// Where the bytes of `view` from `offset` on lie, one behind the other: at most `most`, at least one.
    ///
    /// # Errors
    /// [`Failure::NothingToSend`] when they lie nowhere.
    pub(super) fn lying(&self, view: u16, offset: u64, most: u64) -> Result<Readable, Failure> {
        let place = self.extent_at(view, offset).and_then(|(extent, skip)| match extent {
            Extent::Phys(range) => Some(Readable::old(*range).split(skip).1),
            Extent::Bytes(bytes) => self.slot.readable(bytes.get(usize::try_from(skip).ok()?..)?),
            Extent::Zero(_) => None,
        });
        place.map(|place| place.split(most).0).ok_or(Failure::NothingToSend)
    }

    fn named(&self, view: u16) -> Option<(&'d NamedView, bool)> {
        self.dump.views().take(MAX_VIEWS.into()).nth(view.into())
    }

    fn extent_at(&self, view: u16, offset: u64) -> Option<(&'d Extent, u64)> {
        self.named(view)?.0.view.extent_at(DumpOffset::new(offset))
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
        match self.extent_at(view, offset) {
            Some((Extent::Zero(length), skip)) => length - skip,
            _ => 0,
        }
    }

    fn run(&mut self, view: u16, offset: u64, most: u64) -> Run {
        self.touched = true;
        let Some((extent, skip)) = self.extent_at(view, offset) else { return Run::Read };
        let most = most.min(extent.len() - skip);
        match extent {
            Extent::Zero(_) => Run::Zeros(most),
            Extent::Bytes(_) if most >= MANY => Run::Bulk(most),
            Extent::Bytes(_) => Run::Read,
            Extent::Phys(range) => {
                range.start().checked_add(skip).map_or(Run::Read, |start| self.scan(start, most))
            }
        }
    }
}
