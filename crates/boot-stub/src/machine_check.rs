//! Machine checks: broken memory or a broken bus, reported by the CPU (Intel manual, volume 3,
//! chapter "Machine-Check Architecture").
//!
//! One that comes during a read of old memory costs the bytes of that read. Another one is passed
//! over if the CPU reports that it may go on, and ends in the failure action if not.

#![expect(unsafe_code, reason = "model-specific registers, and symbols of the assembly")]

use crate::console::{self, println};
use crate::exceptions;
use crate::frame::Frame;
use core::arch::global_asm;
use core::arch::x86::__cpuid;
use core::sync::atomic::{AtomicU32, Ordering};
use x86::controlregs;
use x86::msr::{IA32_MCG_CAP, IA32_MCG_STATUS, rdmsr, wrmsr};

global_asm!(include_str!("../asm/copy.S"), include_str!("../asm/look.S"));

unsafe extern "C" {
    static machine_check_copy: u8;
    static machine_check_copied: u8;
    static machine_check_fixup: u8;
    static machine_check_look: u8;
    static machine_check_looked: u8;
    fn copy_or_machine_check(to: *mut u8, from: *const u8, count: usize) -> usize;
    fn look_or_machine_check(from: *const u8, seen: *mut u32, count: usize) -> usize;
}

/// CPUID.1:EDX: the CPU raises machine checks.
const HAS_EXCEPTION: u32 = 1 << 7;
/// CPUID.1:EDX: it has banks that say why.
const HAS_BANKS: u32 = 1 << 14;
/// `IA32_MCG_STATUS`: the interrupted instruction can go on.
const RESTART_VALID: u64 = 1 << 0;
/// `IA32_MCG_STATUS`: the pushed EIP has to do with the error.
const ERROR_IP_VALID: u64 = 1 << 1;
/// `IA32_MC0_STATUS`, the first of four registers of each bank: control, status, address, misc.
const BANK_STATUS: u32 = 0x401;
/// `IA32_MCi_STATUS`: there is something in the bank.
const VALID: u64 = 1 << 63;
/// `IA32_MCi_STATUS`: the bank's address register holds an address.
const ADDRESS_VALID: u64 = 1 << 58;
/// `IA32_MCi_STATUS`: the state of the CPU is damaged.
const CONTEXT_CORRUPT: u64 = 1 << 57;
/// More machine checks than this are no accident: the same one comes again and again.
const MOST: u32 = 64;

static COUNT: AtomicU32 = AtomicU32::new(0);

/// State of the CPU after a machine check.
struct Cause {
    /// `IA32_MCG_STATUS`.
    global: u64,
    /// True if a bank reports that the state of the CPU is damaged.
    context_corrupt: bool,
}

/// Lets the CPU raise machine checks, if it can. Errors that the banks still hold are reported and
/// cleared: the first kernel may have died of one, and while it is marked as in progress another
/// machine check would shut the CPU down.
pub fn init() {
    let features = __cpuid(1).edx;
    if features & HAS_EXCEPTION == 0 {
        println!("kdump: this CPU raises no machine checks");
        return;
    }
    if features & HAS_BANKS != 0 {
        take_cause();
        exceptions::on_machine_check(handle);
    }
    // SAFETY: the CPU has the bit, the handler is installed; the bit changes nothing else.
    unsafe {
        controlregs::cr4_write(controlregs::cr4() | controlregs::Cr4::CR4_ENABLE_MACHINE_CHECK)
    }
}

/// Number of machine checks that arrived and were survived.
pub fn count() -> u32 {
    COUNT.load(Ordering::Relaxed)
}

/// Copies `count` bytes upwards.
///
/// # Errors
/// Number of bytes that were copied before a machine check came.
///
/// # Safety
/// As for `core::ptr::copy_nonoverlapping`.
pub unsafe fn copy(from: *const u8, to: *mut u8, count: usize) -> Result<(), usize> {
    // SAFETY: the caller vouches for the memory; a machine check is caught by `handle`.
    match unsafe { copy_or_machine_check(to, from, count) } {
        0 => Ok(()),
        left => Err(count - left),
    }
}

/// True if `count` bytes from `from` on are zero: whole lines of 64 bytes, at least one. Each line
/// is read, also after one that is not zero.
///
/// # Errors
/// Number of bytes that were read before a machine check came.
///
/// # Safety
/// The bytes are mapped, and have no other user.
pub unsafe fn is_zero(from: *const u8, count: usize) -> Result<bool, usize> {
    let mut seen = 0;
    // SAFETY: the caller vouches for the memory; a machine check is caught by `handle`.
    match unsafe { look_or_machine_check(from, &raw mut seen, count) } {
        0 => Ok(seen == 0),
        left => Err(count.saturating_sub(left)),
    }
}

/// Prints the contents of every bank, and clears them and the mark of a machine check in progress.
fn take_cause() -> Cause {
    // SAFETY: the CPU has these registers; those of a bank are there for as many banks as it says,
    // the address where the status says so.
    unsafe {
        let global = rdmsr(IA32_MCG_STATUS);
        let mut context_corrupt = false;
        for bank in 0..rdmsr(IA32_MCG_CAP) as u32 & 0xff {
            let at = BANK_STATUS + 4 * bank;
            let status = rdmsr(at);
            if status & VALID == 0 {
                continue;
            }
            let has_address = status & ADDRESS_VALID != 0;
            let address = if has_address { rdmsr(at + 1) } else { 0 };
            println!(
                "kdump: machine check: bank {bank} status={status:#018x} address={address:#x} \
                 mcg_status={global:#x}"
            );
            context_corrupt |= status & CONTEXT_CORRUPT != 0;
            wrmsr(at, 0);
        }
        wrmsr(IA32_MCG_STATUS, 0);
        Cause { global, context_corrupt }
    }
}

/// True if the CPU goes on after a machine check, in a copy or a look at their common way out.
fn handle(frame: &mut Frame) -> bool {
    let symbol = |at: *const u8| at as u32;
    let copy = symbol(&raw const machine_check_copy)..=symbol(&raw const machine_check_copied);
    let look = symbol(&raw const machine_check_look)..=symbol(&raw const machine_check_looked);
    let is_reading = copy.contains(&frame.eip) || look.contains(&frame.eip);
    let cause = take_cause();
    // A machine that is broken may not get any further.
    console::release();
    if cause.context_corrupt || COUNT.fetch_add(1, Ordering::Relaxed) >= MOST {
        return false;
    }
    if is_reading && cause.global & (RESTART_VALID | ERROR_IP_VALID) != 0 {
        frame.eip = symbol(&raw const machine_check_fixup);
        return true;
    }
    let goes_on = cause.global & RESTART_VALID != 0;
    if goes_on {
        println!("kdump: machine check at eip={:#010x}: the CPU may go on, going on", frame.eip);
    }
    goes_on
}
