//! A dump disk: any block device that carries our header with the id that was asked for
//! (`crates/dumpfile`). Nothing is ever written to another.

use super::Target;
use crate::Failure;
use crate::dma::{DmaBuffer, Readable, SlotMemory};
use crate::dump::Dump;
use crate::pump::{self, Limits, Sink};
use core::mem;
use dumpfile::{Contents, DATA_OFFSET, DiskHeader, DiskId, DiskState};
use handoff::Stage;
use vmcore::{DumpOffset, View};

/// Bytes of the header block.
const BLOCK: usize = 4096;
/// Bytes of one request: large enough that its cost does not show.
const REQUEST: u64 = 1 << 20;

/// A disk that takes several writes at a time. Offsets and lengths are bytes and multiples of 4096.
pub trait BlockDevice {
    /// Size of the disk in bytes.
    fn capacity(&self) -> u64;
    /// Whether it cannot be written.
    fn is_read_only(&self) -> bool;
    /// The most pieces of one write.
    fn most_pieces(&self) -> usize;
    /// The most bytes of one piece.
    fn largest_piece(&self) -> u64;
    /// Fills the buffer with the bytes at `at`, and waits for it.
    ///
    /// # Errors
    /// When the device says no or nothing.
    fn read(&mut self, at: u64, into: &mut DmaBuffer) -> Result<(), Failure>;
    /// Starts writing `pieces` at `at`.
    ///
    /// # Errors
    /// When this or an earlier write failed.
    fn write(&mut self, at: u64, pieces: &[Readable]) -> Result<(), Failure>;
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

/// The dump disk that was asked for.
pub struct DumpDisk<D: BlockDevice> {
    device: D,
    slot: SlotMemory,
    header: DiskHeader,
    block: DmaBuffer,
}

impl<D: BlockDevice> DumpDisk<D> {
    /// Takes `device` if it carries the header with `id`; otherwise stops it and says what it is.
    ///
    /// # Errors
    /// [`Failure::NotADumpDisk`], [`Failure::OtherDumpDisk`], or why it could not be read.
    pub fn open(mut device: D, id: DiskId, slot: SlotMemory) -> Result<Self, Failure> {
        let mut block = DmaBuffer::new(slot, BLOCK)?;
        let failure = match matching_header(&mut device, id, &mut block) {
            Ok(header) => return Ok(Self { device, slot, header, block }),
            Err(failure) => failure,
        };
        device.stop().inspect_err(|_| {
            // A device that does not stop may still write there.
            mem::forget(block);
            mem::forget(device);
        })?;
        Err(failure)
    }

    /// Makes ready for a dump of `length` bytes, a multiple of 4096, with these contents.
    fn begin(&mut self, contents: Contents, length: u64) -> Result<(), Failure> {
        if self.device.is_read_only() {
            return Err(Failure::ReadOnly);
        }
        let (need, have) = (DATA_OFFSET.saturating_add(length), self.device.capacity());
        if need > have {
            return Err(Failure::TooSmall { need, have });
        }
        self.header.length = length;
        self.header.contents = contents;
        self.write_header(DiskState::IN_PROGRESS, Stage::Views)
    }

    fn write(
        &mut self,
        view: &View,
        contents: Contents,
        reached: &mut dyn FnMut(Stage),
    ) -> Result<(), Failure> {
        self.begin(contents, view.len())?;
        let slot = self.slot;
        pump::send(view, slot, self, || reached(Stage::FirstByte))?;
        reached(Stage::LastByte);
        self.device.flush()?;
        self.write_header(DiskState::COMPLETE, Stage::Done)
    }

    /// Marks the dump as failed at `stage`, as well as that is still possible.
    fn give_up(&mut self, stage: Stage) {
        if !self.device.is_read_only() {
            // The disk may be what failed: then there is nobody left to tell. But where one write
            // fails another may not.
            let settled = self.device.settle();
            let _ = settled.and_then(|()| self.write_header(DiskState::FAILED, stage));
        }
    }

    fn write_header(&mut self, state: DiskState, stage: Stage) -> Result<(), Failure> {
        self.header.state = state;
        self.header.stage = stage.code().into();
        self.block.copy_from(0, &self.header.encode());
        let block = self.block.readable(0, BLOCK);
        self.device.write(0, &[block])?;
        self.device.flush()
    }
}

/// The header on `device`, read by way of `block`, if it carries `id`.
fn matching_header(
    device: &mut impl BlockDevice,
    id: DiskId,
    block: &mut DmaBuffer,
) -> Result<DiskHeader, Failure> {
    device.read(0, block)?;
    let mut bytes = [0; BLOCK];
    block.copy_to(0, &mut bytes);
    let header = DiskHeader::decode(&bytes).map_err(Failure::NotADumpDisk)?;
    match header.id == id {
        true => Ok(header),
        false => Err(Failure::OtherDumpDisk(header.id)),
    }
}

impl<D: BlockDevice> Target for DumpDisk<D> {
    fn deliver(&mut self, dump: &Dump, reached: &mut dyn FnMut(Stage)) -> Result<(), Failure> {
        let bulk = dump.bulk.as_ref().ok_or(Failure::NothingToSend);
        let mut last = Stage::Views;
        let mut reach = |stage| {
            last = stage;
            reached(stage);
        };
        let written = bulk.and_then(|bulk| self.write(&bulk.view, dump.contents, &mut reach));
        if written.is_err() {
            self.give_up(last);
        }
        written
    }

