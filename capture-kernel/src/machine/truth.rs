//! Two places where the harness stops the machine to take the ground truth: breakpoints are set on
//! these symbols. They do nothing.

#![expect(unsafe_code, reason = "symbols that a debugger looks up")]

use core::arch::asm;

/// Devices are quiet and old memory has not been read yet. The harness takes the digests T1 here.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn kdump_truth_quiesced() {
    // The two functions differ, or the linker would make them one.
    // SAFETY: does nothing.
    unsafe { asm!("nop /* T1 */", options(nomem, nostack, preserves_flags)) }
}

/// The capture is over, with or without a dump; the final or failure action comes next. The harness
/// takes the digests T2 here.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn kdump_truth_final() {
    // SAFETY: does nothing.
    unsafe { asm!("nop /* T2 */", "nop", options(nomem, nostack, preserves_flags)) }
}
