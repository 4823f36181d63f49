//! Fakes for tests: a clock, slot memory whose physical addresses are its virtual ones, and a virtio
//! block device that processes its queue like a device does: by physical address.

#![expect(unsafe_code, reason = "the fake device follows physical addresses, here pointers")]

use crate::Clock;
use crate::dma::SlotMemory;
use core::cell::{Cell, RefCell};
use core::ops::Range;
use std::rc::Rc;
use std::vec::Vec;
use virtio_drivers::transport::{DeviceStatus, DeviceType, InterruptStatus, Transport};
use vmcore::PhysAddr;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// A clock on which every look costs a millisecond, so that every wait ends.
#[derive(Default)]
pub(crate) struct FakeClock(Cell<u64>);

impl Clock for FakeClock {
    fn milliseconds(&self) -> u64 {
        self.0.set(self.0.get() + 1);
        self.0.get()
    }
}

/// All memory of the test is the slot, at its own address.
pub(crate) fn slot() -> SlotMemory {
    SlotMemory { address: 0, start: PhysAddr::new(0), length: usize::MAX }
}

/// The physical address of bytes of the test.
pub(crate) fn physical(bytes: &[u8]) -> PhysAddr {
    PhysAddr::new(bytes.as_ptr() as u64)
}

/// How the fake device behaves, and what it has seen.
#[derive(Default)]
pub(crate) struct Disk {
    pub(crate) bytes: Vec<u8>,
    pub(crate) features: u64,
    pub(crate) seg_max: u32,
    /// Requests are not answered from this many on.
    pub(crate) stalls_after: Option<usize>,
    /// These requests, counted from 0, fail.
    pub(crate) fails: Range<usize>,
    /// A write to any of these bytes fails.
    pub(crate) bad: Range<usize>,
    /// This flush, counted from 0, fails.
    pub(crate) bad_flush: Option<usize>,
    /// Requests wait for the first notification after this is over.
    pub(crate) keeps_back: bool,
    /// Every completion carries this id.
    pub(crate) answers_with: Option<u32>,
    /// A reset never finishes.
    pub(crate) never_resets: bool,
    pub(crate) requests: usize,
    pub(crate) writes: usize,
    pub(crate) flushes: usize,
    pub(crate) status: u8,
    /// The writes and flushes that it has done.
    pub(crate) log: Vec<Done>,
}

/// Something that a disk has done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Done {
    /// These bytes were written at this offset.
    Write(usize, Vec<u8>),
    /// Everything that was written before is there for good.
    Flush,
}

/// Features of a virtio 1 disk with a cache and a limit of segments.
pub(crate) const ORDINARY: u64 = 1 << 32 | 1 << 9 | 1 << 2;

impl Disk {
    pub(crate) fn new(bytes: Vec<u8>) -> Rc<RefCell<Self>> {
        Rc::new(RefCell::new(Self { bytes, features: ORDINARY, seg_max: 254, ..Self::default() }))
    }
}

/// The transport to a [`Disk`].
pub(crate) struct FakeTransport {
    pub(crate) disk: Rc<RefCell<Disk>>,
    pub(crate) queue_size: u16,
    areas: [u64; 3],
    seen: u16,
    accepted: u64,
}

impl FakeTransport {
    pub(crate) fn new(disk: &Rc<RefCell<Disk>>) -> Self {
        Self { disk: disk.clone(), queue_size: 64, areas: [0; 3], seen: 0, accepted: 0 }
    }

    fn load<T: Copy>(&self, area: usize, offset: usize) -> T {
        // SAFETY: the driver under test gave the address of its queue.
        unsafe { ((self.areas[area] as usize + offset) as *const T).read_unaligned() }
    }

    fn store<T: Copy>(&self, area: usize, offset: usize, value: T) {
        // SAFETY: as in `load`.
        unsafe { ((self.areas[area] as usize + offset) as *mut T).write_unaligned(value) }
    }

    /// The chain that starts at descriptor `head`: address, length, whether the device may write.
    fn chain(&self, head: u16) -> Vec<(u64, u32, bool)> {
        let mut links = Vec::new();
        let mut index = head;
        loop {
            let at = usize::from(index) * 16;
            let flags: u16 = self.load(0, at + 12);
            links.push((self.load(0, at), self.load(0, at + 8), flags & 2 != 0));
            if flags & 1 == 0 {
                return links;
            }
            index = self.load(0, at + 14);
        }
    }

