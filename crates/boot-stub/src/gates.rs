//! The interrupt descriptor table with the gates of all exceptions.

#![expect(unsafe_code, reason = "descriptor tables")]

use crate::frame::VECTORS;
use crate::segments::CODE_SELECTOR;
use core::cell::UnsafeCell;
use core::ptr;
use x86::dtables::{DescriptorTablePointer, lidt};

#[repr(C, align(8))]
struct Idt(UnsafeCell<[u64; VECTORS]>);
// SAFETY: one CPU writes it, in `exceptions::init` and `double_fault::route`, before other CPUs are
// started.
unsafe impl Sync for Idt {}

static IDT: Idt = Idt(UnsafeCell::new([0; VECTORS]));

/// Sends `vector` to the code at `target`.
pub(crate) fn set_interrupt_gate(vector: usize, target: u32) {
    set(vector, interrupt_gate(target));
}

/// Loads the IDT that `exceptions::init` made: for every other CPU.
pub fn load() {
    load_table(IDT.0.get().cast::<u64>().cast_const(), size_of::<Idt>());
}

/// Loads the table of gates at `base`, `size` bytes long.
pub(crate) fn load_table(base: *const u64, size: usize) {
    let pointer = DescriptorTablePointer { limit: (size - 1) as u16, base };
    // SAFETY: the tables of this crate are static, and every entry is a valid gate into our own
    // text.
    unsafe { lidt(&pointer) }
}

/// The gates of all exceptions, as they are now.
pub(crate) fn exceptions() -> [u64; VECTORS] {
    // SAFETY: it is not written during the read: one CPU, interrupts off.
    unsafe { *IDT.0.get() }
}

/// Loads an IDT without entries, as kexec does before it jumps: from here on any exception and any
/// NMI resets the machine.
pub fn forget() {
    let empty = DescriptorTablePointer::<u64> { limit: 0, base: ptr::null() };
    // SAFETY: a table without entries is not read.
    unsafe { lidt(&empty) }
}

/// A 32-bit interrupt gate, present, ring 0, to `target` in our code segment.
pub(crate) const fn interrupt_gate(target: u32) -> u64 {
    let low = (target & 0xffff) as u64;
    let high = (target >> 16) as u64;
    low | (CODE_SELECTOR as u64) << 16 | 0x8e00 << 32 | high << 48
}

/// Sends `vector` to the task of `selector` instead of to a stub.
pub(crate) fn set_task_gate(vector: usize, selector: u16) {
    set(vector, u64::from(selector) << 16 | 0x8500 << 32);
}

fn set(vector: usize, gate: u64) {
    let table = IDT.0.get();
    // SAFETY: one CPU, interrupts off; what the gate leads to is ready.
    unsafe { (*table)[vector] = gate }
}
