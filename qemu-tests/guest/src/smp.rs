//! All CPUs: how they start, where they stay, and how they are stopped in a crash.

#![expect(unsafe_code, reason = "the trampoline, and registers of the local APIC")]

use crate::role::{self, Role};
use crate::{cpu, death, nmi, note};
use boot_stub::apic::{self, Destination, Ipi, LocalApic};
use boot_stub::console::println;
use boot_stub::exceptions::{self, Fault, Frame};
use boot_stub::{power, tsc};
use core::arch::global_asm;
use core::ptr::{self, NonNull, with_exposed_provenance_mut};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// As many CPUs as the guest has notes and stacks for.
pub(crate) const MAX_CPUS: usize = 32;
/// Where the trampoline goes: a page of low memory, so that the dump needs the backup of it.
const TRAMPOLINE: usize = 0x8000;
/// After INIT, and between two SIPIs: 10 ms and 200 µs. (Intel manual, volume 3, 9.4.4.1)
const INIT_MS: u64 = 10;
const SIPIS_PER_MS: u64 = 5;
/// How long the CPUs may take to start, and to answer the NMI, in milliseconds.
const PATIENCE_MS: u64 = 1000;
/// How long a CPU that is to crash waits for the guest to be ready for it, in milliseconds.
const BOOT_PATIENCE_MS: u64 = 60_000;
/// No CPU.
const NONE: u32 = u32::MAX;

/// How many CPUs there shall be.
static CPUS: AtomicU32 = AtomicU32::new(1);
/// How many CPUs have taken a number, besides the first, whose number is 0.
static NUMBERS_GIVEN: AtomicU32 = AtomicU32::new(0);
/// How many have arrived where they stay, their registers loaded.
pub(crate) static IDLE_CPUS: AtomicU32 = AtomicU32::new(0);
/// The id of each CPU's local APIC; [`NONE`] until it can take an NMI.
static APIC_IDS: [AtomicU32; MAX_CPUS] = [const { AtomicU32::new(NONE) }; MAX_CPUS];
/// The guest has done all that it does alive.
static MAY_CRASH: AtomicBool = AtomicBool::new(false);
/// Ticks of the TSC in a millisecond.
static TICKS_PER_MS: AtomicU32 = AtomicU32::new(0);
/// How many of the CPUs that are to crash are about to.
static AT_THE_BRINK: AtomicU32 = AtomicU32::new(0);
/// The first CPU that crashes.
static CRASHING: AtomicU32 = AtomicU32::new(NONE);
/// One bit for each CPU whose registers are in its note before the NMI comes.
static SAVED: AtomicU32 = AtomicU32::new(0);
/// One bit for each CPU whose registers are saved and which does nothing any more.
static STOPPED: AtomicU32 = AtomicU32::new(0);

global_asm!(
    include_str!("../asm/trampoline.S"),
    code = const boot_stub::CODE_SELECTOR,
    data = const boot_stub::DATA_SELECTOR,
    stack = const cpu::STACK,
    stacks = sym cpu::STACKS,
    numbers_given = sym NUMBERS_GIVEN,
    cpus = sym CPUS,
    ap_main = sym ap_main,
);

unsafe extern "C" {
    static ap_trampoline: u8;
    static ap_trampoline_end: u8;
    fn guest_cpu_idle(cpu: u32) -> !;
    fn guest_cpu_spin(cpu: u32) -> !;
}

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
fn apic_id(cpu: usize) -> Option<u8> {
    u8::try_from(APIC_IDS[cpu].load(Ordering::Acquire)).ok()
}

/// The number of the CPU that asks.
pub(crate) fn this_cpu() -> usize {
    let id = local_apic().map(LocalApic::id);
    // Without a local APIC there is one CPU.
    (0..MAX_CPUS).find(|cpu| id.is_some() && apic_id(*cpu) == id).unwrap_or(0)
}

/// Starts all CPUs but the first and waits until they are where they stay; says which ones are missing.
pub(crate) fn start(cpus: u32) -> Result<(), &'static str> {
    let ticks_per_ms = tsc::calibrate().unwrap_or(tsc::FALLBACK);
    TICKS_PER_MS.store(u32::try_from(ticks_per_ms).unwrap_or(u32::MAX), Ordering::Relaxed);
    exceptions::on_nmi(on_nmi);
    if !(1..=MAX_CPUS as u32).contains(&cpus) {
        return Err("cpus=N: there is room for 1 to 32");
    }
    CPUS.store(cpus, Ordering::Relaxed);
    if cpus == 1 {
        return Ok(());
    }
    let apic = local_apic().ok_or("cpus=N: this CPU has no local APIC to start others with")?;
    apic.enable();
    APIC_IDS[0].store(apic.id().into(), Ordering::Release);
    copy_trampoline();
    wake(apic, ticks_per_ms)?;
    let all_started = || (0..cpus as usize).all(|cpu| apic_id(cpu).is_some());
    tsc::wait(PATIENCE_MS * ticks_per_ms, || all_started() && are_idle(1));
    for cpu in (0..cpus as usize).filter(|cpu| apic_id(*cpu).is_none()) {
        println!("guest: cpu {cpu} did not start");
    }
    Ok(())
}

