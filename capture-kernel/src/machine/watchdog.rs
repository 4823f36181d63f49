//! The watchdog: the failure action for a capture kernel that hangs. Every wait has a deadline of
//! its own; the watchdog covers unforeseen hangs.
//!
//! The local APIC's timer interrupts a few times a second, at any point of the kernel. Nothing else
//! does: interrupts of the dead kernel's devices are masked, or held back by their priority.

use crate::machine::progress::{Sign, sign};
use crate::machine::registers;
use crate::machine::time::Tsc;
use boot_stub::apic::{self, LocalApic, X2Apic};
use boot_stub::console::{self, println};
use boot_stub::exceptions::Frame;
use boot_stub::interrupts::{self, SPURIOUS, TIMER};
use capture_kernel::local_apic::{self, Absent, Access, Timer};
use capture_kernel::watch::{self, Watch};
use log::{info, warn};
use spin::{Mutex, Once};

/// Time for which the timer is measured, in milliseconds: QEMU counts some 7,800 in one.
const MEASURED: u64 = 1;
/// The registers that are used, in bytes from the first.
const REGISTERS: usize = 0x400;

static DOG: Once<Dog> = Once::new();

struct Dog {
    timer: Timer<Registers>,
    /// Seconds.
    limit: u32,
    /// Only the interrupt handler uses it after the start.
    watch: Mutex<Watch<Sign>>,
}

/// The local APIC's registers.
enum Registers {
    Memory(LocalApic),
    Msr(X2Apic),
}

impl local_apic::Registers for Registers {
    fn read(&self, offset: usize) -> u32 {
        match self {
            Self::Memory(apic) => apic.read(offset),
            Self::Msr(apic) => apic.read(offset),
        }
    }

    fn write(&self, offset: usize, value: u32) {
        match self {
            Self::Memory(apic) => apic.write(offset, value),
            Self::Msr(apic) => apic.write(offset, value),
        }
    }
}

/// Starts the watchdog, for waits of `timeout` seconds. A machine that can have none is reported.
pub(crate) fn start(timeout: u32, clock: &Tsc) {
    let started = registers().and_then(|registers| {
        interrupts::mask_8259s();
        let timer = Timer::take(registers, TIMER, SPURIOUS);
        let mut elapsed = 0;
        let counts = timer.count(|| elapsed = clock.pass(MEASURED));
        let period = watch::period(counts, elapsed, clock.per_millisecond());
        Ok((timer, period.ok_or(Absent::Still)?))
    });
    match started {
        Ok((timer, period)) => run(timer, period, watch::limit(timeout)),
        Err(why) => warn!("no watchdog: {why}"),
    }
}

fn run(timer: Timer<Registers>, period: u32, limit: u32) {
    info!("watchdog: the failure action comes after {limit} s without progress");
    let watch = Mutex::new(Watch::new(sign(), limit));
    let dog = DOG.call_once(|| Dog { timer, limit, watch });
    interrupts::init(on_interrupt);
    dog.timer.start(period);
    interrupts::enable();
}

/// The registers, by the way that they are there.
fn registers() -> Result<Registers, Absent> {
    match local_apic::access(apic::base_register())? {
        Access::Memory(at) => memory(at).map(Registers::Memory).ok_or(Absent::NotMapped(at)),
        Access::Msr => X2Apic::new().map(Registers::Msr).ok_or(Absent::Off),
    }
}

#[expect(unsafe_code, reason = "memory-mapped registers")]
fn memory(at: u64) -> Option<LocalApic> {
    let page = registers::map(at, REGISTERS)?;
    // SAFETY: the registers are there, as the CPU says itself, mapped uncached and for good.
    Some(unsafe { LocalApic::new(page.cast()) })
}

/// No more interrupts: before the machine is left alone for good.
pub(crate) fn stop() {
    interrupts::disable();
    if let Some(dog) = DOG.get() {
        dog.timer.stop();
    }
}

/// Interrupts are off here. The console has no lock, so that a line may be cut in two by this one.
fn on_interrupt(frame: &Frame) {
    let vector = frame.vector;
    let Some(dog) = DOG.get().filter(|_| vector != SPURIOUS.into()) else { return };
    if vector == TIMER.into() && dog.watch.lock().is_over(sign()) {
        let (limit, stage) = (dog.limit, console::current_stage());
        console::release();
        println!(
            "\nkdump: watchdog: no progress for {limit} s at stage={stage} eip={:#010x}",
            frame.eip
        );
        boot_stub::fail()
    }
    dog.timer.end_of_interrupt();
}
