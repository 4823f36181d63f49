//! The kernel's watchdog of CPUs (Linux, `kernel/watchdog.c`).

use crate::Kernel;

/// Bit of the flags register: interrupts are on.
pub(super) const INTERRUPTS: u64 = 1 << 9;
/// The watchdog's seconds have 2^30 nanoseconds.
const SECOND_BITS: u32 = 30;

/// Nanoseconds from the last time that a thread of the watchdog ran on the CPU to `now`, by the
/// scheduler's clock. [`None`] if the watchdog does not run there.
pub(super) fn since(kernel: &Kernel<'_>, cpu: u32, now: u64) -> Option<u64> {
    let at = kernel.symbol("watchdog_touch_ts").ok()?;
    let touched = kernel.word(kernel.per_cpu_at(at, cpu).ok()?).ok()?;
    let since = (now >> SECOND_BITS).checked_sub(touched).filter(|_| touched > 0)?;
    since.checked_mul(1 << SECOND_BITS)
}

/// Seconds after which the kernel reports a soft lock-up: twice the limit of a hard one.
pub(super) fn limit(kernel: &Kernel<'_>) -> Option<u64> {
    let limit = kernel.number(kernel.symbol("watchdog_thresh").ok()?, 4).ok()?;
    limit.checked_mul(2).filter(|limit| *limit > 0)
}
