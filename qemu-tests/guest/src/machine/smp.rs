//! The start of all CPUs, and what each does until the crash.

#![expect(unsafe_code, reason = "the trampoline, and functions in assembly")]

use crate::machine::cpus::{
    IDLE_CPUS, MAX_CPUS, TIMEOUT_MS, apic_id, enable_local_apic, local_apic, set_ticks_per_ms,
    this_cpu, ticks_per_ms,
};
use crate::machine::role::{self, Role};
use crate::machine::{cpu, death, nmi, stop};
use boot_stub::apic::{Destination, Ipi, LocalApic};
use boot_stub::console::println;
use boot_stub::exceptions::{self, Frame};
use boot_stub::{power, tsc};
use core::arch::global_asm;
use core::ptr::{self, with_exposed_provenance_mut};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Address of the trampoline: a page of low memory, so that the dump needs the backup of it.
const TRAMPOLINE: usize = 0x8000;
/// After INIT, and between two SIPIs: 10 ms and 200 µs. (Intel manual, volume 3, 9.4.4.1)
const INIT_MS: u64 = 10;
const SIPIS_PER_MS: u64 = 5;
/// Time that a CPU that is to crash waits for the guest to be ready for it, in milliseconds.
const BOOT_TIMEOUT_MS: u64 = 60_000;

/// Number of CPUs that there shall be.
static CPUS: AtomicU32 = AtomicU32::new(1);
/// Number of CPUs that have taken a number, besides the first, whose number is 0.
static NUMBERS_GIVEN: AtomicU32 = AtomicU32::new(0);
/// The guest has done all that it does alive.
static MAY_CRASH: AtomicBool = AtomicBool::new(false);
/// Number of the CPUs that are to crash and are about to.
static AT_THE_BRINK: AtomicU32 = AtomicU32::new(0);

global_asm!(
    include_str!("../../asm/trampoline.S"),
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

/// Starts all CPUs but the first and waits until they are where they stay; says which ones are
/// missing.
pub(crate) fn start(cpus: u32) -> Result<(), &'static str> {
    let ticks_per_ms = tsc::calibrate().unwrap_or(tsc::FALLBACK);
    set_ticks_per_ms(ticks_per_ms);
    exceptions::on_nmi(on_nmi);
    if !(1..=MAX_CPUS as u32).contains(&cpus) {
        return Err("cpus=N: there is room for 1 to 32");
    }
    CPUS.store(cpus, Ordering::Relaxed);
    if cpus == 1 {
        return Ok(());
    }
    let apic = local_apic().ok_or("cpus=N: this CPU has no local APIC to start others with")?;
    enable_local_apic(0, apic);
    copy_trampoline();
    wake(apic, ticks_per_ms)?;
    let all_started = || (0..cpus as usize).all(|cpu| apic_id(cpu).is_some());
    tsc::wait(TIMEOUT_MS * ticks_per_ms, || all_started() && are_idle(1));
    for cpu in (0..cpus as usize).filter(|cpu| apic_id(*cpu).is_none()) {
        println!("guest: cpu {cpu} did not start");
    }
    Ok(())
}

/// True if all CPUs from number `first` on that have started and are not to crash are at their
/// place.
fn are_idle(first: usize) -> bool {
    let stays = |cpu: &usize| apic_id(*cpu).is_some() && role::of(*cpu as u32) != Role::Crashes;
    IDLE_CPUS.load(Ordering::Acquire) >= (first..MAX_CPUS).filter(stays).count() as u32
}

/// True if all CPUs that are to crash have come to the point where they do.
fn are_at_the_brink() -> bool {
    let crashes = |cpu: &usize| apic_id(*cpu).is_some() && role::of(*cpu as u32) == Role::Crashes;
    AT_THE_BRINK.load(Ordering::Acquire) >= (0..MAX_CPUS).filter(crashes).count() as u32
}

/// The guest's work is done: lets the CPU with that role crash, and goes to the first CPU's place
/// if it is another one.
pub(crate) fn crash() -> ! {
    MAY_CRASH.store(true, Ordering::Release);
    play(0)
}

/// Actions of `cpu`, which is this one, until it is stopped or crashes.
fn play(cpu: u32) -> ! {
    // SAFETY: these take the number, touch registers only, and never return.
    unsafe {
        match role::of(cpu) {
            Role::Idle => guest_cpu_idle(cpu),
            Role::Spins => guest_cpu_spin(cpu),
            Role::Deaf => stay_in_nmi(),
            Role::Crashes => {
                let may_crash = || MAY_CRASH.load(Ordering::Acquire) && are_idle(0);
                tsc::wait(BOOT_TIMEOUT_MS * ticks_per_ms(), may_crash);
                AT_THE_BRINK.fetch_add(1, Ordering::AcqRel);
                tsc::wait(TIMEOUT_MS * ticks_per_ms(), are_at_the_brink);
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

/// Target of the trampoline, with a stack.
extern "C" fn ap_main(number: u32) -> ! {
    cpu::start(number as usize);
    if let Some(apic) = local_apic() {
        enable_local_apic(number as usize, apic);
    }
    play(number)
}

/// Before a crash, the deaf CPU stays here: no NMI reaches a CPU that has not returned from the
/// last.
fn on_nmi(frame: &Frame) {
    let this = this_cpu();
    if stop::has_begun() {
        stop::take_nmi(this, frame);
    } else if role::of(this as u32) == Role::Deaf {
        // SAFETY: as in `play`.
        unsafe { guest_cpu_idle(this as u32) }
    } else {
        nmi::take(frame);
    }
}
