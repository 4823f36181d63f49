//! The virtio block device (virtio 1.2, section 5.2): several requests in flight, data by DMA from
//! wherever it lies, every wait with a deadline.

use super::device::{self, Features};
use super::queue::{self, Link, MAX_PIECES, VirtQueue};
use super::requests::Requests;
use crate::dma::{DmaBuffer, Readable, SlotMemory};
use crate::target::disk::BlockDevice;
use crate::{Clock, Deadline, Failure};
use alloc::vec::Vec;
use core::mem::{self, ManuallyDrop};
use virtio_drivers::transport::Transport;
use zerocopy::{Immutable, IntoBytes};

/// The unit of `sector` and `capacity`, whatever the disk's blocks are.
const SECTOR: u64 = 512;
/// The one queue.
const REQUESTS: u16 = 0;
/// Requests in flight: enough to keep a disk busy, few enough to wait for in a short time.
const IN_FLIGHT: u16 = 16;

/// Offsets in the device's configuration (5.2.4).
mod config {
    pub(super) const CAPACITY: usize = 0;
    pub(super) const SIZE_MAX: usize = 8;
    pub(super) const SEG_MAX: usize = 12;
}

/// Request types (5.2.6).
mod kind {
    pub(super) const IN: u32 = 0;
    pub(super) const OUT: u32 = 1;
    pub(super) const FLUSH: u32 = 4;
}

/// A status that no device writes: the request is not finished.
const UNFINISHED: u8 = 0xff;
/// `VIRTIO_BLK_S_OK`.
const OK: u8 = 0;

/// `struct virtio_blk_req` up to the data.
#[derive(Clone, Copy, IntoBytes, Immutable)]
#[repr(C)]
struct Header {
    kind: u32,
    reserved: u32,
    sector: u64,
}

/// Bytes of a slot's part of the control buffer: header, status, padding.
const CONTROL: usize = 32;
/// Offset of the status byte in it.
const STATUS: usize = 16;

/// A running block device.
pub struct VirtioBlk<'c, T: Transport> {
    /// Never dropped: virtio-drivers' PCI transport would wait for a reset without an end.
    transport: ManuallyDrop<T>,
    clock: &'c dyn Clock,
    /// Milliseconds that any one request may take.
    patience: u64,
    features: Features,
    capacity: u64,
    largest_piece: u64,
    most_pieces: usize,
    requests: Requests,
    control: DmaBuffer,
    /// For each slot, from where on the disk what its request writes is lost when that fails.
    writes_at: Vec<u64>,
    /// The lowest offset of a write that has failed; zero when a flush has.
    failed_at: u64,
}

impl<'c, T: Transport> VirtioBlk<'c, T> {
    /// Resets and starts the device behind `transport`. Any one request may then take `patience`
    /// milliseconds.
    ///
    /// # Errors
    /// What the device lacks or refuses, [`Failure::Timeout`], [`Failure::NoMemory`].
    pub fn start(
        transport: T,
        slot: SlotMemory,
        clock: &'c dyn Clock,
        patience: u64,
    ) -> Result<Self, Failure> {
        let mut transport = ManuallyDrop::new(transport);
        let wanted = Features::SIZE_MAX | Features::SEG_MAX | Features::READ_ONLY | Features::FLUSH;
        let features = device::negotiate(&mut *transport, clock, wanted)?;
        let queue = VirtQueue::set_up(&mut *transport, REQUESTS, slot, queue::REQUEST)?;
        let requests = Requests::new(queue, IN_FLIGHT);
        let control = DmaBuffer::new(slot, requests.slots() * CONTROL)?;
        let mut device = Self {
            transport,
            clock,
            patience,
            features,
            capacity: 0,
            largest_piece: u64::from(u32::MAX),
            most_pieces: MAX_PIECES,
            writes_at: alloc::vec![u64::MAX; requests.slots()],
            requests,
            control,
            failed_at: u64::MAX,
        };
        device.read_configuration()?;
        device::go(&mut *device.transport);
        Ok(device)
    }

    fn read_configuration(&mut self) -> Result<(), Failure> {
        let low = self.config(config::CAPACITY)?;
        let high = self.config(config::CAPACITY + 4)?;
        let sectors = u64::from(high) << 32 | u64::from(low);
        self.capacity = sectors.saturating_mul(SECTOR);
        if self.features.contains(Features::SIZE_MAX) {
            self.largest_piece = self.config(config::SIZE_MAX)?.max(SECTOR as u32).into();
        }
        if self.features.contains(Features::SEG_MAX) {
            let most = self.config(config::SEG_MAX)?.max(1);
            self.most_pieces = self.most_pieces.min(most as usize);
        }
        Ok(())
    }

