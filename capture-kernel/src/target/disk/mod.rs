//! A dump disk: any block device that carries our header with the id that was asked for
//! (`dumpfile::disk`). Nothing is ever written to another.
//!
//! The order of writes is what makes a dump safe against a loss of power at any moment: first the
//! directory, so that what is given up is given up before it is written over; then the small views and
//! the dump's header; then the bulk, whose chunks are marked once they have been flushed. Each step is
//! flushed before the next.

mod chunks;
#[cfg(test)]
mod power_loss;
mod scratch;
#[cfg(test)]
mod tests;

use super::{BUFFER, BUFFERS, Target};
use crate::dma::{DmaPiece, Limits, Pieces, Pool, SlotMemory, ZEROS};
use crate::dump::{Dump, NamedView};
use crate::gather::Copies;
use crate::pump::{self, Sink};
use crate::{Clock, Failure};
use arrayvec::ArrayVec;
use chunks::Chunks;
use core::fmt::Arguments;
use dumpfile::disk::{
    BLOCK, DumpEntry, DumpHeader, FoundDisk, MAX_SMALL_VIEWS, NewDump, NoRoom, SmallView, ViewName,
};
use dumpfile::{DiskHeader, DiskId, DiskState};
use handoff::Stage;
use scratch::Scratch;
use vmcore::{DumpOffset, Error, ReadPhys, View};

/// How often chunks are marked, in milliseconds.
const PACE: u64 = 1000;

/// A disk that takes several writes at a time. Offsets and lengths are bytes and multiples of 4096.
///
/// A driver owns all memory that its device may use, until the device has answered or is stopped. One
/// that is dropped before leaks it.
pub trait BlockDevice {
    /// Size of the disk in bytes.
    fn capacity(&self) -> u64;
    /// Size of the disk's blocks in bytes.
    fn block_size(&self) -> u32;
    /// Whether it cannot be written.
    fn is_read_only(&self) -> bool;
    /// What one write may carry.
    fn limits(&self) -> Limits;
    /// Reads the bytes at `at`, and waits for it.
    ///
    /// # Errors
    /// When the device says no or nothing.
    fn read(&mut self, at: u64, into: &mut [u8]) -> Result<(), Failure>;
    /// Starts writing `pieces` at `at`.
    ///
    /// # Errors
    /// When this or an earlier write failed.
    fn write(&mut self, at: u64, pieces: Pieces) -> Result<(), Failure>;
    /// Waits for one write, whose pieces are then free; false when none is in flight.
    ///
    /// # Errors
    /// When one failed.
    fn wait_for_one(&mut self) -> Result<bool, Failure>;
    /// Waits for every write.
    ///
    /// # Errors
    /// When one failed.
    fn drain(&mut self) -> Result<(), Failure>;
    /// Waits for every write, whatever becomes of it.
    ///
    /// # Errors
    /// When the device does not answer.
    fn settle(&mut self) -> Result<(), Failure>;
    /// Every write that was started below this offset has succeeded, and no flush has failed.
    fn written_below(&self) -> u64;
    /// Waits for every write and for the device's cache.
    ///
    /// # Errors
    /// When one failed.
    fn flush(&mut self) -> Result<(), Failure>;
    /// Stops the device: it does no DMA any more.
    ///
    /// # Errors
    /// When it does not stop, or has not answered a request.
    fn stop(&mut self) -> Result<(), Failure>;
}

/// How dumps are written, beside where to.
#[derive(Clone, Copy)]
pub struct Manner<'c> {
    /// Whether chunks get checksums.
    pub checksums: bool,
    /// Whether complete dumps may be given up for a new one.
    pub replace_complete: bool,
    /// How often chunks are marked, in milliseconds.
    pub pace: u64,
    /// Old memory, for checksums.
    pub memory: &'c dyn ReadPhys,
    /// Is told what a person should know.
    pub say: fn(Arguments<'_>),
}

/// Memory that nobody can read.
struct Nothing;

impl ReadPhys for Nothing {
    fn read_phys(&self, at: vmcore::PhysAddr, _: &mut [u8]) -> Result<(), Error> {
        Err(Error::Unreadable { at })
    }
}

impl Default for Manner<'_> {
    fn default() -> Self {
        let say = |_: Arguments<'_>| ();
        Self { checksums: false, replace_complete: false, pace: PACE, memory: &Nothing, say }
    }
}

