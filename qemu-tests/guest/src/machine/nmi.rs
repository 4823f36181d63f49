//! NMIs before a crash: ignored, or the reason for it.

#![expect(unsafe_code, reason = "a loop in assembly, whose name the host looks for in the dump")]

use crate::machine::{cpus, crash};
use boot_stub::console::println;
use boot_stub::exceptions::{Fault, Frame};
use boot_stub::tsc;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Time to wait for an NMI, in milliseconds.
const TIMEOUT_MS: u64 = 10_000;

/// Number of NMIs that have come and were ignored.
static IGNORED: AtomicU32 = AtomicU32::new(0);
/// An NMI is a reason to crash.
static IS_FATAL: AtomicBool = AtomicBool::new(false);

unsafe extern "C" {
    /// Until the TSC passes `high` and `low`, or `ignored` is no longer zero.
    fn guest_wait_for_nmi(low: u32, high: u32, ignored: *const u32);
}

/// Takes an NMI that does not belong to a crash.
pub(crate) fn take(frame: &Frame) {
    if IS_FATAL.load(Ordering::Relaxed) {
        crash::die_of(&Fault::from(frame));
    }
    IGNORED.fetch_add(1, Ordering::Relaxed);
}

/// Waits for one NMI that is ignored.
pub(crate) fn ignore_one() -> Result<(), &'static str> {
    wait();
    match IGNORED.load(Ordering::Relaxed) {
        0 => Err("ignore-nmi: none came"),
        ignored => {
            println!("guest: ignored {ignored} NMI");
            Ok(())
        }
    }
}

/// Waits for the NMI to crash of.
pub(crate) fn die_of_one() -> ! {
    IS_FATAL.store(true, Ordering::Relaxed);
    wait();
    println!("guest: die=nmi: none came");
    boot_stub::fail()
}

fn wait() {
    println!("guest: waits for an NMI");
    let end = tsc::now() + TIMEOUT_MS * cpus::ticks_per_ms();
    // SAFETY: it reads the TSC and a counter.
    unsafe { guest_wait_for_nmi(end as u32, (end >> 32) as u32, IGNORED.as_ptr()) }
}
