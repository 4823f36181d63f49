//! A heap with a lock, for images that allocate.

#![expect(unsafe_code, reason = "the global allocator, and the memory that it is given")]

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{self, NonNull};
use linked_list_allocator::Heap;
use spin::Mutex;

/// The heap that an image declares as its `#[global_allocator]`. It is empty until
/// [`LockedHeap::init`]. NMIs do not allocate, so that the lock is never contended.
pub struct LockedHeap(Mutex<Counted>);

/// A heap, and the most bytes of it that were ever in use.
struct Counted {
    heap: Heap,
    most: usize,
}

impl LockedHeap {
    /// A heap without memory.
    pub const fn empty() -> Self {
        Self(Mutex::new(Counted { heap: Heap::empty(), most: 0 }))
    }

    /// The most bytes that were in use at a time, and all bytes.
    pub fn most_used(&self) -> (usize, usize) {
        let Counted { heap, most } = &*self.0.lock();
        (*most, heap.size())
    }

    /// Runs `work`. Returns its result, and the most bytes that were in use at a time beyond those
    /// in use before it.
    pub fn most_used_by<T>(&self, work: impl FnOnce() -> T) -> (T, usize) {
        let (used, most) = {
            let Counted { heap, most } = &mut *self.0.lock();
            (heap.used(), core::mem::replace(most, heap.used()))
        };
        let result = work();
        let mut counted = self.0.lock();
        let by_work = counted.most - used;
        counted.most = counted.most.max(most);
        (result, by_work)
    }

    /// Gives the heap its memory: `length` bytes at the virtual address `start`.
    ///
    /// # Safety
    /// The memory has no other user, for ever, and this is the only call.
    pub unsafe fn init(&self, start: *mut u8, length: usize) {
        // SAFETY: as the caller vouches.
        unsafe { self.0.lock().heap.init(start, length) }
    }
}

// SAFETY: `Heap` hands out disjoint, aligned blocks of the memory that it was given.
unsafe impl GlobalAlloc for LockedHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Counted { heap, most } = &mut *self.0.lock();
        let block = heap.allocate_first_fit(layout).map_or(ptr::null_mut(), NonNull::as_ptr);
        *most = heap.used().max(*most);
        block
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if let Some(pointer) = NonNull::new(pointer) {
            // SAFETY: the caller got it from `alloc` with this layout.
            unsafe { self.0.lock().heap.deallocate(pointer, layout) }
        }
    }
}
