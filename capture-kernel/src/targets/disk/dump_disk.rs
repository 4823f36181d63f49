//! The dump disk: its directory, and the way of a dump to it, up to the bulk.

mod room;

use super::bulk::{Bulk, Ended};
use super::options::WriteOptions;
use super::place::{At, Place, write_block};
use super::scratch::Scratch;
use crate::driver::BlockDevice;
use crate::driver::Error;
use crate::driver::dma::{Pool, SlotMemory};
use crate::dump::{Dump, NamedView};
use crate::gather::Copies;
use crate::selection::Zeros;
use crate::targets::pages::Pages;
use crate::targets::{BUFFER, BUFFERS, Target, TargetError};
use crate::{Clock, pump};
use arrayvec::ArrayVec;
use core::ops::Range;
use dumpfile::chunk::Codec;
use dumpfile::disk::{
    BLOCK, DumpEntry, DumpHeader, FIRST_OFFSET, FoundDisk, MAX_SMALL_VIEWS, Placement, SmallView,
    ViewName,
};
use dumpfile::{DiskError, DiskHeader, DiskId, DiskState};
use handoff::Stage;
use log::{info, warn};
use vmcore::Level;

/// A dump that does not use this part of its region gives it back.
const WORTH_GIVING_BACK: u64 = 16;

/// The dump disk that was asked for.
pub struct DumpDisk<'c, D: BlockDevice> {
    device: D,
    clock: &'c dyn Clock,
    options: WriteOptions<'c>,
    found: FoundDisk,
    /// For headers, segments, small views and compressed chunks.
    pool: Pool,
    scratch: Scratch,
}

impl<'c, D: BlockDevice> DumpDisk<'c, D> {
    /// Takes `device` if it carries the header with `id`; otherwise stops it and reports what it
    /// is.
    ///
    /// # Errors
    /// [`TargetError::NotADumpDisk`], [`TargetError::OtherDumpDisk`], or why it could not be read.
    pub fn open(
        mut device: D,
        id: DiskId,
        slot: SlotMemory,
        clock: &'c dyn Clock,
    ) -> Result<Self, TargetError> {
        match Self::try_open(&mut device, id, slot) {
            Ok((found, pool, scratch)) => {
                Ok(Self { device, clock, options: WriteOptions::default(), found, pool, scratch })
            }
            Err(failure) => {
                device.stop()?;
                Err(failure)
            }
        }
    }

    fn try_open(
        device: &mut D,
        id: DiskId,
        slot: SlotMemory,
    ) -> Result<(FoundDisk, Pool, Scratch), TargetError> {
        let mut scratch = Scratch::new()?;
        let whole = 0..device.capacity();
        let found = matching_header(device, &whole, id, &mut scratch)?;
        match device.block_size() {
            size if size > BLOCK as u32 => Err(TargetError::LargeBlocks(size)),
            _ => Ok((found, Pool::new(slot, BUFFERS, BUFFER)?, scratch)),
        }
    }

    /// The same disk, with these options.
    #[must_use]
    pub fn with(self, options: WriteOptions<'c>) -> Self {
        Self { options, ..self }
    }

    /// The block that the next directory goes to: the older of the two copies.
    const fn next_copy(&self) -> usize {
        1 - self.found.copy
    }

    /// Starts writing `header` over the older of the two copies.
    fn write_directory(&mut self, header: &DiskHeader) -> Result<(), Error> {
        let at = (self.next_copy() * BLOCK) as u64;
        write_block(&mut self.device, &self.pool, at, |block| header.encode_to(block))
    }

    /// A flush has followed: from now on `header` is the one that counts.
    fn has_directory(&mut self, header: &DiskHeader) {
        self.found = FoundDisk { header: *header, copy: self.next_copy(), other: None };
    }

    /// Writes `header` over the older of the two copies, and waits until it is there for good.
    fn replace_directory(&mut self, header: &DiskHeader) -> Result<(), Error> {
        self.write_directory(header)?;
        self.device.flush()?;
        self.has_directory(header);
        Ok(())
    }

    /// The directory, in which nothing passes for partial that is not. A dump's own header is
    /// written before the directory: where power was lost in between, it knows more.
    fn directory(&mut self) -> Result<DiskHeader, Error> {
        let mut header = self.found.header;
        let dumps = header.dumps;
        for entry in dumps.as_slice().iter().filter(|entry| entry.state.is_partial()) {
            let inside = entry.end() <= self.device.capacity();
            if let Some(state) = inside.then(|| self.state_of(header.id, entry)).transpose()? {
                header.dumps.set_state(entry.sequence, state);
            }
        }
        Ok(header)
    }

    fn state_of(&mut self, id: DiskId, entry: &DumpEntry) -> Result<DiskState, Error> {
        match self.device.read(entry.offset, self.scratch.both()) {
            // A bad block in an old dump is no reason to lose the new one.
            Err(failure) if failure.is_answer() => return Ok(entry.state),
            read => read?,
        }
        let header = DumpHeader::decode_copies(self.scratch.both(), id, entry);
        Ok(header.map_or(entry.state, |header| header.state))
    }