    fn config(&self, offset: usize) -> Result<u32, Failure> {
        self.transport.read_config_space(offset).or(Err(Failure::NoConfiguration))
    }

    /// Offers one request and returns without waiting for it, unless all slots are taken.
    fn request(&mut self, kind: u32, at: u64, data: &[Link]) -> Result<(), Failure> {
        let slot = self.free_slot()?;
        let control = usize::from(slot) * CONTROL;
        let header = Header { kind, reserved: 0, sector: at / SECTOR };
        self.control.copy_from(control, header.as_bytes());
        self.control.write(control + STATUS, UNFINISHED);
        let first = Link::Read(self.control.readable(control, size_of::<Header>()));
        let last = Link::Write(self.control.writable(control + STATUS, 1));
        let mut links = arrayvec::ArrayVec::<Link, { MAX_PIECES + 2 }>::new();
        links.push(first);
        links.extend(data.iter().copied());
        links.push(last);
        let deadline = Deadline::after(self.clock, self.patience);
        self.requests.offer(slot, links.into_iter(), deadline);
        self.writes_at[usize::from(slot)] = match kind {
            kind::IN => u64::MAX,
            // After a flush that failed nobody knows what is there, and the next one may say that all is.
            kind::FLUSH => 0,
            _ => at,
        };
        self.transport.notify(REQUESTS);
        Ok(())
    }

    fn free_slot(&mut self) -> Result<u16, Failure> {
        self.collect()?;
        loop {
            if let Some(slot) = self.requests.free() {
                return Ok(slot);
            }
            self.wait_for_one()?;
        }
    }

    /// Waits until at least one of the requests in flight is back.
    fn wait_for_one(&mut self) -> Result<(), Failure> {
        while !self.collect()? {
            if self.requests.is_late(self.clock) {
                return Err(Failure::Timeout("complete a request"));
            }
            core::hint::spin_loop();
        }
        Ok(())
    }

    /// Takes back what the device has finished; whether there was anything.
    fn collect(&mut self) -> Result<bool, Failure> {
        let mut any = false;
        while let Some(slot) = self.requests.take_back()? {
            let writes_at = mem::replace(&mut self.writes_at[usize::from(slot)], u64::MAX);
            match self.control.read::<u8>(usize::from(slot) * CONTROL + STATUS) {
                OK => any = true,
                status => {
                    self.failed_at = self.failed_at.min(writes_at);
                    return Err(Failure::Io(status));
                }
            }
        }
        Ok(any)
    }
}

