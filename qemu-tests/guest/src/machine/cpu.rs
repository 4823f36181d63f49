//! Parts that each CPU runs on: a stack with a guard page below it, the page tables, the IDT, and a
//! task for double faults.

#![expect(unsafe_code, reason = "stacks, page tables and descriptor tables")]

use crate::machine::cpus::MAX_CPUS;
use boot_stub::double_fault::{self, Tables};
use boot_stub::exceptions;
use boot_stub::identity::{IdentityMap, Window};
use core::arch::asm;
use core::cell::UnsafeCell;

/// Size of a CPU's stack in bytes; its lowest page is absent from the page tables.
pub(crate) const STACK: usize = 32 << 10;
/// Absent too, so that a null pointer faults.
const FIRST_PAGE: usize = 0;

#[repr(C, align(4096))]
pub(crate) struct Stacks(UnsafeCell<[[u8; STACK]; MAX_CPUS]>);
// SAFETY: each CPU uses the one of its number.
unsafe impl Sync for Stacks {}

/// The stacks, in the order of the CPUs' numbers.
pub(crate) static STACKS: Stacks = Stacks(UnsafeCell::new([[0; STACK]; MAX_CPUS]));
static MAP: IdentityMap = IdentityMap::new();
static DOUBLE_FAULTS: [Tables; MAX_CPUS] = [const { Tables::new() }; MAX_CPUS];

/// Goes on in `next` on the first CPU's own stack.
pub(crate) fn leave_boot_stack(next: extern "C" fn(u32, u32) -> !, first: u32, second: u32) -> ! {
    let top = STACKS.0.get() as usize + STACK;
    // SAFETY: this stack has no other user, and nothing returns to the old one.
    unsafe {
        asm!(
            "mov esp, {top}",
            "push {second}",
            "push {first}",
            "call {next}",
            top = in(reg) top,
            first = in(reg) first,
            second = in(reg) second,
            next = in(reg) next,
            options(noreturn),
        )
    }
}

/// Sets the first CPU up. To be called once, on its own stack, before the others start.
pub(crate) fn start_first() -> Window {
    exceptions::init();
    let stacks = STACKS.0.get() as usize;
    let guards = (0..MAX_CPUS).map(|cpu| stacks + cpu * STACK);
    // SAFETY: called once, with paging off and one CPU; nothing in use is at zero or in a guard
    // page.
    let window = unsafe { MAP.build(guards.chain([FIRST_PAGE])) };
    double_fault::route();
    load(0);
    window
}

/// Sets another CPU up.
pub(crate) fn start(cpu: usize) {
    exceptions::load();
    load(cpu);
}

fn load(cpu: usize) {
    // SAFETY: `start_first` has built the tables, and all memory in use is in them; the CPU's
    // number is its own.
    unsafe {
        MAP.load();
        DOUBLE_FAULTS[cpu].load();
    }
}