/// The dump disk that was asked for.
pub struct DumpDisk<'c, D: BlockDevice> {
    device: D,
    clock: &'c dyn Clock,
    manner: Manner<'c>,
    found: FoundDisk,
    /// For headers, tables and small views.
    pool: Pool,
    scratch: Scratch,
}

impl<'c, D: BlockDevice> DumpDisk<'c, D> {
    /// Takes `device` if it carries the header with `id`; otherwise stops it and says what it is.
    ///
    /// # Errors
    /// [`Failure::NotADumpDisk`], [`Failure::OtherDumpDisk`], or why it could not be read.
    pub fn open(
        mut device: D,
        id: DiskId,
        slot: SlotMemory,
        clock: &'c dyn Clock,
    ) -> Result<Self, Failure> {
        match Self::try_open(&mut device, id, slot) {
            Ok((found, pool, scratch)) => {
                Ok(Self { device, clock, manner: Manner::default(), found, pool, scratch })
            }
            Err(failure) => device.stop().and(Err(failure)),
        }
    }

    fn try_open(
        device: &mut D,
        id: DiskId,
        slot: SlotMemory,
    ) -> Result<(FoundDisk, Pool, Scratch), Failure> {
        let mut scratch = Scratch::new()?;
        let found = matching_header(device, id, &mut scratch)?;
        match device.block_size() {
            size if size > BLOCK as u32 => Err(Failure::LargeBlocks(size)),
            _ => Ok((found, Pool::new(slot, BUFFERS, BUFFER)?, scratch)),
        }
    }

    /// The same disk, written in this manner.
    #[must_use]
    pub fn with(self, manner: Manner<'c>) -> Self {
        Self { manner, ..self }
    }

    /// Writes the block that `encode` makes to `at` and waits until it is there for good.
    fn write_block(&mut self, at: u64, encode: impl Fn(&mut [u8; BLOCK])) -> Result<(), Failure> {
        write_block(&mut self.device, &self.pool, at, encode)?;
        self.device.flush()
    }

    /// Writes `header` over the older of the two copies; from then on it is the one that counts.
    fn write_directory(&mut self, header: &DiskHeader) -> Result<(), Failure> {
        let copy = match self.found {
            FoundDisk::V1(_) | FoundDisk::V2 { copy: 0, .. } => 1,
            FoundDisk::V2 { .. } => 0,
        };
        self.write_block((copy * BLOCK) as u64, |block| header.encode_to(block))?;
        self.found = FoundDisk::V2 { header: *header, copy, other: None };
        Ok(())
    }

    /// The directory, in which nothing passes for partial that is not. A disk of version 1 gets one
    /// first: the second copy, which says nothing as long as block 0 is as it was.
    fn directory(&mut self) -> Result<DiskHeader, Failure> {
        match self.found {
            FoundDisk::V2 { header, .. } => self.with_true_states(header),
            FoundDisk::V1(old) if old.state.is_partial() => {
                let header = DiskHeader::new(old.id);
                self.write_directory(&header)?;
                Ok(header)
            }
            FoundDisk::V1(_) => Err(Failure::OldDump),
        }
    }

    /// A dump's own header is written before the directory: where power was lost in between, it knows
    /// more.
    fn with_true_states(&mut self, mut header: DiskHeader) -> Result<DiskHeader, Failure> {
        let dumps = header.dumps;
        for entry in dumps.as_slice().iter().filter(|entry| entry.state.is_partial()) {
            let inside = entry.end() <= self.device.capacity();
            if let Some(state) = inside.then(|| self.state_of(header.id, entry)).transpose()? {
                header.dumps.set_state(entry.sequence, state);
            }
        }
        Ok(header)
    }

    fn state_of(&mut self, id: DiskId, entry: &DumpEntry) -> Result<DiskState, Failure> {
        match self.device.read(entry.offset, self.scratch.both()) {
            // A bad block in an old dump is no reason to lose the new one.
            Err(Failure::Io(_)) => return Ok(entry.state),
            read => read?,
        }
        let header = DumpHeader::decode_copies(self.scratch.both(), id, entry);
        Ok(header.map_or(entry.state, |header| header.state))
    }