impl<T: Transport> BlockDevice for VirtioBlk<'_, T> {
    fn capacity(&self) -> u64 {
        self.capacity
    }

    fn is_read_only(&self) -> bool {
        self.features.contains(Features::READ_ONLY)
    }

    fn most_pieces(&self) -> usize {
        self.most_pieces
    }

    fn largest_piece(&self) -> u64 {
        self.largest_piece
    }

    fn read(&mut self, at: u64, into: &mut DmaBuffer) -> Result<(), Failure> {
        let all = into.length();
        self.request(kind::IN, at, &[Link::Write(into.writable(0, all))])?;
        self.drain()
    }

    fn write(&mut self, at: u64, pieces: &[Readable]) -> Result<(), Failure> {
        let links: arrayvec::ArrayVec<Link, MAX_PIECES> =
            pieces.iter().map(|piece| Link::Read(*piece)).collect();
        self.request(kind::OUT, at, &links)
    }

    fn drain(&mut self) -> Result<(), Failure> {
        while !self.requests.is_idle() {
            self.wait_for_one()?;
        }
        Ok(())
    }

    fn written_below(&self) -> u64 {
        self.writes_at.iter().copied().fold(self.failed_at, u64::min)
    }

    fn settle(&mut self) -> Result<(), Failure> {
        loop {
            match self.drain() {
                // That request is back, so that this ends.
                Err(Failure::Io(_)) => {}
                other => return other,
            }
        }
    }

    fn flush(&mut self) -> Result<(), Failure> {
        self.drain()?;
        if self.features.contains(Features::FLUSH) {
            self.request(kind::FLUSH, 0, &[])?;
            self.drain()?;
        }
        Ok(())
    }

    fn stop(&mut self) -> Result<(), Failure> {
        if !self.requests.is_idle() {
            // QEMU holds the machine in a reset until the disk behind it has answered every request.
            return Err(Failure::Timeout("complete a request"));
        }
        device::reset(&mut *self.transport, self.clock)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{Disk, FakeClock, FakeTransport, ORDINARY, physical, slot};
    use core::cell::RefCell;
    use std::rc::Rc;
    use std::vec;
    use std::vec::Vec;
    use vmcore::PhysRange;

    const PATIENCE: u64 = 100;

    fn start<'c>(
        disk: &Rc<RefCell<Disk>>,
        clock: &'c FakeClock,
    ) -> Result<VirtioBlk<'c, FakeTransport<Disk>>, Failure> {
        VirtioBlk::start(FakeTransport::new(disk), slot(), clock, PATIENCE)
    }

    fn old(bytes: &[u8]) -> Readable {
        Readable::old(PhysRange::new(physical(bytes), bytes.len() as u64).expect("no wrap"))
    }

    #[test]
    fn pieces_arrive_in_order_at_their_sector() {
        let (disk, clock) = (Disk::new(vec![0; 16384]), FakeClock::default());
        let mut device = start(&disk, &clock).expect("starts");
        assert_eq!(device.capacity(), 16384);
        let (first, second) = ([1_u8; 1024], [2_u8; 3072]);
        device.write(8192, &[old(&first), old(&second)]).expect("is taken");
        device.flush().expect("arrives");
        let bytes = disk.borrow().bytes.clone();
        assert!(bytes[..8192].iter().all(|byte| *byte == 0));
        assert!(bytes[8192..9216].iter().all(|byte| *byte == 1));
        assert!(bytes[9216..12288].iter().all(|byte| *byte == 2));
        assert_eq!(disk.borrow().flushes, 1);
    }

    #[test]
    fn more_requests_than_slots() {
        let (disk, clock) = (Disk::new(vec![0; 4096 * 100]), FakeClock::default());
        let mut device = start(&disk, &clock).expect("starts");
        let pages: Vec<[u8; 4096]> = (0..100).map(|page| [page as u8 + 1; 4096]).collect();
        for (at, page) in (0..).step_by(4096).zip(&pages) {
            device.write(at, &[old(page)]).expect("is taken");
        }
        device.drain().expect("arrives");
        assert_eq!(disk.borrow().bytes, pages.concat());
    }

    #[test]
    fn limits_of_the_device_are_kept() {
        let (disk, clock) = (Disk::new(vec![0; 4096]), FakeClock::default());
        disk.borrow_mut().seg_max = 3;
        assert_eq!(start(&disk, &clock).expect("starts").most_pieces(), 3);
        disk.borrow_mut().base.features |= 1 << 5;
        assert!(start(&disk, &clock).expect("starts").is_read_only());
    }

    fn first_error(change: impl FnOnce(&mut Disk)) -> Failure {
        let (disk, clock) = (Disk::new(vec![0; 8192]), FakeClock::default());
        change(&mut disk.borrow_mut());
        let page = [7_u8; 4096];
        let tried = start(&disk, &clock).and_then(|mut device| {
            device.write(0, &[old(&page)])?;
            device.write(4096, &[old(&page)])?;
            device.drain()
        });
        tried.expect_err("this disk does not work")
    }

    #[test]
    fn a_device_that_misbehaves_is_an_error_and_not_a_hang() {
        let unfinished = Failure::Timeout("complete a request");
        assert_eq!(first_error(|disk| disk.stalls_after = Some(1)), unfinished);
        assert_eq!(first_error(|disk| disk.fails = 1..2), Failure::Io(1));
        assert_eq!(first_error(|disk| disk.answers_with = Some(7)), Failure::BadAnswer(7));
        assert_eq!(first_error(|disk| disk.answers_with = Some(5000)), Failure::BadAnswer(5000));
        // A slot that exists, but has no request in flight.
        assert_eq!(first_error(|disk| disk.answers_with = Some(50)), Failure::BadAnswer(5));
        assert_eq!(first_error(|disk| disk.base.never_resets = true), Failure::Timeout("reset"));
        assert_eq!(first_error(|disk| disk.base.features = 1 << 9), Failure::LegacyOnly);
        let behind = first_error(|disk| disk.base.features = ORDINARY | 1 << 33);
        assert_eq!(behind, Failure::BehindIommu);
    }

    #[test]
    fn a_device_with_a_request_in_flight_is_not_reset() {
        let (disk, clock) = (Disk::new(vec![0; 8192]), FakeClock::default());
        disk.borrow_mut().stalls_after = Some(1);
        let page = [7_u8; 4096];
        let mut device = start(&disk, &clock).expect("starts");
        device.write(0, &[old(&page)]).expect("is taken");
        device.write(4096, &[old(&page)]).expect("is taken");
        assert_eq!(device.drain(), Err(Failure::Timeout("complete a request")));
        assert_eq!(device.stop(), Err(Failure::Timeout("complete a request")));
        assert_ne!(disk.borrow().base.status, 0);
    }

    #[test]
    fn a_queue_without_room_for_a_request_is_refused() {
        let (disk, clock) = (Disk::new(vec![0; 4096]), FakeClock::default());
        disk.borrow_mut().base.queue_size = 8;
        assert_eq!(start(&disk, &clock).err(), Some(Failure::QueueTooShort(8)));
    }
}
