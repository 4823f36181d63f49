//! Memory as devices see it.
//!
//! The types hold two rules. A device *writes* to a [`DmaBuffer`] only, and those are made of
//! memory of the slot. And no memory that a device may still use is freed or changed: a
//! [`DmaBuffer`] that a device has seen goes back to the heap only with [`Stopped`], and memory
//! that a device only *reads* is a [`DmaPiece`], which holds it: old memory, or a [`Frozen`] buffer
//! that no code can write to.

#![expect(unsafe_code, reason = "memory that a device reads and writes beside us")]

mod piece;
mod pool;

pub use piece::{DmaPiece, Limits, MAX_PIECES, Pieces, ZEROS};
pub use pool::{Frozen, Lease, Pool};

use crate::driver::Error;
use crate::driver::translation::Translation;
use alloc::alloc::{alloc_zeroed, dealloc};
use core::alloc::Layout;
use core::cell::Cell;
use core::ops::Range;
use core::ptr::NonNull;
use vmcore::{PhysAddr, PhysRange};

/// Alignment of every buffer, in bytes.
const ALIGN: usize = 4096;

/// Place of the heap: virtual and physical addresses of the slot's memory, both contiguous.
#[derive(Clone, Copy, Debug)]
pub struct SlotMemory {
    /// Virtual address of the first byte.
    pub address: usize,
    /// Physical address of the first byte.
    pub start: PhysAddr,
    /// Length in bytes.
    pub length: usize,
    /// State of the IOMMUs: devices reach the memory by its physical address only without them.
    pub translation: Translation,
}

impl SlotMemory {
    /// The physical address of `length` bytes at the virtual `address`, if all of them are ours.
    fn physical(&self, address: usize, length: usize) -> Option<PhysRange> {
        let offset = address.checked_sub(self.address)?;
        let end = offset.checked_add(length)?;
        let start = self.start.checked_add(offset as u64)?;
        (end <= self.length).then(|| PhysRange::new(start, length as u64).ok()).flatten()
    }
}

/// Proof that a device does no DMA any more, until its driver starts it again. A driver makes one
/// when its device has confirmed that it is reset or disabled, and for the memory of that device
/// only.
#[derive(Debug)]
pub struct Stopped(());

impl Stopped {
    /// For a driver whose device has just confirmed the reset.
    pub(crate) const fn confirmed() -> Self {
        Self(())
    }
}

/// Memory of the slot that a driver shares with its device: zeroed, page-aligned, contiguous. All
/// access is volatile, because the device may change it at any time.
///
/// Once a device has seen its address, it never returns to the heap, unless [`Self::release`] says
/// that the device is stopped.
#[derive(Debug)]
pub struct DmaBuffer {
    pointer: NonNull<u8>,
    layout: Layout,
    physical: PhysRange,
    /// True when a device may know where it is.
    is_shared: Cell<bool>,
}

impl DmaBuffer {
    /// A buffer of `length` bytes, at least one.
    ///
    /// # Errors
    /// [`Error::NoMemory`].
    pub fn new(slot: SlotMemory, length: usize) -> Result<Self, Error> {
        let layout = Layout::from_size_align(length.max(1), ALIGN).or(Err(Error::NoMemory))?;
        // SAFETY: the layout's size is not zero.
        let pointer = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or(Error::NoMemory)?;
        let is_shared = Cell::new(false);
        match slot.physical(pointer.as_ptr() as usize, layout.size()) {
            Some(physical) => Ok(Self { pointer, layout, physical, is_shared }),
            None => {
                // SAFETY: just allocated with this layout.
                unsafe { dealloc(pointer.as_ptr(), layout) };
                Err(Error::NoMemory)
            }
        }
    }

    /// Length in bytes.
    pub fn length(&self) -> usize {
        self.layout.size()
    }

    /// Physical addresses of a part, for a device.
    pub(crate) fn share(&self, part: Range<usize>) -> PhysRange {
        self.is_shared.set(true);
        self.part(part.start, part.len())
    }

    /// From now on the buffer returns to the heap when it is dropped, because its device is
    /// stopped.
    pub fn release(&mut self, _: &Stopped) {
        self.is_shared.set(false);
    }

    /// Copies the current bytes from `offset` on to `into`: in words of four bytes if `offset` is
    /// aligned, otherwise byte by byte.
    pub fn copy_to(&self, offset: usize, into: &mut [u8]) {
        self.part(offset, into.len());
        let words = if offset.is_multiple_of(4) { into.len() / 4 * 4 } else { 0 };
        let (words, bytes) = into.split_at_mut(words);
        let after = offset + words.len();
        for (at, word) in (offset..).step_by(4).zip(words.as_chunks_mut::<4>().0) {
            *word = self.read::<u32>(at).to_ne_bytes();
        }
        for (at, byte) in (after..).zip(bytes) {
            *byte = self.read(at);
        }
    }

    /// Copies `from` in: words where `offset` is the start of one.
    pub fn copy_from(&mut self, offset: usize, from: &[u8]) {
        self.part(offset, from.len());
        let words = if offset.is_multiple_of(4) { from.len() / 4 * 4 } else { 0 };
        let (words, bytes) = from.split_at(words);
        let after = offset + words.len();
        for (at, word) in (offset..).step_by(4).zip(words.as_chunks::<4>().0) {
            self.write(at, u32::from_ne_bytes(*word));
        }
        for (at, byte) in (after..).zip(bytes) {
            self.write(at, *byte);
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
        // SAFETY: `part` has checked that the offset is in the buffer.
        unsafe { self.pointer.as_ptr().add(offset).cast() }
    }

    /// The physical range of a part.
    ///
    /// # Panics
    /// The part is not inside the buffer: offsets are ours, never a device's.
    fn part(&self, offset: usize, length: usize) -> PhysRange {
        let end = offset.checked_add(length).expect("no offset near the end of memory");
        assert!(end <= self.length(), "inside the buffer");
        let start = PhysAddr::new(self.physical.start().get() + offset as u64);
        PhysRange::new(start, length as u64).expect("inside the slot")
    }
}

impl Drop for DmaBuffer {
    fn drop(&mut self) {
        // A fuzzer's device is gone with its driver, and its memory would run out.
        if self.is_shared.get() && !cfg!(fuzzing) {
            return;
        }
        // SAFETY: allocated with this layout in `new`, and no device knows the address.
        unsafe {
            // In tests a device that still uses the buffer sees at once that it is freed.
            #[cfg(test)]
            self.pointer.as_ptr().write_bytes(0xdd, self.layout.size());
            dealloc(self.pointer.as_ptr(), self.layout);
        }
    }
}

#[cfg(test)]
mod tests;