    /// Adds names, lengths and checksums of `views` to `small`. Views that cannot be read or named
    /// are left out, and reported.
    fn describe_all(
        &mut self,
        small: &mut ArrayVec<SmallView, MAX_SMALL_VIEWS>,
        views: &[NamedView],
    ) {
        for view in views {
            let described = self.describe(view);
            let described = described.filter(|new| small.iter().all(|old| old.name != new.name));
            if described.is_none_or(|described| small.try_push(described).is_err()) {
                Self::leave_out(view);
            }
        }
    }

    fn leave_out(view: &NamedView) {
        warn!("the disk takes no view {}", view.name);
    }

    fn describe(&mut self, named: &NamedView) -> Option<SmallView> {
        let (name, length) = (ViewName::new(named.name)?, named.view.len());
        let crc = self.scratch.checksum(&*named.view, 0, length, self.options.memory)?;
        Some(SmallView { name, start: named.start, offset: 0, length, crc })
    }

    /// Writes the directory, the first small views and the dump's header. All are there for good
    /// when this returns.
    fn begin(&mut self, place: &Place, placed: &Placement, dump: &Dump) -> Result<(), Error> {
        for given_up in placed.given_up.as_slice() {
            let number = given_up.sequence;
            info!("dump {number} on the disk is given up for this");
        }
        let is_free = placed.given_up.as_slice().is_empty();
        match is_free {
            true => self.write_directory(&placed.header)?,
            false => self.replace_directory(&placed.header)?,
        }
        self.write_views(place, &dump.first, 0)?;
        self.write_header(place)?;
        self.device.flush()?;
        if is_free {
            self.has_directory(&placed.header);
        }
        Ok(())
    }

    /// After [`Self::begin`] has failed: whether the directory is there for good all the same.
    fn has_begun(&mut self, placed: &Placement) -> bool {
        if self.found.header == placed.header {
            return true;
        }
        let end = ((self.next_copy() + 1) * BLOCK) as u64;
        let flushed = self.device.settle().and_then(|()| self.device.flush());
        let is_there = flushed.is_ok() && self.device.written_below() >= end;
        if is_there {
            self.has_directory(&placed.header);
        }
        is_there
    }

    /// Starts writing those of `views` that the header names, from its view number `from` on.
    fn write_views(
        &mut self,
        place: &Place,
        views: &[NamedView],
        from: usize,
    ) -> Result<(), Error> {
        for small in place.header.views().iter().skip(from) {
            let named = views.iter().find(|view| view.name == small.name.as_str());
            let Some(named) = named else { continue };
            let at = place.region + small.offset;
            let mut to = At { device: &mut self.device, at };
            let copies = Copies { pool: &self.pool, memory: self.options.memory };
            pump::send(&*named.view, copies, &mut to, || ())?;
        }
        Ok(())
    }

    /// Starts writing the header over the older one of its two copies. A flush comes before the
    /// next one.
    fn write_header(&mut self, place: &Place) -> Result<(), Error> {
        let at = place.header_at();
        write_block(&mut self.device, &self.pool, at, |block| place.header.encode_to(block))
    }

    /// Reads the small views that come later and writes those that have room, and a header that
    /// names them.
    fn write_later(&mut self, place: &mut Place, dump: &Dump) -> Result<(), Error> {
        let known = place.header.views().len();
        for named in dump.later.views() {
            let described = self.describe(named);
            if described.is_none_or(|view| place.header.add_view(view).is_err()) {
                Self::leave_out(named);
            }
        }
        if place.header.views().len() == known {
            return Ok(());
        }
        self.write_views(place, dump.later.views(), known)?;
        place.header.generation += 1;
        self.write_header(place)?;
        self.device.flush()
    }

    /// Writes everything that comes after the first small views, up to the word that the dump is
    /// complete.
    fn write(
        &mut self,
        place: &mut Place,
        dump: &Dump,
        reached: &mut dyn FnMut(Stage),
    ) -> Result<(), TargetError> {
        let mut is_first = true;
        let mut reach_first = |is_there: bool| {
            if is_there && core::mem::take(&mut is_first) {
                reached(Stage::FirstByte);
            }
        };
        reach_first(!place.header.views().is_empty());
        self.write_later(place, dump)?;
        reach_first(!place.header.views().is_empty());
        let bulk = self.bulk(place, dump).ok_or(TargetError::NothingToSend)?;
        let urgent = if place.header.no_room { dump.urgent.parts() } else { Default::default() };
        let ended = self.write_bulk(place, &bulk, &urgent, &mut || reach_first(true))?;
        // A whole dump has been looked at in ascending order, a part may not have been.
        let in_doubt = place.in_doubt.max(bulk.view.in_doubt());
        place.header.pages = place.header.pages.with_doubt(in_doubt);
        let DumpHeader { pages, committed, bulk_start, .. } = place.header;
        let level = bulk.view.level();
        if level != Level::ALL {
            info!("{}", Pages { level, pages, bytes: committed - bulk_start });
        }
        if ended == Ended::Whole {
            reached(Stage::LastByte);
            return Ok(self.write_state(place, DiskState::COMPLETE, Stage::Done)?);
        }
        place.header.no_room = true;
        self.write_state(place, DiskState::PARTIAL, Stage::FirstByte)?;
        let pages = place.header.pages.all();
        let length = place.header.raw_length;
        Err(TargetError::NoRoom { there: length.min(pages * BLOCK as u64), length })
    }

