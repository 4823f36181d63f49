//! The virtio block device (virtio 1.2, section 5.2): several requests in flight, data by DMA from
//! any place, every wait with a deadline.

use super::device::{self, Features};
use super::requests::{Body, Requests, Shape};
use crate::driver::controller::{Controller, DiskName};
use crate::driver::dma::{DmaBuffer, Limits, MAX_PIECES, Pieces, SlotMemory};
use crate::driver::{BlockDevice, Error};
use crate::{Clock, Deadline};
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
    pub(super) const BLK_SIZE: usize = 20;
}

/// Request types (5.2.6).
mod kind {
    pub(super) const IN: u32 = 0;
    pub(super) const OUT: u32 = 1;
    pub(super) const FLUSH: u32 = 4;
}

/// A request is late.
const UNFINISHED: Error = Error::Timeout("complete a request");

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

/// Bytes of the status.
const STATUS: usize = 1;
/// The most bytes of one write.
const REQUEST: u64 = 1 << 20;
/// The most bytes of one read.
const READ: usize = 8192;

/// A running block device.
pub struct VirtioBlk<'c, T: Transport> {
    /// Never dropped: virtio-drivers' PCI transport would wait for a reset without an end.
    transport: ManuallyDrop<T>,
    clock: &'c dyn Clock,
    /// Milliseconds that any one request may take.
    timeout: u64,
    features: Features,
    capacity: u64,
    block_size: u32,
    limits: Limits,
    requests: Requests,
    /// The buffer that the device fills when it is read; not here while it does.
    inbox: Option<DmaBuffer>,
    /// For each slot, the offset on the disk from which data is lost if its request fails.
    writes_at: Vec<u64>,
    /// The lowest offset of a write that has failed; zero when a flush has.
    failed_at: u64,
}

impl<'c, T: Transport> VirtioBlk<'c, T> {
    /// Resets and starts the device behind `transport`. Any one request may then take `timeout`
    /// milliseconds.
    ///
    /// # Errors
    /// A feature that the device lacks or refuses, [`Error::Timeout`], [`Error::NoMemory`].
    pub fn start(
        transport: T,
        slot: SlotMemory,
        clock: &'c dyn Clock,
        timeout: u64,
    ) -> Result<Self, Error> {
        let mut transport = ManuallyDrop::new(transport);
        let wanted = Features::SIZE_MAX
            | Features::SEG_MAX
            | Features::READ_ONLY
            | Features::BLOCK_SIZE
            | Features::FLUSH;
        let features = device::negotiate(&mut *transport, clock, wanted, slot.translation)?;
        let head = size_of::<Header>();
        let shape =
            Shape { most: IN_FLIGHT, head, pieces: MAX_PIECES, reply: STATUS, reply_first: false };
        let requests = Requests::set_up(&mut *transport, REQUESTS, slot, shape)?;
        let inbox = Some(DmaBuffer::new(slot, READ)?);
        let piece = u64::from(u32::MAX);
        let pieces = requests.most_pieces();
        let mut device = Self {
            transport,
            clock,
            timeout,
            features,
            capacity: 0,
            block_size: SECTOR as u32,
            limits: Limits { bytes: REQUEST, pieces, piece, align: 1, address_bits: 64 },
            writes_at: alloc::vec![u64::MAX; requests.slots()],
            requests,
            inbox,
            failed_at: u64::MAX,
        };
        device.read_configuration()?;
        device::go(&mut *device.transport);
        Ok(device)
    }

    fn read_configuration(&mut self) -> Result<(), Error> {
        let low = self.config(config::CAPACITY)?;
        let high = self.config(config::CAPACITY + 4)?;
        let sectors = u64::from(high) << 32 | u64::from(low);
        self.capacity = sectors.saturating_mul(SECTOR);
        if self.features.contains(Features::SIZE_MAX) {
            self.limits.piece = self.config(config::SIZE_MAX)?.max(SECTOR as u32).into();
        }
        if self.features.contains(Features::SEG_MAX) {
            let most = self.config(config::SEG_MAX)?.max(1);
            self.limits.pieces = self.limits.pieces.min(most as usize);
        }
        if self.features.contains(Features::BLOCK_SIZE) {
            self.block_size = self.config(config::BLK_SIZE)?;
        }
        Ok(())
    }

    fn config(&self, offset: usize) -> Result<u32, Error> {
        self.transport.read_config_space(offset).or(Err(Error::NoConfiguration))
    }

