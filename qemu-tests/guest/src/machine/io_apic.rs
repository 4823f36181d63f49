//! The I/O APIC: no more interrupts from devices.

#![expect(unsafe_code, reason = "memory-mapped registers")]

use core::ptr::with_exposed_provenance_mut;

/// Address of a PC's first I/O APIC (physical).
const BASE: usize = 0xfec0_0000;
/// Offsets in bytes: which register, and its value.
const SELECT: usize = 0x00;
const WINDOW: usize = 0x10;
const VERSION: u32 = 1;
/// The low half of the first input's entry; each takes two registers.
const FIRST_ENTRY: u32 = 0x10;
const MASKED: u32 = 1 << 16;

/// Masks every input. (82093AA, section 3.2)
pub(crate) fn mask_all() {
    let last = access(VERSION, |_| None) >> 16 & 0xff;
    for entry in 0..=last {
        access(FIRST_ENTRY + 2 * entry, |value| Some(value | MASKED));
    }
}

/// Reads a register, and writes back the result of `change`.
fn access(register: u32, change: impl Fn(u32) -> Option<u32>) -> u32 {
    let at = |offset| with_exposed_provenance_mut::<u32>(BASE + offset);
    // SAFETY: identity-mapped; the I/O APIC's registers are there, or nothing that is ours.
    unsafe {
        at(SELECT).write_volatile(register);
        let value = at(WINDOW).read_volatile();
        if let Some(value) = change(value) {
            at(WINDOW).write_volatile(value);
        }
        value
    }
}