/// Whether all CPUs from number `first` on that have started and are not to crash are where they stay.
fn are_idle(first: usize) -> bool {
    let stays = |cpu: &usize| apic_id(*cpu).is_some() && role::of(*cpu as u32) != Role::Crashes;
    IDLE_CPUS.load(Ordering::Acquire) >= (first..MAX_CPUS).filter(stays).count() as u32
}

/// Whether all CPUs that are to crash have come to the point where they do.
fn are_at_the_brink() -> bool {
    let crashes = |cpu: &usize| apic_id(*cpu).is_some() && role::of(*cpu as u32) == Role::Crashes;
    AT_THE_BRINK.load(Ordering::Acquire) >= (0..MAX_CPUS).filter(crashes).count() as u32
}

/// All is done that the guest does alive: lets the CPU crash whose role that is, and goes to where the
/// first CPU stays if it is another one.
pub(crate) fn crash() -> ! {
    MAY_CRASH.store(true, Ordering::Release);
    play(0)
}

/// What `cpu`, which is this one, does until it is stopped or crashes.
fn play(cpu: u32) -> ! {
    // SAFETY: these take the number, touch registers only, and never return.
    unsafe {
        match role::of(cpu) {
            Role::Idle => guest_cpu_idle(cpu),
            Role::Spins => guest_cpu_spin(cpu),
            Role::Deaf => stay_in_nmi(),
            Role::Crashes => {
                let may_crash = || MAY_CRASH.load(Ordering::Acquire) && are_idle(0);
                tsc::wait(BOOT_PATIENCE_MS * ticks_per_ms(), may_crash);
                AT_THE_BRINK.fetch_add(1, Ordering::AcqRel);
                tsc::wait(PATIENCE_MS * ticks_per_ms(), are_at_the_brink);
                death::die(cpu)
            }
        }
    }
}

/// Takes an NMI and does not come back from it.
fn stay_in_nmi() -> ! {
    if let Some(apic) = local_apic() {
        apic.send(Ipi::Nmi, Destination::Id(apic.id()), ticks_per_ms());
    }
    power::halt()
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
extern "C" fn ap_main(number: u32) -> ! {
    cpu::start(number as usize);
    if let Some(apic) = local_apic() {
        apic.enable();
        APIC_IDS[number as usize].store(apic.id().into(), Ordering::Release);
    }
    play(number)
}

/// What became of a CPU's wish to crash.
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

/// Whether `cpu` is the one that crashes.
pub(crate) fn is_crashing(cpu: usize) -> bool {
    CRASHING.load(Ordering::Acquire) == cpu as u32
}

fn has_stopped(cpu: usize) -> bool {
    STOPPED.load(Ordering::Acquire) & 1 << cpu != 0
}

/// Stops all CPUs but `this` by NMI, each with its registers in its note, and says which ones did not
/// answer.
pub(crate) fn stop_others(this: usize) {
    let others = || (0..MAX_CPUS).filter(|cpu| *cpu != this && apic_id(*cpu).is_some());
    if let Some(apic) = local_apic() {
        for id in others().filter_map(apic_id) {
            apic.send(Ipi::Nmi, Destination::Id(id), ticks_per_ms());
        }
    }
    tsc::wait(PATIENCE_MS * ticks_per_ms(), || others().all(has_stopped));
    for cpu in others().filter(|cpu| !has_stopped(*cpu)) {
        println!("guest: cpu {cpu} did not answer");
    }
}

/// In a crash, an NMI is the end of every CPU but the one that crashes. Before one, the deaf CPU stays
/// here: no NMI reaches a CPU that has not returned from the last.
fn on_nmi(frame: &Frame) {
    let (crashing, this) = (CRASHING.load(Ordering::Acquire), this_cpu());
    match crashing {
        NONE if role::of(this as u32) == Role::Deaf => {
            // SAFETY: as in `play`.
            unsafe { guest_cpu_idle(this as u32) }
        }
        NONE => nmi::take(frame),
        _ if is_crashing(this) || has_stopped(this) => (),
        _ => {
            if SAVED.load(Ordering::Acquire) & 1 << this == 0 {
                // SAFETY: this CPU's own number.
                unsafe { note::save(this, &Fault::from(frame)) };
            }
            disable_local_apic();
            STOPPED.fetch_or(1 << this, Ordering::Release);
            power::halt()
        }
    }
}

/// The last that a CPU does which wanted to crash and was not the first, its registers saved: it waits
/// for the first one's NMI. Only in its handler is a CPU safe from another one, which would write to
/// its stack when the dead kernel's memory is to stay as it is.
pub(crate) fn wait_for_stop(cpu: usize) -> ! {
    SAVED.fetch_or(1 << cpu, Ordering::Release);
    power::halt()
}

/// Switches the local APIC of this CPU off.
pub(crate) fn disable_local_apic() {
    if let Some(apic) = local_apic() {
        apic.disable();
    }
}