    /// Offers one request and returns without waiting for it, unless there is no room for it.
    fn request(&mut self, kind: u32, at: u64, body: Body) -> Result<(), Error> {
        let slot = self.free_slot(&body)?;
        let header = Header { kind, reserved: 0, sector: at / SECTOR };
        let deadline = Deadline::after(self.clock, self.timeout);
        self.requests.offer(slot, header.as_bytes(), body, deadline);
        self.writes_at[usize::from(slot)] = match kind {
            kind::IN => u64::MAX,
            // After a failed flush the contents of the disk are unknown, and the next flush may
            // report success.
            kind::FLUSH => 0,
            _ => at,
        };
        self.transport.notify(REQUESTS);
        Ok(())
    }

    fn free_slot(&mut self, body: &Body) -> Result<u16, Error> {
        self.collect()?;
        loop {
            if let Some(slot) = self.requests.free(body) {
                return Ok(slot);
            }
            if !self.wait_for_one()? {
                return Err(Error::Fragmented);
            }
        }
    }

    /// Takes back finished requests; true if there were any.
    fn collect(&mut self) -> Result<bool, Error> {
        let mut any = false;
        while let Some(done) = self.requests.take_back()? {
            let slot = done.slot;
            self.inbox = self.inbox.take().or(done.into_buffer());
            let writes_at = mem::replace(&mut self.writes_at[usize::from(slot)], u64::MAX);
            match self.requests.reply(slot, 0) {
                OK => any = true,
                status => {
                    self.failed_at = self.failed_at.min(writes_at);
                    return Err(Error::Io(status));
                }
            }
        }
        Ok(any)
    }

    /// Reads at most [`READ`] bytes, with nothing else in flight.
    fn read_part(&mut self, at: u64, into: &mut [u8]) -> Result<(), Error> {
        self.drain()?;
        let inbox = self.inbox.take().ok_or(UNFINISHED)?;
        self.request(kind::IN, at, Body::In(inbox, into.len()))?;
        self.drain()?;
        self.inbox.as_ref().ok_or(UNFINISHED)?.copy_to(0, into);
        Ok(())
    }
}

impl<T: Transport> BlockDevice for VirtioBlk<'_, T> {
    fn capacity(&self) -> u64 {
        self.capacity
    }

    fn is_read_only(&self) -> bool {
        self.features.contains(Features::READ_ONLY)
    }

    fn block_size(&self) -> u32 {
        self.block_size
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    fn read(&mut self, at: u64, into: &mut [u8]) -> Result<(), Error> {
        let mut parts = (at..).step_by(READ).zip(into.chunks_mut(READ));
        parts.try_for_each(|(at, part)| self.read_part(at, part))
    }

    fn write(&mut self, at: u64, pieces: Pieces) -> Result<(), Error> {
        self.request(kind::OUT, at, Body::Out(pieces))
    }

    fn wait_for_one(&mut self) -> Result<bool, Error> {
        if self.requests.is_idle() {
            return Ok(false);
        }
        while !self.collect()? {
            if self.requests.is_late(self.clock) {
                return Err(UNFINISHED);
            }
            core::hint::spin_loop();
        }
        Ok(true)
    }

    fn drain(&mut self) -> Result<(), Error> {
        while self.wait_for_one()? {}
        Ok(())
    }

    fn written_below(&self) -> u64 {
        self.writes_at.iter().copied().fold(self.failed_at, u64::min)
    }

    fn settle(&mut self) -> Result<(), Error> {
        loop {
            match self.drain() {
                // That request is back, so that this ends.
                Err(Error::Io(_)) => {}
                other => return other,
            }
        }
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.drain()?;
        if self.features.contains(Features::FLUSH) {
            self.request(kind::FLUSH, 0, Body::Out(Pieces::new()))?;
            self.drain()?;
        }
        Ok(())
    }

    fn stop(&mut self) -> Result<(), Error> {
        if !self.requests.is_idle() {
            // QEMU holds the machine in a reset until the disk has answered every request.
            return Err(UNFINISHED);
        }
        let stopped = device::reset(&mut *self.transport, self.clock)?;
        self.requests.release(&stopped);
        if let Some(inbox) = &mut self.inbox {
            inbox.release(&stopped);
        }
        Ok(())
    }
}

