//! The local APIC, of which the watchdog wants the timer and nothing else. (Intel manual, volume 3,
//! chapter 11)
//!
//! It is as the dead kernel left it: in memory or in x2APIC mode, switched off by software or not,
//! with interrupts that are pending, and perhaps with one in service, when the kernel died in its
//! handler.

use thiserror::Error;

/// IA32_APIC_BASE: the registers are MSRs.
const X2APIC: u64 = 1 << 10;
/// IA32_APIC_BASE: the APIC is on.
const GLOBAL_ENABLE: u64 = 1 << 11;
/// IA32_APIC_BASE: the physical address of the registers, at most 52 bits.
const BASE: u64 = 0x000f_ffff_ffff_f000;

/// Offsets in bytes.
mod register {
    pub(super) const VERSION: usize = 0x30;
    pub(super) const TASK_PRIORITY: usize = 0x80;
    pub(super) const END_OF_INTERRUPT: usize = 0xb0;
    pub(super) const SPURIOUS: usize = 0xf0;
    /// The first of eight, 32 vectors each.
    pub(super) const IN_SERVICE: usize = 0x100;
    pub(super) const TIMER: usize = 0x320;
    pub(super) const INITIAL_COUNT: usize = 0x380;
    pub(super) const CURRENT_COUNT: usize = 0x390;
    pub(super) const DIVIDE: usize = 0x3e0;
    /// The local vector table but for the timer and LINT1, where NMIs come in: LINT0, errors,
    /// performance counters, thermal, CMCI. Each is there when the last entry's number, in the
    /// version register, is at least the one before its offset.
    pub(super) const OTHERS: [(u32, usize); 5] =
        [(0, 0x350), (3, 0x370), (4, 0x340), (5, 0x330), (6, 0x2f0)];
}

/// Spurious-interrupt register: the APIC is on, by software.
const SOFTWARE_ENABLE: u32 = 1 << 8;
/// Local vector table: this entry raises nothing.
const MASKED: u32 = 1 << 16;
/// Timer's entry: begin again at zero.
const PERIODIC: u32 = 1 << 17;
/// Divide the timer's clock by 128.
const BY_128: u32 = 0b1010;
/// One for each vector there is.
const MOST_IN_SERVICE: usize = 256;

/// The registers, by their offsets in bytes in the memory-mapped page.
pub trait Registers {
    /// Reads one.
    fn read(&self, offset: usize) -> u32;
    /// Writes one.
    fn write(&self, offset: usize, value: u32);
}

/// Access to the registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// In memory, at this physical address.
    Memory(u64),
    /// As MSRs.
    Msr,
}

/// The reason why there is no local APIC to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Absent {
    /// The CPU has none.
    #[error("this CPU has no local APIC")]
    NotThere,
    /// It was switched off, for good as most CPUs have it.
    #[error("the local APIC is switched off")]
    Off,
    /// Its registers cannot be mapped at this physical address.
    #[error("the local APIC at {0:#x} cannot be mapped")]
    NotMapped(u64),
    /// Its timer does not count.
    #[error("the local APIC's timer does not count")]
    Still,
}

/// Access to the registers, given IA32_APIC_BASE, if the CPU has it.
///
/// # Errors
/// There is no local APIC, or it is off.
pub fn access(apic_base: Option<u64>) -> Result<Access, Absent> {
    let value = apic_base.ok_or(Absent::NotThere)?;
    match (value & GLOBAL_ENABLE != 0, value & X2APIC != 0) {
        (false, _) => Err(Absent::Off),
        (true, false) => Ok(Access::Memory(value & BASE)),
        (true, true) => Ok(Access::Msr),
    }
}

/// The timer, and an APIC that lets nothing else through.
#[derive(Clone, Copy, Debug)]
pub struct Timer<R> {
    registers: R,
    vector: u8,
}

impl<R: Registers> Timer<R> {
    /// Takes the APIC over: on, `spurious` as the spurious vector, every source masked but NMIs,
    /// every vector held back whose class is below that of `vector`, nothing in service. The timer
    /// stands still. Interrupts must be off.
    pub fn take(registers: R, vector: u8, spurious: u8) -> Self {
        let timer = Self { registers, vector };
        let was = timer.registers.read(register::SPURIOUS);
        let on = was & !0xff | SOFTWARE_ENABLE | u32::from(spurious);
        timer.registers.write(register::SPURIOUS, on);
        timer.registers.write(register::TASK_PRIORITY, u32::from(vector & 0xf0) - 0x10);
        timer.mask_others();
        timer.finish_all();
        // One shot: a deadline that the dead kernel has set is off with this.
        timer.stop();
        timer.registers.write(register::DIVIDE, BY_128);
        timer
    }

    fn mask_others(&self) {
        let last = self.registers.read(register::VERSION) >> 16 & 0xff;
        for (_, entry) in register::OTHERS.into_iter().filter(|(least, _)| *least <= last) {
            self.registers.write(entry, self.registers.read(entry) | MASKED);
        }
    }

    /// Ends the interrupts that the dead kernel was serving: one of a high class holds ours back.
    fn finish_all(&self) {
        let in_service = |part: usize| self.registers.read(register::IN_SERVICE + 0x10 * part);
        for _ in 0..MOST_IN_SERVICE {
            if (0..8).all(|part| in_service(part) == 0) {
                return;
            }
            self.end_of_interrupt();
        }
    }

    /// Lets the timer count while `pass` passes; returns how far it came.
    pub fn count(&self, pass: impl FnOnce()) -> u32 {
        self.registers.write(register::INITIAL_COUNT, u32::MAX);
        pass();
        let left = self.registers.read(register::CURRENT_COUNT);
        self.stop();
        u32::MAX - left
    }

    /// From now on there is an interrupt each time the timer has counted `counts`.
    pub fn start(&self, counts: u32) {
        self.registers.write(register::TIMER, PERIODIC | u32::from(self.vector));
        self.registers.write(register::INITIAL_COUNT, counts);
    }

    /// No more interrupts.
    pub fn stop(&self) {
        self.registers.write(register::TIMER, MASKED | u32::from(self.vector));
        self.registers.write(register::INITIAL_COUNT, 0);
    }

    /// Says that the interrupt was taken care of.
    pub fn end_of_interrupt(&self) {
        self.registers.write(register::END_OF_INTERRUPT, 0);
    }
}

#[cfg(test)]
mod tests;
