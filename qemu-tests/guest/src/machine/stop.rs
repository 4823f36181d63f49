//! The stop of all CPUs but the one that crashes.

#![expect(unsafe_code, reason = "a note belongs to its CPU")]

use crate::machine::cpus::{
    MAX_CPUS, TIMEOUT_MS, apic_id, disable_local_apic, local_apic, ticks_per_ms,
};
use crate::machine::note;
use boot_stub::apic::{Destination, Ipi};
use boot_stub::console::println;
use boot_stub::exceptions::{Fault, Frame};
use boot_stub::{power, tsc};
use core::sync::atomic::{AtomicU32, Ordering};

/// No CPU.
const NONE: u32 = u32::MAX;

/// The first CPU that crashes.
static CRASHING: AtomicU32 = AtomicU32::new(NONE);
/// One bit for each CPU whose registers are in its note before the NMI comes.
static SAVED: AtomicU32 = AtomicU32::new(0);
/// One bit for each CPU whose registers are saved and which does nothing any more.
static STOPPED: AtomicU32 = AtomicU32::new(0);

/// Outcome of a CPU's wish to crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// It is the first, and takes all others down.
    Won,
    /// Another was first: it is stopped like any other.
    Lost,
    /// It is crashing already.
    Again,
}

/// Makes `cpu`, which is this one, the one that crashes, if it is the first.
pub(crate) fn claim_crash(cpu: usize) -> Claim {
    let cpu = cpu as u32;
    match CRASHING.compare_exchange(NONE, cpu, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => Claim::Won,
        Err(first) if first == cpu => Claim::Again,
        Err(_) => Claim::Lost,
    }
}

/// True if `cpu` is the one that crashes.
pub(crate) fn is_crashing(cpu: usize) -> bool {
    CRASHING.load(Ordering::Acquire) == cpu as u32
}

fn has_stopped(cpu: usize) -> bool {
    STOPPED.load(Ordering::Acquire) & 1 << cpu != 0
}

/// Stops all CPUs but `this` by NMI, each with its registers in its note, and says which ones did
/// not answer.
pub(crate) fn stop_others(this: usize) {
    let others = || (0..MAX_CPUS).filter(|cpu| *cpu != this && apic_id(*cpu).is_some());
    if let Some(apic) = local_apic() {
        for id in others().filter_map(apic_id) {
            apic.send(Ipi::Nmi, Destination::Id(id), ticks_per_ms());
        }
    }
    tsc::wait(TIMEOUT_MS * ticks_per_ms(), || others().all(has_stopped));
    for cpu in others().filter(|cpu| !has_stopped(*cpu)) {
        println!("guest: cpu {cpu} did not answer");
    }
}

/// True if some CPU crashes.
pub(crate) fn has_begun() -> bool {
    CRASHING.load(Ordering::Acquire) != NONE
}

/// Takes an NMI in a crash, on `this` CPU: the end of every CPU but the one that crashes.
pub(crate) fn take_nmi(this: usize, frame: &Frame) {
    if is_crashing(this) || has_stopped(this) {
        return;
    }
    if SAVED.load(Ordering::Acquire) & 1 << this == 0 {
        // SAFETY: this CPU's own number.
        unsafe { note::save(this, &Fault::from(frame)) };
    }
    disable_local_apic();
    STOPPED.fetch_or(1 << this, Ordering::Release);
    power::halt()
}

/// The last that a CPU does which wanted to crash and was not the first, its registers saved: it
/// waits for the first one's NMI. Only in its handler is a CPU safe from another one, which would
/// write to its stack when the dead kernel's memory is to stay as it is.
pub(crate) fn wait_for_stop(cpu: usize) -> ! {
    SAVED.fetch_or(1 << cpu, Ordering::Release);
    power::halt()
}