impl<T: Transport> Controller for VirtioBlk<'_, T> {
    fn disks(&self) -> usize {
        1
    }

    fn select(&mut self, _: usize) -> Result<(), Error> {
        Ok(())
    }

    fn disk_name(&self, _: usize) -> DiskName {
        DiskName::Only
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::dma::{DmaPiece, Pool, ZEROS};
    use crate::driver::translation::Translation;
    use crate::fake::{ACCESS_PLATFORM, Disk, FakeClock, FakeTransport, ORDINARY, old, slot};
    use core::cell::RefCell;
    use proptest::prelude::*;
    use std::rc::Rc;
    use std::vec;
    use std::vec::Vec;
    use vmcore::PhysAddr;

    const TIMEOUT: u64 = 100;

    fn start<'c>(
        disk: &Rc<RefCell<Disk>>,
        clock: &'c FakeClock,
    ) -> Result<VirtioBlk<'c, FakeTransport<Disk>>, Error> {
        VirtioBlk::start(FakeTransport::new(disk), slot(), clock, TIMEOUT)
    }

    fn pieces<const N: usize>(pieces: [DmaPiece; N]) -> Pieces {
        pieces.into_iter().collect()
    }

    #[test]
    fn pieces_arrive_in_order_at_their_sector() {
        let (disk, clock) = (Disk::new(vec![0; 16384]), FakeClock::default());
        let mut device = start(&disk, &clock).expect("starts");
        assert_eq!(device.capacity(), 16384);
        let (first, second) = ([1_u8; 1024], [2_u8; 3072]);
        device.write(8192, pieces([old(&first), old(&second)])).expect("is taken");
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
            device.write(at, pieces([old(page)])).expect("is taken");
        }
        device.drain().expect("arrives");
        assert_eq!(disk.borrow().bytes, pages.concat());
    }

    #[test]
    fn limits_of_the_device_are_kept() {
        let (disk, clock) = (Disk::new(vec![0; 4096]), FakeClock::default());
        disk.borrow_mut().seg_max = 3;
        disk.borrow_mut().block_size = 4096;
        let device = start(&disk, &clock).expect("starts");
        assert_eq!((device.limits().pieces, device.block_size()), (3, 512));
        disk.borrow_mut().base.features |= 1 << 5 | 1 << 6;
        assert_eq!(start(&disk, &clock).expect("starts").block_size(), 4096);
        assert!(start(&disk, &clock).expect("starts").is_read_only());
    }

    fn first_error(change: impl FnOnce(&mut Disk)) -> Error {
        let (disk, clock) = (Disk::new(vec![0; 8192]), FakeClock::default());
        change(&mut disk.borrow_mut());
        let page = [7_u8; 4096];
        let tried = start(&disk, &clock).and_then(|mut device| {
            device.write(0, pieces([old(&page)]))?;
            device.write(4096, pieces([old(&page)]))?;
            device.drain()
        });
        tried.expect_err("this disk does not work")
    }

    #[test]
    fn a_device_that_misbehaves_is_an_error_and_not_a_hang() {
        let unfinished = Error::Timeout("complete a request");
        assert_eq!(first_error(|disk| disk.stalls_after = Some(1)), unfinished);
        assert_eq!(first_error(|disk| disk.fails = 1..2), Error::Io(1));
        assert_eq!(first_error(|disk| disk.answers_with = Some(7)), Error::BadAnswer(7));
        assert_eq!(first_error(|disk| disk.answers_with = Some(5000)), Error::BadAnswer(5000));
        // A descriptor that exists, but is in no chain.
        assert_eq!(first_error(|disk| disk.answers_with = Some(50)), Error::BadAnswer(50));
        // A descriptor in the middle of a chain that is in flight.
        assert_eq!(first_error(|disk| disk.answers_with = Some(1)), Error::BadAnswer(1));
        assert_eq!(first_error(|disk| disk.base.never_resets = true), Error::Timeout("reset"));
        assert_eq!(first_error(|disk| disk.base.features = 1 << 9), Error::LegacyOnly);
    }

    /// A device that an IOMMU translates for is used once it translates no more.
    #[test]
    fn translation_of_the_devices_addresses_must_be_off() {
        let (unit, page) = (PhysAddr::new(0xfed9_0000), [7_u8; 4096]);
        for (translation, virtio, any) in [
            (Translation::Unknown, Err(Error::BehindIommu), Ok(())),
            (Translation::On(unit), Err(Error::Translated(unit)), Err(Error::Translated(unit))),
            (Translation::Off, Ok(()), Ok(())),
        ] {
            let (disk, clock) = (Disk::new(vec![0; 4096]), FakeClock::default());
            let slot = SlotMemory { translation, ..slot() };
            let write = || {
                let transport = FakeTransport::new(&disk);
                let mut device = VirtioBlk::start(transport, slot, &clock, TIMEOUT)?;
                device.write(0, pieces([old(&page)]))?;
                device.drain()
            };
            assert_eq!((translation.check(), write()), (any, Ok(())), "past the IOMMU");
            disk.borrow_mut().base.features = ORDINARY | ACCESS_PLATFORM;
            assert_eq!(write(), virtio, "{translation:?}");
        }
    }

    #[test]
    fn a_device_with_a_request_in_flight_is_not_reset() {
        let (disk, clock) = (Disk::new(vec![0; 8192]), FakeClock::default());
        disk.borrow_mut().stalls_after = Some(1);
        let page = [7_u8; 4096];
        let mut device = start(&disk, &clock).expect("starts");
        device.write(0, pieces([old(&page)])).expect("is taken");
        device.write(4096, pieces([old(&page)])).expect("is taken");
        assert_eq!(device.drain(), Err(Error::Timeout("complete a request")));
        assert_eq!(device.stop(), Err(Error::Timeout("complete a request")));
        assert_ne!(disk.borrow().base.status, 0);
    }

    #[test]
    fn contiguous_requests_fill_all_slots_and_scattered_ones_the_queue() {
        let (disk, clock) = (Disk::new(vec![0; 4096 * 100]), FakeClock::default());
        {
            let mut disk = disk.borrow_mut();
            (disk.lags, disk.base.queue_size) = (true, 256);
        }
        let page = [7_u8; 4096];
        let mut device = start(&disk, &clock).expect("starts");
        assert_eq!(device.limits().pieces, 32);
        for number in 0..16 {
            device.write(number * 4096, pieces([old(&page)])).expect("is taken");
        }
        assert_eq!(disk.borrow().waiting(), 16);
        assert_eq!(device.write(0, pieces([old(&page)])), Err(UNFINISHED));
        while disk.borrow_mut().answer_one() {}
        device.drain().expect("all are back");
        let scattered = || page.chunks(128).map(old).collect::<Pieces>();
        for number in 0..7 {
            device.write(number * 4096, scattered()).expect("is taken");
        }
        assert_eq!(device.write(0, scattered()), Err(UNFINISHED));
        device.write(0, page.chunks(256).map(old).collect()).expect("18 of 256 are free");
        assert_eq!(disk.borrow().waiting(), 8);
        while disk.borrow_mut().answer_one() {}
        device.drain().and_then(|()| device.stop()).expect("all are back");
    }

    #[test]
    fn a_short_queue_takes_fewer_pieces() {
        for (size, most) in [(34, 30), (32, 30), (8, 6), (4, 2)] {
            let (disk, clock) = (Disk::new(vec![0; 4096 * 8]), FakeClock::default());
            disk.borrow_mut().base.queue_size = size;
            let mut device = start(&disk, &clock).expect("starts");
            assert_eq!(device.limits().pieces, most);
            let page = [7_u8; 512];
            for number in 0..4 {
                let scattered = (0..most).map(|_| old(&page)).collect();
                device.write(number * 4096, scattered).expect("is taken");
            }
            device.drain().expect("arrives");
            assert!(disk.borrow().bytes[3 * 4096..].starts_with(&page.repeat(most)));
            let too_many = (0..=most).map(|_| old(&page)).collect();
            assert_eq!(device.write(0, too_many), Err(Error::Fragmented));
        }
    }

    #[test]
    fn more_zeros_and_longer_reads_than_one_buffer_holds() {
        let (disk, clock) = (Disk::new(vec![9; 65_536]), FakeClock::default());
        let mut device = start(&disk, &clock).expect("starts");
        device.write(4096, (0..10).map(|_| DmaPiece::Zeros(ZEROS)).collect()).expect("is taken");
        let mut all = [1; 65_536];
        device.read(0, &mut all).expect("reads");
        assert!(all[..4096].iter().chain(&all[11 * 4096..]).all(|byte| *byte == 9));
        assert!(all[4096..11 * 4096].iter().all(|byte| *byte == 0));
    }

    /// A buffer of the pool with these bytes.
    fn frozen(pool: &Pool, byte: u8) -> Option<DmaPiece> {
        let mut lease = pool.lease()?;
        lease.fill(byte);
        Some(DmaPiece::Frozen(lease.freeze(512), 0..512))
    }

    /// Neither an error, nor a stop that fails, nor dropping the driver gives memory back.
    #[test]
    fn a_disk_that_does_not_answer_keeps_its_memory() {
        let (disk, clock) = (Disk::new(vec![0; 8192]), FakeClock::default());
        let pool = Pool::new(slot(), 4, 512).expect("memory");
        let mut device = start(&disk, &clock).expect("starts");
        disk.borrow_mut().lags = true;
        for byte in 1..3 {
            let piece = frozen(&pool, byte).expect("is free");
            device.write(0, pieces([piece, DmaPiece::Zeros(512)])).expect("is taken");
        }
        assert_eq!(device.read(0, &mut [0; 512]), Err(UNFINISHED));
        assert_eq!(device.stop(), Err(UNFINISHED));
        drop(device);
        let rest: Vec<_> = core::iter::from_fn(|| frozen(&pool, 9)).collect();
        assert_eq!(rest.len(), 2);
        drop((rest, pool));
        let others: Vec<_> = (0..8).map(|_| vec![0x55_u8; 4096]).collect();
        disk.borrow_mut().assert_memory_unchanged();
        assert_eq!((disk.borrow().waiting(), others.len()), (2, 8));
        while disk.borrow_mut().answer_one() {}
    }

    /// A buffer that is being filled has no other user, however the wait for it ends.
    #[test]
    fn a_late_read_does_no_harm() {
        let (disk, clock) = (Disk::new(vec![3; 8192]), FakeClock::default());
        let mut device = start(&disk, &clock).expect("starts");
        disk.borrow_mut().lags = true;
        assert_eq!(device.read(0, &mut [0; 4096]), Err(UNFINISHED));
        assert_eq!(device.read(4096, &mut [0; 4096]), Err(UNFINISHED));
        assert_eq!(disk.borrow().waiting(), 1);
        disk.borrow_mut().answer_one();
        disk.borrow_mut().lags = false;
        let mut into = [0; 4096];
        device.read(4096, &mut into).expect("the buffer is back");
        assert_eq!(into, [3; 4096]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Writes of any shape, answered late and in any order, some of which fail: until its
        /// answer the memory of each is as it was, and in the end all buffers are back.
        #[test]
        fn memory_of_requests_in_flight_never_changes(
            steps in prop::collection::vec((0_u8..8, any::<u8>(), 1_usize..33), 1..150),
            size in prop::sample::select(vec![8_u16, 64, 256]),
            stops: bool,
        ) {
            let (disk, clock) = (Disk::new(vec![0; 1 << 20]), FakeClock::default());
            disk.borrow_mut().base.queue_size = size;
            let pool = Pool::new(slot(), 8, 512).expect("memory");
            let memory = [6_u8; 512];
            let mut device = start(&disk, &clock).expect("starts");
            disk.borrow_mut().lags = true;
            for (step, value, count) in steps {
                let waiting = disk.borrow().waiting();
                match step {
                    0..4 => {
                        let piece = |number: usize| match number % 3 {
                            0 => frozen(&pool, value).unwrap_or(DmaPiece::Zeros(512)),
                            1 => old(&memory),
                            _ => DmaPiece::Zeros(512),
                        };
                        let count = count.min(device.limits().pieces);
                        let _ = device.write(u64::from(value) * 512, (0..count).map(piece).collect());
                    }
                    4 | 5 if waiting > 0 => drop(disk.borrow_mut().answer(count % waiting)),
                    6 => disk.borrow_mut().bad = count * 1024..count * 2048,
                    _ => drop(device.wait_for_one()),
                }
                disk.borrow_mut().assert_memory_unchanged();
            }
            if stops {
                while disk.borrow_mut().answer_one() {}
                device.settle().and_then(|()| device.stop()).expect("all are back");
                let all: Vec<_> = core::iter::from_fn(|| pool.lease()).collect();
                prop_assert_eq!(all.len(), 8);
            }
            drop(device);
            let _rest: Vec<_> = core::iter::from_fn(|| frozen(&pool, 9)).collect();
            disk.borrow_mut().assert_memory_unchanged();
        }
    }

    #[test]
    fn a_queue_without_room_for_a_request_is_refused() {
        let (disk, clock) = (Disk::new(vec![0; 4096]), FakeClock::default());
        disk.borrow_mut().base.queue_size = 3;
        assert_eq!(start(&disk, &clock).err(), Some(Error::QueueTooShort(2)));
    }
}
