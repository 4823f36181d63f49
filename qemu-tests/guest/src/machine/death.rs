//! The ways in which the guest can die.

#![expect(unsafe_code, reason = "functions in assembly that do what is forbidden")]

use crate::machine::{crash, interrupt, nmi};
use boot_stub::console::println;
use core::arch::global_asm;
use core::sync::atomic::{AtomicUsize, Ordering};

global_asm!(
    include_str!("../../asm/registers.S"),
    include_str!("../../asm/deaths.S"),
    idle_cpus = sym crate::machine::cpus::IDLE_CPUS,
);

unsafe extern "C" {
    fn guest_null_dereference(cpu: u32) -> !;
    fn guest_invalid_opcode(cpu: u32) -> !;
    fn guest_general_protection(cpu: u32) -> !;
    fn guest_divide_error(cpu: u32) -> !;
    fn guest_stack_overflow(cpu: u32) -> !;
    fn guest_triple_fault(cpu: u32) -> !;
}

/// The word after `die=`, and its effect on the CPU with this number.
const WAYS: [(&str, unsafe extern "C" fn(u32) -> !); 9] = [
    ("panic", panic),
    ("null", guest_null_dereference),
    ("ud", guest_invalid_opcode),
    ("gp", guest_general_protection),
    ("divide", guest_divide_error),
    ("stack-overflow", guest_stack_overflow),
    ("triple-fault", triple_fault),
    ("nmi", die_of_nmi),
    ("interrupt", die_in_interrupt),
];

/// Which one was chosen.
static CHOSEN: AtomicUsize = AtomicUsize::new(0);

/// A way to die.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Death(usize);

impl Death {
    /// The default death of the guest.
    pub(crate) const PANIC: Self = Self(0);

    /// Meaning of the word after `die=`.
    pub(crate) fn parse(word: &str) -> Option<Self> {
        WAYS.iter().position(|(name, _)| *name == word).map(Self)
    }

    /// From now on the guest dies of this.
    pub(crate) fn choose(self) {
        CHOSEN.store(self.0, Ordering::Release);
    }
}

/// Dies on this CPU, `cpu`, in the way that was chosen.
pub(crate) fn die(cpu: u32) -> ! {
    let (_, way) = WAYS[CHOSEN.load(Ordering::Acquire)];
    // SAFETY: each way ends in the crash path or in a reset; nothing of the guest runs after it.
    unsafe { way(cpu) }
}

unsafe extern "C" fn panic(_: u32) -> ! {
    crash::guest_panic()
}

unsafe extern "C" fn triple_fault(cpu: u32) -> ! {
    println!("guest: triple fault");
    // SAFETY: as in `die`.
    unsafe { guest_triple_fault(cpu) }
}

unsafe extern "C" fn die_of_nmi(_: u32) -> ! {
    nmi::die_of_one()
}

unsafe extern "C" fn die_in_interrupt(_: u32) -> ! {
    interrupt::die_in_one()
}
