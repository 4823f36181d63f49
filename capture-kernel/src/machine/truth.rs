//! Two places where the harness stops the machine to take the ground truth: breakpoints are set on
//! these symbols. They do nothing.

#![expect(unsafe_code, reason = "symbols that a debugger looks up")]

use core::arch::asm;

/// Devices are quiet and old memory has not been read yet (T1).
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn kdump_truth_quiesced() {
    // The two functions differ, or the linker would make them one.
    // SAFETY: does nothing.
    unsafe { asm!("nop /* T1 */", options(nomem, nostack, preserves_flags)) }
}

/// Everything is sent and the final action comes next (T2).
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn kdump_truth_final() {
    // SAFETY: does nothing.
    unsafe { asm!("nop /* T2 */", "nop", options(nomem, nostack, preserves_flags)) }
}
