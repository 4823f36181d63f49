//! A crash in the handler of an interrupt, which then is in service for good.

use crate::machine::{cpus, crash};
use boot_stub::apic::{Destination, Ipi};
use boot_stub::console::println;
use boot_stub::exceptions::Frame;
use boot_stub::{interrupts, tsc};

/// Of the highest priority class, as Linux' interrupts from CPU to CPU are.
const VECTOR: u8 = 0xfd;
/// Time to wait for it, in milliseconds.
const TIMEOUT_MS: u64 = 1000;

/// Sends an interrupt to this very CPU, and dies of it.
pub(crate) fn die_in_one() -> ! {
    if let Some(apic) = cpus::local_apic() {
        interrupts::mask_8259s();
        interrupts::init(crash_in_it);
        apic.enable();
        apic.send(Ipi::Fixed(VECTOR), Destination::Id(apic.id()), cpus::ticks_per_ms());
        interrupts::enable();
        tsc::wait(TIMEOUT_MS * cpus::ticks_per_ms(), || false);
    }
    println!("guest: die=interrupt: none came");
    boot_stub::fail()
}

fn crash_in_it(_: &Frame) {
    println!("guest: dies in an interrupt");
    crash::guest_panic()
}
