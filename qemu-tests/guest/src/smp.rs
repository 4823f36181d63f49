//! All CPUs: how they start, where they stay, and how they are stopped in a crash.

#![expect(unsafe_code, reason = "the trampoline, and registers of the local APIC")]

use crate::note;
use boot_stub::apic::{self, Destination, Ipi, LocalApic};
use boot_stub::console::println;
use boot_stub::exceptions::{self, Frame};
use boot_stub::{power, tsc};
use core::arch::global_asm;
use core::cell::UnsafeCell;
use core::ptr::{self, NonNull, with_exposed_provenance_mut};
use core::sync::atomic::{AtomicU32, Ordering};

/// As many CPUs as the guest has notes and stacks for.
pub(crate) const MAX_CPUS: usize = 32;
/// Where the trampoline goes: a page of low memory, so that the dump needs the backup of it.
const TRAMPOLINE: usize = 0x8000;
/// Stack of each CPU but the first, in bytes: this power of two.
const STACK_SHIFT: usize = 12;
/// After INIT, and between two SIPIs: 10 ms and 200 µs. (Intel manual, volume 3, 9.4.4.1)
const INIT_MS: u64 = 10;
const SIPIS_PER_MS: u64 = 5;
/// How long the CPUs may take to start, and to answer the NMI, in milliseconds.
const PATIENCE_MS: u64 = 1000;
/// No CPU.
const NONE: u32 = u32::MAX;

#[repr(C, align(4096))]
struct Stacks(UnsafeCell<[[u8; 1 << STACK_SHIFT]; MAX_CPUS]>);
// SAFETY: each CPU uses the one of its number.
unsafe impl Sync for Stacks {}

static STACKS: Stacks = Stacks(UnsafeCell::new([[0; 1 << STACK_SHIFT]; MAX_CPUS]));
/// How many CPUs there shall be.
static CPUS: AtomicU32 = AtomicU32::new(1);
/// How many CPUs have taken a number, besides the first, whose number is 0.
static NUMBERS_GIVEN: AtomicU32 = AtomicU32::new(0);
/// How many have arrived in `guest_cpu_idle`, their registers loaded.
static IDLE_CPUS: AtomicU32 = AtomicU32::new(0);
/// The id of each CPU's local APIC; [`NONE`] until it can take an NMI.
static APIC_IDS: [AtomicU32; MAX_CPUS] = [const { AtomicU32::new(NONE) }; MAX_CPUS];
/// The CPU that is to answer no NMI.
static DEAF: AtomicU32 = AtomicU32::new(NONE);
/// Ticks of the TSC in a millisecond.
static TICKS_PER_MS: AtomicU32 = AtomicU32::new(0);
/// The CPU that crashes.
static CRASHING: AtomicU32 = AtomicU32::new(NONE);
/// One bit for each CPU that has answered the NMI.
static STOPPED: AtomicU32 = AtomicU32::new(0);

global_asm!(
    include_str!("../asm/trampoline.S"),
    code = const boot_stub::CODE_SELECTOR,
    data = const boot_stub::DATA_SELECTOR,
    stack_shift = const STACK_SHIFT,
    stacks = sym STACKS,
    numbers_given = sym NUMBERS_GIVEN,
    cpus = sym CPUS,
    ap_main = sym ap_main,
);
global_asm!(include_str!("../asm/registers.S"), idle_cpus = sym IDLE_CPUS);

unsafe extern "C" {
    static ap_trampoline: u8;
    static ap_trampoline_end: u8;
    fn guest_cpu_idle(cpu: u32) -> !;
}

fn ticks_per_ms() -> u64 {
    TICKS_PER_MS.load(Ordering::Relaxed).into()
}

/// The local APIC of the CPU that asks. [`None`] where there is none.
fn local_apic() -> Option<LocalApic> {
    let base = usize::try_from(apic::base()?).ok()?;
    let registers = NonNull::new(with_exposed_provenance_mut(base))?;
    // SAFETY: paging is off, so the registers are where they say.
    Some(unsafe { LocalApic::new(registers) })
}

/// The id of a CPU's local APIC, if the CPU can take an NMI.
fn apic_id(cpu: usize) -> Option<u8> {
    u8::try_from(APIC_IDS[cpu].load(Ordering::Acquire)).ok()
}

/// The number of the CPU that asks.
fn this_cpu() -> usize {
    let id = local_apic().map(LocalApic::id);
    // Without a local APIC there is one CPU.
    (0..MAX_CPUS).find(|cpu| id.is_some() && apic_id(*cpu) == id).unwrap_or(0)
}

