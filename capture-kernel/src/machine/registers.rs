//! Registers of devices, mapped uncached in their own area, and the reset that virtio devices have
//! in common.

#![expect(
    unsafe_code,
    reason = "memory-mapped registers, and the trait of virtio-drivers for them"
)]

use boot_stub::paging::Devices;
use capture_kernel::Clock;
use capture_kernel::driver;
use capture_kernel::driver::virtio::device;
use core::ptr::NonNull;
use spin::{Mutex, Once};
use virtio_drivers::{BufferDirection, Hal};

static REGISTERS: Once<Mutex<Devices>> = Once::new();

/// Hands the device area over; from then on registers can be mapped.
pub(crate) fn start(devices: Devices) {
    REGISTERS.call_once(|| Mutex::new(devices));
}

/// Maps `length` bytes of registers at the physical address `start`, for good. [`None`] when there
/// is no room or the CPU has no such address.
pub(crate) fn map(start: u64, length: usize) -> Option<NonNull<u8>> {
    REGISTERS.get()?.lock().map(start, length)
}

/// Resets a virtio device by its status register, which is as wide as `T`; whether it is reset in
/// time.
///
/// # Safety
/// The pointer must be to a virtio device's status register, mapped.
pub(crate) unsafe fn reset<T: Default + PartialEq>(status: NonNull<T>, clock: &dyn Clock) -> bool {
    // SAFETY: by the caller's word; 0 resets the device (virtio 1.2, 2.1).
    unsafe { status.write_volatile(T::default()) };
    // SAFETY: by the caller's word.
    device::wait_for_reset(clock, || unsafe { status.read_volatile() } == T::default())
}

/// The registers of a controller.
pub(crate) struct Bar {
    start: NonNull<u32>,
    /// Bytes, a multiple of four.
    length: usize,
}

impl Bar {
    /// The registers of a PCI function that are so many bytes at a physical address, which is a
    /// multiple of four. [`None`] when there is no room or the CPU has no such address.
    pub(crate) fn map((at, length): (u64, usize)) -> Option<Self> {
        let length = length / 4 * 4;
        Some(Self { start: map(at, length)?.cast(), length })
    }

    /// The register at `offset`, if it is one.
    fn register(&self, offset: usize) -> Option<NonNull<u32>> {
        let is_inside = offset.is_multiple_of(4) && offset < self.length;
        // SAFETY: inside of the mapping, which is for good.
        is_inside.then(|| unsafe { self.start.byte_add(offset) })
    }
}

impl driver::registers::Registers for Bar {
    fn read(&self, offset: usize) -> u32 {
        // SAFETY: mapped and aligned; a device's registers may be read at any time.
        self.register(offset).map_or(u32::MAX, |at| unsafe { at.read_volatile() })
    }

    fn write(&mut self, offset: usize, value: u32) {
        if let Some(register) = self.register(offset) {
            // SAFETY: mapped and aligned. Its driver answers for what the device does: it names
            // memory of the slot for all that the device writes (`driver::dma`).
            unsafe { register.write_volatile(value) }
        }
    }

    fn length(&self) -> usize {
        self.length
    }
}

/// Access to registers for virtio-drivers' PCI transport. It allocates nothing: queues and buffers
/// are ours.
pub(crate) struct Registers;

// SAFETY: `mmio_phys_to_virt` returns a mapping of its own each time; nothing is ever allocated.
unsafe impl Hal for Registers {
    fn dma_alloc(_: usize, _: BufferDirection) -> (u64, NonNull<u8>) {
        (0, NonNull::dangling())
    }

    unsafe fn dma_dealloc(_: u64, _: NonNull<u8>, _: usize) -> i32 {
        -1
    }

    unsafe fn mmio_phys_to_virt(start: u64, length: usize) -> NonNull<u8> {
        map(start, length).unwrap_or_else(|| {
            log::warn!("cannot map {length:#x} bytes of device registers at {start:#x}");
            boot_stub::fail()
        })
    }

    unsafe fn share(_: NonNull<[u8]>, _: BufferDirection) -> u64 {
        0
    }

    unsafe fn unshare(_: u64, _: NonNull<[u8]>, _: BufferDirection) {}
}