    fn stop(&mut self) -> Result<(), Failure> {
        self.device.stop()
    }
}

impl<D: BlockDevice> Sink for DumpDisk<D> {
    fn limits(&self) -> Limits {
        Limits {
            bytes: REQUEST,
            pieces: self.device.most_pieces(),
            piece: self.device.largest_piece(),
        }
    }

    fn send(&mut self, at: DumpOffset, pieces: &[Readable]) -> Result<(), Failure> {
        self.device.write(DATA_OFFSET + at.get(), pieces)
    }

    fn drain(&mut self) -> Result<(), Failure> {
        self.device.drain()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{Disk, FakeClock, FakeTransport, physical, slot};
    use crate::virtio::blk::VirtioBlk;
    use core::cell::RefCell;
    use std::rc::Rc;
    use std::vec;
    use std::vec::Vec;
    use vmcore::PhysRange;

    const OURS: DiskId = DiskId([0xa5; 16]);
    const OLDMEM: Contents = Contents::OldMem { start: 0x10_0000 };

    fn formatted(id: DiskId, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        bytes[..BLOCK].copy_from_slice(&DiskHeader::new(id).encode());
        bytes
    }

    fn open<'c>(
        disk: &Rc<RefCell<Disk>>,
        clock: &'c FakeClock,
    ) -> Result<DumpDisk<VirtioBlk<'c, FakeTransport<Disk>>>, Failure> {
        let device = VirtioBlk::start(FakeTransport::new(disk), slot(), clock, 100)?;
        DumpDisk::open(device, OURS, slot())
    }

    fn header(disk: &Rc<RefCell<Disk>>) -> DiskHeader {
        DiskHeader::decode(&disk.borrow().bytes[..BLOCK]).expect("a header")
    }

    #[test]
    fn a_disk_that_is_not_ours_is_stopped_and_never_written() {
        let clock = FakeClock::default();
        let strange = Disk::new(vec![0x55; 8192]);
        assert!(matches!(open(&strange, &clock).err(), Some(Failure::NotADumpDisk(_))));
        let other = Disk::new(formatted(DiskId([1; 16]), 8192));
        let refused = open(&other, &clock).err();
        assert_eq!(refused, Some(Failure::OtherDumpDisk(DiskId([1; 16]))));
        for disk in [strange, other] {
            assert_eq!(disk.borrow().writes, 0);
            assert_eq!(disk.borrow().base.status, 0);
        }
    }

    #[test]
    fn the_header_follows_the_dump() {
        let (disk, clock) = (Disk::new(formatted(OURS, 3 * BLOCK)), FakeClock::default());
        let page = [9_u8; BLOCK];
        let mut target = open(&disk, &clock).expect("is ours");
        target.begin(OLDMEM, 2 * BLOCK as u64).expect("fits");
        assert_eq!(header(&disk).state, DiskState::IN_PROGRESS);
        let piece = Readable::old(PhysRange::new(physical(&page), BLOCK as u64).expect("no wrap"));
        target.send(DumpOffset::new(BLOCK as u64), &[piece]).expect("is taken");
        target.device.flush().expect("arrives");
        target.write_header(DiskState::COMPLETE, Stage::Done).expect("arrives");
        let header = header(&disk);
        assert_eq!((header.state, header.length), (DiskState::COMPLETE, 2 * BLOCK as u64));
        assert_eq!(header.contents, OLDMEM);
        assert_eq!(disk.borrow().bytes[2 * BLOCK..], page);
        // In progress, data, complete: each is flushed before the next.
        assert_eq!(disk.borrow().flushes, 3);
    }

    /// A disk that merges requests fails several at once. Request 0 reads the header, 1 and 2 write
    /// and flush it, 3 to 5 are the dump.
    #[test]
    fn after_several_failed_writes_the_header_still_says_so() {
        let (disk, clock) = (Disk::new(formatted(OURS, 4 * BLOCK)), FakeClock::default());
        disk.borrow_mut().fails = 3..6;
        let page = [9_u8; BLOCK];
        let piece = Readable::old(PhysRange::new(physical(&page), BLOCK as u64).expect("no wrap"));
        let mut target = open(&disk, &clock).expect("is ours");
        target.begin(Contents::Vmcore, 3 * BLOCK as u64).expect("fits");
        for (at, keeps_back) in [(0, true), (1, true), (2, false)] {
            disk.borrow_mut().keeps_back = keeps_back;
            target.send(DumpOffset::new(at * BLOCK as u64), &[piece]).expect("is taken");
        }
        assert_eq!(target.drain(), Err(Failure::Io(1)));
        target.give_up(Stage::FirstByte);
        let header = header(&disk);
        assert_eq!(header.state, DiskState::FAILED);
        assert_eq!(header.stage, u32::from(Stage::FirstByte.code()));
    }

    #[test]
    fn too_small_read_only_and_failed() {
        let (disk, clock) = (Disk::new(formatted(OURS, 2 * BLOCK)), FakeClock::default());
        let mut target = open(&disk, &clock).expect("is ours");
        let (need, have) = (3 * BLOCK as u64, 2 * BLOCK as u64);
        assert_eq!(target.begin(Contents::Vmcore, have), Err(Failure::TooSmall { need, have }));
        target.give_up(Stage::Views);
        assert_eq!(header(&disk).state, DiskState::FAILED);
        assert_eq!(header(&disk).stage, u32::from(Stage::Views.code()));

        disk.borrow_mut().base.features |= 1 << 5;
        let before = disk.borrow().writes;
        let mut target = open(&disk, &clock).expect("is ours");
        assert_eq!(target.begin(Contents::Vmcore, 0), Err(Failure::ReadOnly));
        target.give_up(Stage::Views);
        assert_eq!(disk.borrow().writes, before);
    }
}