    /// Finds and takes a place for the dump.
    fn reserve(&mut self, dump: &Dump) -> Result<Place, Failure> {
        if self.device.is_read_only() {
            return Err(Failure::ReadOnly);
        }
        let directory = self.directory()?;
        let views = self.small_views(dump);
        let new = NewDump {
            contents: dump.contents,
            views: &views,
            bulk_length: dump.length(),
            checksums: self.manner.checksums,
        };
        let too_long = Failure::TooSmall { need: u64::MAX, have: self.device.capacity() };
        let header = DumpHeader::new(directory.id, directory.next, &new).or(Err(too_long))?;
        let header = DumpHeader { stage: Stage::Views.code().into(), ..header };
        let (capacity, need) = (self.device.capacity(), header.region_length());
        match directory.place(capacity, need, self.manner.replace_complete) {
            Ok(placed) => {
                for dump in placed.given_up.as_slice() {
                    let number = dump.sequence;
                    (self.manner.say)(format_args!(
                        "dump {number} on the disk is given up for this"
                    ));
                }
                self.write_directory(&placed.header)?;
                Ok(Place { header, region: placed.entry.offset })
            }
            Err(no_room) => Err(self.refuse(directory, no_room)),
        }
    }

    /// Has the disk say that it had no room.
    fn refuse(&mut self, mut directory: DiskHeader, no_room: NoRoom) -> Failure {
        let NoRoom { need, have, complete_dumps } = no_room;
        directory.generation = directory.generation.wrapping_add(1);
        directory.refused.captures = directory.refused.captures.saturating_add(1);
        directory.refused.need = need;
        match self.write_directory(&directory) {
            Err(failure) => failure,
            Ok(()) if complete_dumps => Failure::DiskFull { need, have },
            Ok(()) => Failure::TooSmall { need, have },
        }
    }

    /// Names, lengths and checksums of the small views. What cannot be read or named is left out, and said.
    fn small_views(&mut self, dump: &Dump) -> ArrayVec<SmallView, MAX_SMALL_VIEWS> {
        let mut small = ArrayVec::<SmallView, MAX_SMALL_VIEWS>::new();
        for view in dump.small() {
            let described = self.describe(view);
            let described = described.filter(|new| small.iter().all(|old| old.name != new.name));
            if described.is_none_or(|described| small.try_push(described).is_err()) {
                (self.manner.say)(format_args!("the disk takes no view {}", view.name));
            }
        }
        small
    }

    fn describe(&mut self, named: &NamedView) -> Option<SmallView> {
        let (name, length) = (ViewName::new(named.name)?, named.view.len());
        let crc = self.scratch.checksum(&*named.view, 0, length, self.manner.memory)?;
        Some(SmallView { name, start: named.start, offset: 0, length, crc })
    }

    /// Writes everything of a dump that has a place, up to the word that it is complete.
    fn write(
        &mut self,
        place: &mut Place,
        dump: &Dump,
        reached: &mut dyn FnMut(Stage),
    ) -> Result<(), Failure> {
        self.clear(place)?;
        for small in place.header.views() {
            let named = dump.small().find(|view| view.name == small.name.as_str());
            let Some(named) = named else { continue };
            let at = place.region + small.offset;
            let mut to = At { device: &mut self.device, at };
            let copies = Copies { pool: &self.pool, memory: self.manner.memory };
            pump::send(&*named.view, copies, &mut to, || ())?;
        }
        self.device.flush()?;
        self.write_block(place.region, |block| place.header.encode_to(block))?;
        if !place.header.views().is_empty() {
            reached(Stage::FirstByte);
        }
        let bulk = dump.bulk.as_ref().ok_or(Failure::NothingToSend)?;
        self.write_bulk(place, &*bulk.view, || {
            if place.header.views().is_empty() {
                reached(Stage::FirstByte);
            }
        })?;
        reached(Stage::LastByte);
        self.device.flush()?;
        self.write_state(place, DiskState::COMPLETE, Stage::Done)
    }

    /// What is left of an earlier dump in this place shall not be taken for a part of this one: no
    /// second header, and nothing is marked.
    fn clear(&mut self, place: &Place) -> Result<(), Failure> {
        let header = &place.header;
        let table = header.table_offset..header.table_block_offset(header.table_blocks());
        let blocks = core::iter::once(BLOCK as u64).chain(table.step_by(BLOCK));
        for at in blocks {
            self.device.write(place.region + at, [DmaPiece::Zeros(ZEROS)].into_iter().collect())?;
        }
        self.device.flush()
    }