/// Starts all CPUs but the first and waits until they are idle; says which ones are missing. The one
/// called `deaf` will not answer NMIs.
pub(crate) fn start(cpus: u32, deaf: Option<u32>) -> Result<(), &'static str> {
    let ticks_per_ms = tsc::calibrate().unwrap_or(tsc::FALLBACK);
    TICKS_PER_MS.store(u32::try_from(ticks_per_ms).unwrap_or(u32::MAX), Ordering::Relaxed);
    exceptions::on_nmi(nmi);
    if !(1..=MAX_CPUS as u32).contains(&cpus) {
        return Err("cpus=N: there is room for 1 to 32");
    }
    CPUS.store(cpus, Ordering::Relaxed);
    DEAF.store(deaf.unwrap_or(NONE), Ordering::Relaxed);
    if cpus == 1 {
        return Ok(());
    }
    let apic = local_apic().ok_or("cpus=N: this CPU has no local APIC to start others with")?;
    apic.enable();
    APIC_IDS[0].store(apic.id().into(), Ordering::Release);
    copy_trampoline();
    wake(apic, ticks_per_ms)?;
    let idle = || IDLE_CPUS.load(Ordering::Acquire);
    tsc::wait(PATIENCE_MS * ticks_per_ms, || idle() == cpus - 1);
    for cpu in (0..cpus as usize).filter(|cpu| apic_id(*cpu).is_none()) {
        println!("guest: cpu {cpu} did not start");
    }
    Ok(())
}

fn copy_trampoline() {
    let (from, end) = (&raw const ap_trampoline, &raw const ap_trampoline_end);
    let length = end as usize - from as usize;
    // SAFETY: the page is RAM that firmware and boot loader leave alone; nothing of ours is there.
    unsafe { ptr::copy_nonoverlapping(from, with_exposed_provenance_mut(TRAMPOLINE), length) }
}

/// INIT, then SIPI twice, to all other CPUs.
fn wake(apic: LocalApic, ticks_per_ms: u64) -> Result<(), &'static str> {
    let startup = Ipi::Startup((TRAMPOLINE >> 12) as u8);
    let pause = |ticks| tsc::wait(ticks, || false);
    let send = |what| match apic.send(what, Destination::AllOthers, ticks_per_ms) {
        true => Ok(()),
        false => Err("the local APIC does not send"),
    };
    send(Ipi::Init)?;
    pause(INIT_MS * ticks_per_ms);
    send(startup)?;
    pause(ticks_per_ms / SIPIS_PER_MS);
    send(startup)
}

/// Where the trampoline leads to, with a stack.
extern "C" fn ap_main(cpu: u32) -> ! {
    exceptions::load();
    if let Some(apic) = local_apic() {
        apic.enable();
        APIC_IDS[cpu as usize].store(apic.id().into(), Ordering::Release);
        if DEAF.load(Ordering::Relaxed) == cpu {
            apic.send(Ipi::Nmi, Destination::Id(apic.id()), ticks_per_ms());
            power::halt()
        }
    }
    // SAFETY: it takes the number, touches registers only, and never returns.
    unsafe { guest_cpu_idle(cpu) }
}

/// Stops all other CPUs by NMI, each with its registers in its note, and says which ones did not
/// answer. Returns the number of the CPU that asks.
pub(crate) fn stop_others() -> usize {
    let this = this_cpu();
    CRASHING.store(this as u32, Ordering::Release);
    let others = || (0..MAX_CPUS).filter(|cpu| *cpu != this && apic_id(*cpu).is_some());
    if let Some(apic) = local_apic() {
        for id in others().filter_map(apic_id) {
            apic.send(Ipi::Nmi, Destination::Id(id), ticks_per_ms());
        }
    }
    let has_stopped = |cpu: usize| STOPPED.load(Ordering::Acquire) & 1 << cpu != 0;
    tsc::wait(PATIENCE_MS * ticks_per_ms(), || others().all(has_stopped));
    for cpu in others().filter(|cpu| !has_stopped(*cpu)) {
        println!("guest: cpu {cpu} did not answer");
    }
    this
}

/// In a crash, the last that a CPU does: registers into its note, local APIC off, sleep. Before one,
/// the deaf CPU stays here: no NMI reaches a CPU that has not returned from the last.
fn nmi(frame: &Frame) {
    let (crashing, this) = (CRASHING.load(Ordering::Acquire), this_cpu());
    if crashing == NONE && DEAF.load(Ordering::Relaxed) == this as u32 {
        // SAFETY: as in `ap_main`.
        unsafe { guest_cpu_idle(this as u32) }
    }
    if crashing == NONE || crashing == this as u32 {
        return;
    }
    // SAFETY: this CPU's own number, in the handler that was given the frame.
    unsafe { note::save(this, frame) };
    disable_local_apic();
    STOPPED.fetch_or(1 << this, Ordering::Release);
    power::halt()
}

/// Switches the local APIC of this CPU off.
pub(crate) fn disable_local_apic() {
    if let Some(apic) = local_apic() {
        apic.disable();
    }
}
