//! Parts that all fake virtio devices share: the transport, and the device's side of queues.

#![expect(unsafe_code, reason = "a device follows physical addresses, here pointers")]

use core::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::vec::Vec;
use virtio_drivers::Error;
use virtio_drivers::transport::{DeviceStatus, DeviceType, InterruptStatus, Transport};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Feature bit: an IOMMU may translate the device's addresses.
pub(crate) const ACCESS_PLATFORM: u64 = 1 << 33;

/// A device with a [`FakeTransport`].
pub(crate) trait FakeDevice {
    /// Its kind.
    const KIND: DeviceType;

    /// State that all devices have.
    fn base(&mut self) -> &mut Base;

    /// Its configuration space.
    fn configuration(&self) -> Vec<u8>;

    /// The driver has offered something on a queue.
    fn notified(&mut self, queue: u16);

    /// The driver has reset it.
    fn was_reset(&mut self) {}
}

/// The state that all devices have.
#[derive(Default)]
pub(crate) struct Base {
    pub(crate) features: u64,
    pub(crate) status: u8,
    /// Features that the driver has accepted.
    pub(crate) accepted: u64,
    /// A reset never finishes.
    pub(crate) never_resets: bool,
    /// The longest queue that it allows.
    pub(crate) queue_size: u16,
    pub(crate) queues: BTreeMap<u16, Queue>,
}

/// A chain of descriptors: its head, and for each link address, length, whether the device may
/// write.
pub(crate) struct Chain {
    pub(crate) head: u16,
    pub(crate) links: Vec<(u64, u32, bool)>,
}

impl Chain {
    /// The memory of a link.
    pub(crate) fn memory(&mut self, link: usize) -> &mut [u8] {
        let (at, length, _) = self.links[link];
        // SAFETY: the driver gave the address of a buffer that lives until the request is back.
        unsafe { core::slice::from_raw_parts_mut(at as *mut u8, length as usize) }
    }

    /// All bytes that the device may read.
    pub(crate) fn bytes(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for link in 0..self.links.len() {
            if !self.links[link].2 {
                bytes.extend_from_slice(self.memory(link));
            }
        }
        bytes
    }

    /// Fills the memory that the device may write with `bytes`; returns the number of bytes that
    /// fit.
    pub(crate) fn fill(&mut self, bytes: &[u8]) -> usize {
        assert!(self.links.len() == 1 && self.links[0].2, "one buffer for the device to write");
        let length = bytes.len().min(self.links[0].1 as usize);
        self.memory(0)[..length].copy_from_slice(&bytes[..length]);
        length
    }
}

/// The device's side of a queue.
pub(crate) struct Queue {
    size: u16,
    areas: [u64; 3],
    seen: u16,
}

impl Queue {
    fn load<T: Copy>(&self, area: usize, offset: usize) -> T {
        // SAFETY: the driver under test gave the address of its queue.
        unsafe { ((self.areas[area] as usize + offset) as *const T).read_unaligned() }
    }

    fn store<T: Copy>(&self, area: usize, offset: usize, value: T) {
        // SAFETY: as in `load`.
        unsafe { ((self.areas[area] as usize + offset) as *mut T).write_unaligned(value) }
    }

    /// The next request.
    pub(crate) fn pop(&mut self) -> Option<Chain> {
        let available: u16 = self.load(1, 2);
        if self.seen == available {
            return None;
        }
        let head = self.load(1, 4 + 2 * usize::from(self.seen % self.size));
        self.seen = self.seen.wrapping_add(1);
        let mut links = Vec::new();
        let mut index = head;
        loop {
            let at = usize::from(index) * 16;
            let flags: u16 = self.load(0, at + 12);
            links.push((self.load(0, at), self.load(0, at + 8), flags & 2 != 0));
            if flags & 1 == 0 {
                return Some(Chain { head, links });
            }
            index = self.load(0, at + 14);
        }
    }

    /// Returns request `id` as done, with so many bytes written.
    pub(crate) fn push(&mut self, id: u32, length: u32) {
        let used: u16 = self.load(2, 2);
        let entry = 4 + 8 * usize::from(used % self.size);
        self.store(2, entry, id);
        self.store(2, entry + 4, length);
        self.store(2, 2, used.wrapping_add(1));
    }
}

/// The transport to a device.
pub(crate) struct FakeTransport<D> {
    device: Rc<RefCell<D>>,
}

impl<D: FakeDevice> FakeTransport<D> {
    pub(crate) fn new(device: &Rc<RefCell<D>>) -> Self {
        Self { device: device.clone() }
    }
}

impl<D: FakeDevice> Transport for FakeTransport<D> {
    fn device_type(&self) -> DeviceType {
        D::KIND
    }

    fn read_device_features(&mut self) -> u64 {
        self.device.borrow_mut().base().features
    }

    fn write_driver_features(&mut self, features: u64) {
        let offered = self.read_device_features();
        assert_eq!(features & !offered, 0, "only what is offered is accepted");
        self.device.borrow_mut().base().accepted = features;
    }

    fn max_queue_size(&mut self, _: u16) -> u32 {
        self.device.borrow_mut().base().queue_size.into()
    }

    fn notify(&mut self, queue: u16) {
        let mut device = self.device.borrow_mut();
        assert!(device.base().queues.contains_key(&queue), "queue {queue} is not set up");
        assert_ne!(device.base().status & DeviceStatus::DRIVER_OK.bits() as u8, 0);
        device.notified(queue);
    }

    fn get_status(&self) -> DeviceStatus {
        let mut device = self.device.borrow_mut();
        let base = device.base();
        DeviceStatus::from_bits_truncate(if base.never_resets { 1 } else { base.status.into() })
    }

    fn set_status(&mut self, status: DeviceStatus) {
        let mut device = self.device.borrow_mut();
        let base = device.base();
        // As QEMU's devices with `iommu_platform=on`.
        let is_refused = base.features & !base.accepted & ACCESS_PLATFORM != 0;
        let refused = if is_refused { DeviceStatus::FEATURES_OK } else { DeviceStatus::empty() };
        base.status = (status - refused).bits() as u8;
        if status.is_empty() {
            device.base().queues.clear();
            device.was_reset();
        }
    }

    fn set_guest_page_size(&mut self, _: u32) {}

    fn requires_legacy_layout(&self) -> bool {
        false
    }

    fn queue_set(&mut self, queue: u16, size: u32, descriptors: u64, driver: u64, device: u64) {
        let areas = [descriptors, driver, device];
        let mut fake = self.device.borrow_mut();
        assert_eq!(fake.base().status & DeviceStatus::DRIVER_OK.bits() as u8, 0);
        fake.base().queues.insert(queue, Queue { size: size as u16, areas, seen: 0 });
    }

    fn queue_unset(&mut self, _: u16) {}

    fn queue_used(&mut self, queue: u16) -> bool {
        self.device.borrow_mut().base().queues.contains_key(&queue)
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
        assert!(offset.is_multiple_of(align_of::<T>()), "as virtio-drivers' PCI transport");
        let configuration = self.device.borrow().configuration();
        let rest = configuration.get(offset..).ok_or(Error::ConfigSpaceTooSmall)?;
        T::read_from_prefix(rest).map(|(value, _)| value).or(Err(Error::ConfigSpaceTooSmall))
    }

    fn write_config_space<T: IntoBytes + Immutable>(
        &mut self,
        _: usize,
        _: T,
    ) -> virtio_drivers::Result<()> {
        Err(Error::ConfigSpaceTooSmall)
    }
}
