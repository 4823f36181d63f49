//! The crash path: all CPUs still, registers into the notes, then the jump (paper, section 3.3).

#![expect(unsafe_code, reason = "symbols that the host looks up, and the jump out")]

use crate::machine::stop::{self, Claim};
use crate::machine::{cpus, io_apic, note};
use boot_stub::console::println;
use boot_stub::exceptions::{self, Fault};
use boot_stub::identity;
use core::arch::asm;
use core::sync::atomic::{AtomicU32, Ordering};

/// The text that the host looks for in the dump, at the address of the symbol.
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

/// Purgatory's entry (physical).
static ENTRY: AtomicU32 = AtomicU32::new(0);

/// From now on every exception ends in the crash path, and that leads to purgatory at `entry`
/// (physical).
pub(crate) fn prepare(entry: u32) {
    ENTRY.store(entry, Ordering::Release);
    exceptions::on_fault(die_of);
}

/// Dies: stops the other CPUs, switches off everything that could still interrupt, saves the
/// registers of this very function and jumps to purgatory.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn guest_panic() -> ! {
    let cpu = cpus::this_cpu();
    let claim = stop::claim_crash(cpu);
    quiet(cpu, claim);
    // SAFETY: this is the CPU, and only the code below writes there.
    let registers = unsafe { note::begin(cpu) };
    // SAFETY: each call leaves its argument on the stack for us to drop, without touching flags;
    // the last one, which gets the first value pushed, does not return.
    unsafe {
        asm!(
            "push {cpu}",
            "push {registers}",
            "push {cpu}",
            "call load_register_pattern",
            "lea esp, [esp + 4]",
            "call {save_registers}",
            "lea esp, [esp + 4]",
            "call {leave}",
            registers = in(reg) registers,
            cpu = in(reg) cpu,
            save_registers = sym note::save_registers,
            leave = sym leave,
            options(noreturn),
        )
    }
}

/// Dies of an exception, or of an NMI, with the registers that it came upon. Returns when it
/// happened in the crash path itself, where there is nothing left to do but to say so.
pub(crate) fn die_of(fault: &Fault) {
    let cpu = cpus::this_cpu();
    let claim = stop::claim_crash(cpu);
    if claim == Claim::Again {
        return;
    }
    if claim == Claim::Won {
        let (vector, eip, cr2) = (fault.vector, fault.eip, fault.address);
        let name = exceptions::name(vector);
        println!("guest: exception {vector} ({name}) at eip {eip:#010x} cr2 {cr2:#010x}");
    }
    quiet(cpu, claim);
    // SAFETY: this is the CPU.
    unsafe { note::save(cpu, fault) };
    leave(cpu)
}

/// The CPU that crashes first stops all else, and nothing interrupts it any more.
fn quiet(cpu: usize, claim: Claim) {
    if claim == Claim::Won {
        println!("guest: panic");
        stop::stop_others(cpu);
        io_apic::mask_all();
        cpus::disable_local_apic();
    }
}

/// The end of the crash path, once the registers of `cpu` are saved: the jump, or the halt of a CPU
/// that was not the first to crash.
extern "C" fn leave(cpu: usize) -> ! {
    if !stop::is_crashing(cpu) {
        stop::wait_for_stop(cpu)
    }
    // SAFETY: all of the guest is identity-mapped. Segments are flat, and the host has placed
    // purgatory at its entry.
    unsafe {
        identity::off();
        exceptions::forget();
        // Known flags, as kexec leaves them: a double fault's task runs with NT set.
        asm!(
            "push 2",
            "popfd",
            "jmp {entry}",
            entry = in(reg) ENTRY.load(Ordering::Acquire),
            options(noreturn),
        )
    }
}