    fn write_bulk(
        &mut self,
        place: &Place,
        view: &dyn View,
        first_arrived: impl FnOnce(),
    ) -> Result<(), Failure> {
        let Self { device, pool, scratch, clock, manner, .. } = self;
        let mut chunks = Chunks::new(device, (pool, scratch), place, view, *clock, *manner);
        let copies = Copies { pool, memory: manner.memory };
        let sent = pump::send(view, copies, &mut chunks, first_arrived);
        match sent.and_then(|()| chunks.mark()) {
            Ok(()) => Ok(()),
            Err(failure) => {
                // The disk may be what failed; then this does, too, and costs the marks only.
                let _ = chunks.rescue();
                Err(failure)
            }
        }
    }

    /// Has the dump say what has become of it: in its second header.
    fn write_state(
        &mut self,
        place: &mut Place,
        state: DiskState,
        stage: Stage,
    ) -> Result<(), Failure> {
        let header = &mut place.header;
        header.generation = 2;
        header.state = state;
        header.stage = stage.code().into();
        let header = &place.header;
        self.write_block(place.region + BLOCK as u64, |block| header.encode_to(block))
    }

    /// Has the directory say it as well. Its word counts for less, so that a failure costs nothing.
    fn note_state(&mut self, place: &Place) {
        let FoundDisk::V2 { mut header, .. } = self.found else { return };
        header.generation = header.generation.wrapping_add(1);
        header.dumps.set_state(place.header.sequence, place.header.state);
        if let Err(failure) = self.write_directory(&header) {
            (self.manner.say)(format_args!("the disk's directory could not be written: {failure}"));
        }
    }
}

/// Where a dump goes.
struct Place {
    header: DumpHeader,
    /// Where its region begins, in bytes from the disk's start.
    region: u64,
}

/// Starts writing the block that `encode` makes.
fn write_block(
    device: &mut impl BlockDevice,
    pool: &Pool,
    at: u64,
    encode: impl FnOnce(&mut [u8; BLOCK]),
) -> Result<(), Failure> {
    let mut lease = pool.lease_or_wait(|| device.wait_for_one())?;
    encode(lease.first_chunk_mut().expect("a buffer has room for a block"));
    let block = DmaPiece::Frozen(lease.freeze(BLOCK), 0..BLOCK);
    device.write(at, [block].into_iter().collect())
}

/// The header on `device`, if it carries `id`.
fn matching_header(
    device: &mut impl BlockDevice,
    id: DiskId,
    scratch: &mut Scratch,
) -> Result<FoundDisk, Failure> {
    device.read(0, scratch.both())?;
    let found = FoundDisk::decode(scratch.both()).map_err(Failure::NotADumpDisk)?;
    match found.id() == id {
        true => Ok(found),
        false => Err(Failure::OtherDumpDisk(found.id())),
    }
}

impl<D: BlockDevice> Target for DumpDisk<'_, D> {
    fn deliver(&mut self, dump: &Dump, reached: &mut dyn FnMut(Stage)) -> Result<(), Failure> {
        let mut place = self.reserve(dump)?;
        let mut last = Stage::Views;
        let mut reach = |stage| {
            last = stage;
            reached(stage);
        };
        let written = self.write(&mut place, dump, &mut reach);
        if written.is_err() {
            // The disk may be what failed: then there is nobody left to tell. But where one write
            // fails another may not.
            let settled = self.device.settle();
            settled.and_then(|()| self.write_state(&mut place, DiskState::FAILED, last)).ok();
        }
        self.note_state(&place);
        written
    }

    fn stop(&mut self) -> Result<(), Failure> {
        self.device.stop()
    }
}

/// A place on a disk for a view.
struct At<'d, D: BlockDevice> {
    device: &'d mut D,
    /// Where the view's first byte goes.
    at: u64,
}

impl<D: BlockDevice> Sink for At<'_, D> {
    fn limits(&self) -> Limits {
        self.device.limits()
    }

    fn send(&mut self, at: DumpOffset, pieces: Pieces) -> Result<(), Failure> {
        self.device.write(self.at + at.get(), pieces)
    }

    fn wait_for_one(&mut self) -> Result<bool, Failure> {
        self.device.wait_for_one()
    }

    fn drain(&mut self) -> Result<(), Failure> {
        self.device.drain()
    }
}
