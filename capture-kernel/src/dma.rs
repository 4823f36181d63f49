//! Memory as devices see it.
//!
//! The types hold the rule: what a device may *read* is old memory or memory of the slot; what a
//! device may *write* is a [`DmaBuffer`], and those are made of memory of the slot only.

#![expect(unsafe_code, reason = "memory that a device reads and writes beside us")]

use crate::Failure;
use alloc::alloc::{alloc_zeroed, dealloc};
use core::alloc::Layout;
use core::ptr::NonNull;
use vmcore::{PhysAddr, PhysRange};

/// Alignment of every buffer, in bytes.
const ALIGN: usize = 4096;

/// Where the heap lies: virtual and physical addresses of the slot's memory, both contiguous.
#[derive(Clone, Copy, Debug)]
pub struct SlotMemory {
    /// Virtual address of the first byte.
    pub address: usize,
    /// Physical address of the first byte.
    pub start: PhysAddr,
    /// Length in bytes.
    pub length: usize,
}

impl SlotMemory {
    /// The physical address of `length` bytes at the virtual `address`, if all of them are ours.
    fn physical(&self, address: usize, length: usize) -> Option<PhysRange> {
        let offset = address.checked_sub(self.address)?;
        let end = offset.checked_add(length)?;
        let start = self.start.checked_add(offset as u64)?;
        (end <= self.length).then(|| PhysRange::new(start, length as u64).ok()).flatten()
    }

    /// Bytes of the heap, for a device to read. They must stay as they are until it has done so.
    pub fn readable(&self, bytes: &[u8]) -> Option<Readable> {
        self.physical(bytes.as_ptr() as usize, bytes.len()).map(Readable)
    }
}

/// Memory that a device may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readable(PhysRange);

impl Readable {
    /// Old memory: read by the device from where the dead kernel left it.
    pub const fn old(range: PhysRange) -> Self {
        Self(range)
    }

    /// The physical addresses.
    pub const fn range(self) -> PhysRange {
        self.0
    }

    /// Length in bytes.
    pub const fn length(self) -> u64 {
        self.0.length()
    }

    /// The first `at` bytes and the rest. `at` is at most the length.
    pub fn split(self, at: u64) -> (Self, Self) {
        let middle = PhysAddr::new(self.0.start().get() + at.min(self.length()));
        let part = |from, to| {
            Self(PhysRange::from_bounds(from, to).expect("the middle lies between the ends"))
        };
        (part(self.0.start(), middle), part(middle, self.0.end()))
    }
}

/// Memory that a device may write. Only a [`DmaBuffer`] makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Writable(PhysRange);

impl Writable {
    /// The physical addresses.
    pub const fn range(self) -> PhysRange {
        self.0
    }
}

/// Memory of the slot that a device shares with us: zeroed, page-aligned, contiguous. All access is
/// volatile, because the device may change it at any time.
#[derive(Debug)]
pub struct DmaBuffer {
    pointer: NonNull<u8>,
    layout: Layout,
    physical: PhysRange,
}

impl DmaBuffer {
    /// A buffer of `length` bytes, at least one.
    ///
    /// # Errors
    /// [`Failure::NoMemory`].
    pub fn new(slot: SlotMemory, length: usize) -> Result<Self, Failure> {
        let layout = Layout::from_size_align(length.max(1), ALIGN).or(Err(Failure::NoMemory))?;
        // SAFETY: the layout's size is not zero.
        let pointer = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or(Failure::NoMemory)?;
        match slot.physical(pointer.as_ptr() as usize, layout.size()) {
            Some(physical) => Ok(Self { pointer, layout, physical }),
            None => {
                // SAFETY: just allocated with this layout.
                unsafe { dealloc(pointer.as_ptr(), layout) };
                Err(Failure::NoMemory)
            }
        }
    }

    /// Length in bytes.
    pub fn length(&self) -> usize {
        self.layout.size()
    }

    /// Physical address of the byte at `offset`.
    pub fn physical(&self, offset: usize) -> PhysAddr {
        self.part(offset, 0).start()
    }

    /// `length` bytes from `offset` on, for a device to read.
    pub fn readable(&self, offset: usize, length: usize) -> Readable {
        Readable(self.part(offset, length))
    }

    /// `length` bytes from `offset` on, for a device to write.
    pub fn writable(&mut self, offset: usize, length: usize) -> Writable {
        Writable(self.part(offset, length))
    }

    /// Copies out what is there now.
    pub fn copy_to(&self, offset: usize, into: &mut [u8]) {
        self.part(offset, into.len());
        for (index, byte) in into.iter_mut().enumerate() {
            *byte = self.read(offset + index);
        }
    }

    /// Copies `from` in.
    pub fn copy_from(&mut self, offset: usize, from: &[u8]) {
        self.part(offset, from.len());
        for (index, byte) in from.iter().enumerate() {
            self.write(offset + index, *byte);
        }
    }

    /// Reads a value at `offset`, which is a multiple of its alignment.
    pub fn read<T: zerocopy::FromBytes>(&self, offset: usize) -> T {
        let at = self.element::<T>(offset);
        // SAFETY: in bounds and aligned by `element`; any bytes are a `T`.
        unsafe { at.read_volatile() }
    }

    /// Writes a value at `offset`, which is a multiple of its alignment.
    pub fn write<T: zerocopy::IntoBytes>(&mut self, offset: usize, value: T) {
        let at = self.element::<T>(offset);
        // SAFETY: in bounds and aligned by `element`.
        unsafe { at.write_volatile(value) }
    }

    fn element<T>(&self, offset: usize) -> *mut T {
        self.part(offset, size_of::<T>());
        assert!(offset.is_multiple_of(align_of::<T>()) && align_of::<T>() <= ALIGN);
        // SAFETY: `part` has checked that the offset lies in the buffer.
        unsafe { self.pointer.as_ptr().add(offset).cast() }
    }

    /// The physical range of a part.
    ///
    /// # Panics
    /// When it is not inside the buffer: offsets are ours, never a device's.
    fn part(&self, offset: usize, length: usize) -> PhysRange {
        let end = offset.checked_add(length).expect("no offset near the end of memory");
        assert!(end <= self.length(), "inside the buffer");
        let start = PhysAddr::new(self.physical.start().get() + offset as u64);
        PhysRange::new(start, length as u64).expect("inside the slot")
    }
}

impl Drop for DmaBuffer {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout in `new`.
        unsafe {
            // In tests a device that still uses the buffer sees at once that it is freed.
            #[cfg(test)]
            self.pointer.as_ptr().write_bytes(0xdd, self.layout.size());
            dealloc(self.pointer.as_ptr(), self.layout);
        }
    }
}
