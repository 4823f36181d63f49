//! The heap: a static arena, for the ELF core header that the guest builds at boot.

#![expect(unsafe_code, reason = "the memory that the heap is given")]

use boot_stub::heap::LockedHeap;
use core::cell::UnsafeCell;

/// Room for the program headers of a few dozen ranges and CPUs, several times over.
const SIZE: usize = 32 << 10;

#[global_allocator]
static HEAP: LockedHeap = LockedHeap::empty();

#[repr(C, align(16))]
struct Arena(UnsafeCell<[u8; SIZE]>);
// SAFETY: only the heap has a pointer to it.
unsafe impl Sync for Arena {}

static ARENA: Arena = Arena(UnsafeCell::new([0; SIZE]));

/// Gives the heap its memory; to be called once, before anything allocates.
pub(crate) fn start() {
    // SAFETY: the arena is used nowhere else, and `main` calls this once.
    unsafe { HEAP.init(ARENA.0.get().cast(), SIZE) }
}
