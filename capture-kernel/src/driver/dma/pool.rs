//! Buffers of the slot for bytes that we copy: written by us alone, then frozen and read by
//! devices.

use super::{DmaBuffer, SlotMemory};
use crate::driver::Error;
use crate::list;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::Cell;
use core::fmt;
use core::ops::{Deref, DerefMut, Range};
use vmcore::PhysRange;

/// A fixed number of buffers of the same size. The memory returns to the heap with the last of the
/// pool's handles, leases and frozen buffers; a leak of a driver keeps it for good.
#[derive(Clone)]
pub struct Pool(Rc<Inner>);

struct Inner {
    memory: DmaBuffer,
    /// Bytes of a buffer.
    size: usize,
    /// For each buffer the number of its leases and frozen parts. It is free at zero.
    uses: Vec<Cell<u32>>,
}

impl Pool {
    /// `count` buffers of `size` bytes each.
    ///
    /// # Errors
    /// [`Error::NoMemory`].
    pub fn new(slot: SlotMemory, count: usize, size: usize) -> Result<Self, Error> {
        let uses = list::filled(count, Cell::new(0))?;
        let length = count.checked_mul(size).ok_or(Error::NoMemory)?;
        Ok(Self(Rc::new(Inner { memory: DmaBuffer::new(slot, length)?, size, uses })))
    }

    /// Bytes of one buffer.
    pub fn size(&self) -> usize {
        self.0.size
    }

    /// A free buffer, if there is one. It still has the bytes of its last user.
    pub fn lease(&self) -> Option<Lease> {
        let index = self.0.uses.iter().position(|uses| uses.get() == 0)?;
        self.0.uses[index].set(1);
        Some(Lease { part: Part { pool: self.0.clone(), index: index as u32 }, start: 0 })
    }

    /// A free buffer. While there is none it calls `wait`, which waits until a device has answered
    /// a request and returns false if no request is in flight.
    ///
    /// # Errors
    /// Those of `wait`; [`Error::NoMemory`] when all buffers are in use and nothing is in flight.
    pub fn lease_or_wait(
        &self,
        mut wait: impl FnMut() -> Result<bool, Error>,
    ) -> Result<Lease, Error> {
        loop {
            if let Some(lease) = self.lease() {
                return Ok(lease);
            }
            if !wait()? {
                return self.lease().ok_or(Error::NoMemory);
            }
        }
    }
}

/// One use of a buffer.
struct Part {
    pool: Rc<Inner>,
    index: u32,
}

impl Part {
    fn uses(&self) -> &Cell<u32> {
        &self.pool.uses[self.index as usize]
    }

    /// True for a use of the same buffer.
    fn is_of(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.pool, &other.pool) && self.index == other.index
    }

    /// The place of bytes of this buffer in the pool's memory.
    fn place(&self, range: Range<usize>) -> Range<usize> {
        assert!(range.start <= range.end && range.end <= self.pool.size, "inside the buffer");
        let start = self.index as usize * self.pool.size;
        start + range.start..start + range.end
    }

    fn pointer(&self, range: Range<usize>) -> *mut u8 {
        let at = self.place(range).start;
        // SAFETY: `place` has checked that it is inside the pool's memory, or at its end.
        unsafe { self.pool.memory.pointer.as_ptr().add(at) }
    }
}

impl Clone for Part {
    fn clone(&self) -> Self {
        // Each use is a value in memory, of which there are fewer.
        self.uses().set(self.uses().get().checked_add(1).expect("fewer than 2^32 uses"));
        Self { pool: self.pool.clone(), index: self.index }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let left = self.uses().get() - 1;
        self.uses().set(left);
        // In tests a device that still reads the buffer sees at once that it may be used again.
        #[cfg(test)]
        if left == 0 {
            // SAFETY: the last use of this buffer is this one, and it ends here.
            unsafe { self.pointer(0..self.pool.size).write_bytes(0xdd, self.pool.size) };
        }
    }
}

/// The bytes of a buffer, or the rest of them after [`Self::cut`]: ours alone to write.
pub struct Lease {
    part: Part,
    /// The first byte that is not frozen.
    start: usize,
}

impl Lease {
    /// Freezes the first `length` bytes, at most all, and gives the rest up.
    pub fn freeze(mut self, length: usize) -> Frozen {
        self.cut(length)
    }

    /// True when the lease begins where `frozen` ends.
    pub fn follows(&self, frozen: &Frozen) -> bool {
        self.part.is_of(&frozen.part) && self.start == frozen.end
    }

    /// Freezes the first `length` bytes, at most all, and keeps the rest.
    pub fn cut(&mut self, length: usize) -> Frozen {
        let start = self.start;
        self.start += length.min(self.len());
        Frozen { part: self.part.clone(), start, end: self.start }
    }
}

impl Deref for Lease {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let range = self.start..self.part.pool.size;
        // SAFETY: inside the pool's memory, which `part` keeps. No other lease has the buffer, and
        // no frozen part of it reaches beyond `start`.
        unsafe { core::slice::from_raw_parts(self.part.pointer(range.clone()), range.len()) }
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut [u8] {
        let range = self.start..self.part.pool.size;
        // SAFETY: as in `deref`; the device has seen frozen parts only.
        unsafe { core::slice::from_raw_parts_mut(self.part.pointer(range.clone()), range.len()) }
    }
}

/// Bytes of a buffer that is not written any more. Its clones are the same bytes; the buffer is
/// free again when the last one is dropped.
#[derive(Clone)]
pub struct Frozen {
    part: Part,
    start: usize,
    end: usize,
}

impl Frozen {
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: inside the pool's memory, which `part` keeps; leases begin after `end`.
        unsafe { core::slice::from_raw_parts(self.part.pointer(self.start..self.end), self.len()) }
    }

    /// Number of bytes.
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// True when there is no byte.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Both as one, if `next` follows directly in the same buffer.
    pub fn joined(&self, next: &Self) -> Option<Self> {
        let follows = self.part.is_of(&next.part) && self.end == next.start;
        follows.then(|| Self { end: next.end, ..self.clone() })
    }

    /// Physical addresses of a part, for a device that has the piece.
    ///
    /// # Panics
    /// The part is not inside.
    pub(crate) fn share(&self, part: Range<usize>) -> PhysRange {
        assert!(part.end <= self.len(), "inside the frozen bytes");
        let place = self.part.place(self.start + part.start..self.start + part.end);
        self.part.pool.memory.part(place.start, place.len())
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lease({}, {}..)", self.part.index, self.start)
    }
}

impl fmt::Debug for Frozen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frozen({}, {}..{})", self.part.index, self.start, self.end)
    }
}
