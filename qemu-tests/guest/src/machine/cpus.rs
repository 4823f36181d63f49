//! The CPUs: their numbers, their local APICs, and the ticks of their time stamp counters.

#![expect(unsafe_code, reason = "registers of the local APIC")]

use boot_stub::apic::{self, LocalApic};
use core::ptr::{NonNull, with_exposed_provenance_mut};
use core::sync::atomic::{AtomicU32, Ordering};

/// As many CPUs as the guest has notes and stacks for.
pub(crate) const MAX_CPUS: usize = 32;
/// Time for the CPUs to start, and to answer the NMI, in milliseconds.
pub(crate) const TIMEOUT_MS: u64 = 1000;
/// No CPU.
const NONE: u32 = u32::MAX;

/// Number of CPUs that have arrived at their place, their registers loaded.
pub(crate) static IDLE_CPUS: AtomicU32 = AtomicU32::new(0);
/// The id of each CPU's local APIC; [`NONE`] until it can take an NMI.
static APIC_IDS: [AtomicU32; MAX_CPUS] = [const { AtomicU32::new(NONE) }; MAX_CPUS];
/// Ticks of the TSC in a millisecond.
static TICKS_PER_MS: AtomicU32 = AtomicU32::new(0);

/// Ticks of the TSC in a millisecond.
pub(crate) fn ticks_per_ms() -> u64 {
    TICKS_PER_MS.load(Ordering::Relaxed).into()
}

/// The local APIC of the CPU that asks. [`None`] where there is none.
pub(crate) fn local_apic() -> Option<LocalApic> {
    let base = usize::try_from(apic::base()?).ok()?;
    let registers = NonNull::new(with_exposed_provenance_mut(base))?;
    // SAFETY: the page tables, where there are any, have every address map to itself.
    Some(unsafe { LocalApic::new(registers) })
}

/// The id of a CPU's local APIC, if the CPU can take an NMI.
pub(crate) fn apic_id(cpu: usize) -> Option<u8> {
    u8::try_from(APIC_IDS[cpu].load(Ordering::Acquire)).ok()
}

/// The number of the CPU that asks.
pub(crate) fn this_cpu() -> usize {
    let id = local_apic().map(LocalApic::id);
    // Without a local APIC there is one CPU.
    (0..MAX_CPUS).find(|cpu| id.is_some() && apic_id(*cpu) == id).unwrap_or(0)
}

/// Sets the ticks of the TSC in a millisecond.
pub(crate) fn set_ticks_per_ms(ticks: u64) {
    TICKS_PER_MS.store(u32::try_from(ticks).unwrap_or(u32::MAX), Ordering::Relaxed);
}

/// Switches the local APIC of this CPU, which is `cpu`, on: from here on it can take an NMI.
pub(crate) fn enable_local_apic(cpu: usize, apic: LocalApic) {
    apic.enable();
    APIC_IDS[cpu].store(apic.id().into(), Ordering::Release);
}

/// Switches the local APIC of this CPU off.
pub(crate) fn disable_local_apic() {
    if let Some(apic) = local_apic() {
        apic.disable();
    }
}
