//! The crash path: all CPUs still, registers into the notes, then the jump (paper, section 3.3).

#![expect(unsafe_code, reason = "symbols that the host looks up, and the jump out")]

use crate::{io_apic, note, smp};
use boot_stub::console::println;
use core::arch::asm;

/// What the host looks for in the dump, at the address of the symbol.
#[unsafe(no_mangle)]
pub(crate) static GUEST_BANNER: GuestText = GuestText(*b"kdump-rs test guest 0.1\0");

/// NUL-terminated text.
#[repr(transparent)]
pub(crate) struct GuestText([u8; 24]);

impl core::fmt::Display for GuestText {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let text = core::str::from_utf8(&self.0).unwrap_or("?");
        f.write_str(text.trim_end_matches('\0'))
    }
}

/// Dies: stops the other CPUs, switches off what could still interrupt, saves the registers of this
/// very function and jumps to purgatory at `entry`.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn guest_panic(entry: u32) -> ! {
    println!("guest: panic");
    let cpu = smp::stop_others();
    io_apic::mask_all();
    smp::disable_local_apic();
    // SAFETY: this is the CPU, and only the code below writes there.
    let registers = unsafe { note::begin(cpu) };
    // SAFETY: paging is off, segments are flat, and the host has placed purgatory at `entry`. Each
    // call leaves its argument on the stack for us to drop, without touching flags.
    unsafe {
        asm!(
            "push {entry}",
            "push {registers}",
            "push {cpu}",
            "call load_register_pattern",
            "lea esp, [esp + 4]",
            "call {save_registers}",
            "lea esp, [esp + 4]",
            "pop eax",
            "jmp eax",
            entry = in(reg) entry,
            registers = in(reg) registers,
            cpu = in(reg) cpu,
            save_registers = sym note::save_registers,
            options(noreturn),
        )
    }
}