    /// The bulk at the level of the header. Pages of zeros need no test where they are compressed.
    fn bulk(&self, place: &mut Place, dump: &Dump) -> Option<NamedView> {
        let zeros = if self.options.codec == Codec::Raw { Zeros::Test } else { Zeros::Keep };
        let level = Level::new(place.header.level).unwrap_or_default();
        let bulk = dump.bulk_at(level, zeros)?;
        place.header.level = bulk.view.level().get();
        Some(bulk)
    }

    fn write_bulk(
        &mut self,
        place: &mut Place,
        bulk: &NamedView,
        urgent: &[Range<u64>],
        first_arrived: &mut dyn FnMut(),
    ) -> Result<Ended, Error> {
        let Self { device, pool, scratch, clock, options, .. } = self;
        let mut writer = Bulk::new(device, (pool, scratch), place, *clock, *options)?;
        let written = writer.write(&*bulk.view, urgent, first_arrived);
        if written.is_err() {
            // The disk itself may have failed; then this fails, too, and costs only uncommitted
            // data.
            let _ = writer.rescue();
        }
        written
    }

    /// Writes the dump's state into its header.
    fn write_state(
        &mut self,
        place: &mut Place,
        state: DiskState,
        stage: Stage,
    ) -> Result<(), Error> {
        let header = &mut place.header;
        header.generation += 1;
        header.state = state;
        header.stage = stage.code().into();
        self.write_header(place)?;
        self.device.flush()
    }

    /// Has the directory say it as well, and gives up the end of the region where much of it is not
    /// used. Its word counts for less, so that a failure costs nothing.
    fn note_state(&mut self, place: &Place) {
        let mut header = self.found.header;
        header.generation = header.generation.wrapping_add(1);
        header.dumps.set_state(place.header.sequence, place.header.state);
        // A few blocks are of no use, and the next dump of this machine fits in their place as it
        // is.
        let used = place.header.committed;
        if place.length - used >= place.length / WORTH_GIVING_BACK {
            header.dumps.shrink(place.header.sequence, used);
        }
        if let Err(failure) = self.replace_directory(&header) {
            warn!("the disk's directory could not be written: {failure}");
        }
    }
}

/// The header at the front of a part of `device`, if it carries `id`.
pub(super) fn matching_header(
    device: &mut (impl BlockDevice + ?Sized),
    place: &Range<u64>,
    id: DiskId,
    scratch: &mut Scratch,
) -> Result<FoundDisk, TargetError> {
    let length = place.end.saturating_sub(place.start);
    if length < FIRST_OFFSET {
        return Err(TargetError::NotADumpDisk(DiskError::TooShort(length as usize)));
    }
    device.read(place.start, scratch.both())?;
    let found = FoundDisk::decode(scratch.both()).map_err(TargetError::NotADumpDisk)?;
    match found.id() == id {
        true => Ok(found),
        false => Err(TargetError::OtherDumpDisk(found.id())),
    }
}

impl<D: BlockDevice> Target for DumpDisk<'_, D> {
    fn deliver(&mut self, dump: &Dump, reached: &mut dyn FnMut(Stage)) -> Result<(), TargetError> {
        if self.device.is_read_only() {
            return Err(TargetError::ReadOnly);
        }
        let (mut place, placed) = self.find_place(dump)?;
        let mut last = Stage::Views;
        let mut reach = |stage| {
            last = stage;
            reached(stage);
        };
        let begun = self.begin(&place, &placed, dump);
        let written = match begun {
            Ok(()) => self.write(&mut place, dump, &mut reach),
            Err(error) if self.has_begun(&placed) => Err(error.into()),
            Err(error) => return Err(error.into()),
        };
        if !matches!(written, Ok(()) | Err(TargetError::NoRoom { .. })) {
            // The disk itself may have failed: then there is no one to report to. But after a
            // failed write another one may succeed. The flush is for the other copy of the header.
            let settled = self.device.settle().map(|()| self.device.flush().ok());
            settled.and_then(|_| self.write_state(&mut place, DiskState::FAILED, last)).ok();
        }
        self.note_state(&place);
        written
    }

    fn stop(&mut self) -> Result<(), Error> {
        self.device.stop()
    }
}