    fn process(&mut self, head: u16) {
        let chain = self.chain(head);
        let disk = self.disk.clone();
        let mut disk = disk.borrow_mut();
        let number = disk.requests;
        disk.requests += 1;
        if disk.stalls_after.is_some_and(|after| number >= after) {
            return;
        }
        let status = match disk.fails.contains(&number) {
            true => 1,
            false => transfer(&mut disk, &chain),
        };
        let (status_at, _, writable) = chain[chain.len() - 1];
        assert!(writable, "the status byte is the device's to write");
        // SAFETY: the driver gave the address of its status byte.
        unsafe { (status_at as *mut u8).write(status) };
        let used: u16 = self.load(2, 2);
        let entry = 4 + 8 * usize::from(used % self.queue_size);
        self.store(2, entry, disk.answers_with.unwrap_or(head.into()));
        self.store(2, entry + 4, 1_u32);
        self.store(2, 2, used.wrapping_add(1));
    }
}

/// Carries out one request; returns its status.
fn transfer(disk: &mut Disk, chain: &[(u64, u32, bool)]) -> u8 {
    // SAFETY: the driver gave the addresses of buffers that live until the request is back.
    let memory = |(at, length, _): (u64, u32, bool)| unsafe {
        core::slice::from_raw_parts_mut(at as *mut u8, length as usize)
    };
    let header: [u8; 16] = memory(chain[0]).try_into().expect("a header of 16 bytes");
    let kind = u32::from_le_bytes(header[..4].try_into().expect("4 bytes"));
    let sector = u64::from_le_bytes(header[8..].try_into().expect("8 bytes"));
    if kind == 4 && disk.bad_flush.is_some_and(|bad| bad == disk.flushes) {
        disk.bad_flush = None;
        return 1;
    }
    let mut at = sector as usize * 512;
    let length: usize = chain[1..chain.len() - 1].iter().map(|link| link.1 as usize).sum();
    if kind == 1 && at < disk.bad.end && disk.bad.start < at + length {
        return 1;
    }
    for link in &chain[1..chain.len() - 1] {
        let length = link.1 as usize;
        let Some(place) = disk.bytes.get_mut(at..at + length) else { return 1 };
        match (kind, link.2) {
            (0, true) => memory(*link).copy_from_slice(place),
            (1, false) => place.copy_from_slice(memory(*link)),
            _ => return 2,
        }
        at += length;
    }
    let start = sector as usize * 512;
    match kind {
        1 => disk.log.push(Done::Write(start, disk.bytes[start..at].to_vec())),
        4 => disk.log.push(Done::Flush),
        _ => {}
    }
    disk.writes += usize::from(kind == 1);
    disk.flushes += usize::from(kind == 4);
    0
}

impl Transport for FakeTransport {
    fn device_type(&self) -> DeviceType {
        DeviceType::Block
    }

    fn read_device_features(&mut self) -> u64 {
        self.disk.borrow().features
    }

    fn write_driver_features(&mut self, features: u64) {
        self.accepted = features;
    }

    fn max_queue_size(&mut self, _: u16) -> u32 {
        self.queue_size.into()
    }

    fn notify(&mut self, queue: u16) {
        assert_eq!(queue, 0);
        if self.disk.borrow().keeps_back {
            return;
        }
        let available: u16 = self.load(1, 2);
        while self.seen != available {
            let entry = 4 + 2 * usize::from(self.seen % self.queue_size);
            self.seen = self.seen.wrapping_add(1);
            self.process(self.load(1, entry));
        }
    }

    fn get_status(&self) -> DeviceStatus {
        let disk = self.disk.borrow();
        let status = if disk.never_resets { 1 } else { disk.status };
        DeviceStatus::from_bits_truncate(status.into())
    }

    fn set_status(&mut self, status: DeviceStatus) {
        self.disk.borrow_mut().status = status.bits() as u8;
    }

    fn set_guest_page_size(&mut self, _: u32) {}

    fn requires_legacy_layout(&self) -> bool {
        false
    }

    fn queue_set(&mut self, _: u16, size: u32, descriptors: u64, driver: u64, device: u64) {
        self.queue_size = size as u16;
        self.areas = [descriptors, driver, device];
    }

    fn queue_unset(&mut self, _: u16) {}

    fn queue_used(&mut self, _: u16) -> bool {
        self.areas[0] != 0
    }

    fn ack_interrupt(&mut self) -> InterruptStatus {
        InterruptStatus::empty()
    }

    fn read_config_generation(&self) -> u32 {
        0
    }

    fn read_config_space<T: FromBytes + IntoBytes>(
        &self,
        offset: usize,
    ) -> virtio_drivers::Result<T> {
        let disk = self.disk.borrow();
        let mut config = [0_u8; 24];
        config[..8].copy_from_slice(&(disk.bytes.len() as u64 / 512).to_le_bytes());
        config[12..16].copy_from_slice(&disk.seg_max.to_le_bytes());
        T::read_from_prefix(&config[offset..])
            .map(|(value, _)| value)
            .or(Err(virtio_drivers::Error::ConfigSpaceTooSmall))
    }

    fn write_config_space<T: IntoBytes + Immutable>(
        &mut self,
        _: usize,
        _: T,
    ) -> virtio_drivers::Result<()> {
        Err(virtio_drivers::Error::ConfigSpaceTooSmall)
    }
}
