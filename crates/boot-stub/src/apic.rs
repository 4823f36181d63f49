//! The local APIC of the CPU that asks, by its memory-mapped registers: its id, on and off, and
//! interrupts to other CPUs. (Intel manual, volume 3, chapter 11)

#![expect(unsafe_code, reason = "memory-mapped registers and IA32_APIC_BASE")]

use crate::tsc;
use core::ptr::NonNull;
use x86::msr::{IA32_APIC_BASE, rdmsr, wrmsr};

/// CPUID.1:EDX: there is a local APIC.
const CPUID_APIC: u32 = 1 << 9;
/// IA32_APIC_BASE: the APIC is in x2APIC mode, without memory-mapped registers.
const X2APIC: u64 = 1 << 10;
/// IA32_APIC_BASE: the APIC is on.
const GLOBAL_ENABLE: u64 = 1 << 11;
/// IA32_APIC_BASE: the physical address of the registers, at most 52 bits.
const BASE: u64 = 0x000f_ffff_ffff_f000;

/// The bits of an offset that say which register it is.
const IN_PAGE: usize = 0xff0;

mod register {
    //! Offsets in bytes.
    pub(super) const ID: usize = 0x20;
    pub(super) const VERSION: usize = 0x30;
    pub(super) const SPURIOUS: usize = 0xf0;
    pub(super) const COMMAND_LOW: usize = 0x300;
    pub(super) const COMMAND_HIGH: usize = 0x310;
    /// The local vector table but for LINT1: timer, LINT0, errors, performance counters, thermal,
    /// and CMCI. Each is there when the last entry's number, in the version register, is at least
    /// the one before its offset.
    pub(super) const VECTORS: [(u32, usize); 6] =
        [(0, 0x320), (0, 0x350), (3, 0x370), (4, 0x340), (5, 0x330), (6, 0x2f0)];
}

/// Spurious-interrupt register: the APIC is on, by software; and the vector that stands for
/// nothing.
const SOFTWARE_ENABLE: u32 = 1 << 8;
const SPURIOUS_VECTOR: u32 = 0xff;
/// Interrupt command: the last one has not left yet.
const PENDING: u32 = 1 << 12;
/// Local vector table: this entry raises nothing.
const MASKED: u32 = 1 << 16;
const ASSERT: u32 = 1 << 14;
const ALL_OTHERS: u32 = 0b11 << 18;
/// Time for a command to leave, in milliseconds. It takes microseconds.
const TIMEOUT_MS: u64 = 10;

/// Message to another CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ipi {
    /// Reset, and wait for [`Ipi::Startup`].
    Init,
    /// Begin in real mode at the start of this page (physical address / 4096, below 1 MiB).
    Startup(u8),
    /// A non-maskable interrupt.
    Nmi,
    /// An interrupt with this vector.
    Fixed(u8),
}

/// Its receivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Every CPU but this one.
    AllOthers,
    /// The CPU whose local APIC has this id.
    Id(u8),
}

/// IA32_APIC_BASE. [`None`] when the CPU has no local APIC.
pub fn base_register() -> Option<u64> {
    if core::arch::x86::__cpuid(1).edx & CPUID_APIC == 0 {
        return None;
    }
    // SAFETY: a CPU with a local APIC has this register, and reading it has no effect.
    Some(unsafe { rdmsr(IA32_APIC_BASE) })
}

/// Physical address of the registers. [`None`] when the CPU has no local APIC, or it is off or in
/// x2APIC mode.
pub fn base() -> Option<u64> {
    let value = base_register()?;
    (value & (GLOBAL_ENABLE | X2APIC) == GLOBAL_ENABLE).then_some(value & BASE)
}

/// The registers of a local APIC in x2APIC mode, which are MSRs. (11.12.1)
#[derive(Clone, Copy, Debug)]
pub struct X2Apic(());

impl X2Apic {
    /// The MSR of the register at offset 0; each takes 16 bytes of the memory-mapped page.
    const FIRST: u32 = 0x800;

    /// [`None`] unless the local APIC is in x2APIC mode.
    pub fn new() -> Option<Self> {
        let mode = base_register()? & (GLOBAL_ENABLE | X2APIC);
        (mode == GLOBAL_ENABLE | X2APIC).then_some(Self(()))
    }

    const fn msr(offset: usize) -> u32 {
        Self::FIRST + (offset as u32 & IN_PAGE as u32) / 16
    }

    /// Reads the register that has this offset, in bytes, when it is in memory.
    pub fn read(self, offset: usize) -> u32 {
        // SAFETY: the mode was looked at; one that is not there is an exception, and no more.
        unsafe { rdmsr(Self::msr(offset)) as u32 }
    }

    /// Writes it.
    pub fn write(self, offset: usize, value: u32) {
        // SAFETY: as in `read`; none of these registers makes the APIC write memory.
        unsafe { wrmsr(Self::msr(offset), value.into()) }
    }
}

/// The registers. Every CPU sees its own at the same address.
#[derive(Clone, Copy, Debug)]
pub struct LocalApic {
    registers: NonNull<u32>,
}

// SAFETY: it is an address, at which each CPU that asks finds registers of its own.
unsafe impl Send for LocalApic {}
// SAFETY: the same.
unsafe impl Sync for LocalApic {}

impl LocalApic {
    /// The local APIC whose registers are mapped, uncached, at `registers` (virtual).
    ///
    /// # Safety
    /// They must be: the page at [`base`], for as long as the value lives.
    pub const unsafe fn new(registers: NonNull<u32>) -> Self {
        Self { registers }
    }

    /// Reads the register at `offset` in bytes.
    pub fn read(self, offset: usize) -> u32 {
        // SAFETY: the rest of the offset is inside the page that `new` was given.
        unsafe { self.registers.byte_add(offset & IN_PAGE).read_volatile() }
    }

    /// Writes it.
    pub fn write(self, offset: usize, value: u32) {
        // SAFETY: as in `read`; none of these registers makes the APIC write memory.
        unsafe { self.registers.byte_add(offset & IN_PAGE).write_volatile(value) }
    }

    /// The id by which other CPUs reach this one.
    pub fn id(self) -> u8 {
        (self.read(register::ID) >> 24) as u8
    }

    /// Switches the APIC on.
    pub fn enable(self) {
        let value = self.read(register::SPURIOUS) | SOFTWARE_ENABLE | SPURIOUS_VECTOR;
        self.write(register::SPURIOUS, value);
    }

    /// Masks its own sources (timer, thermal, performance counters, errors, LINT0) and switches it
    /// off: no more interrupts from these or from the bus, but for INIT, NMI, SMI and SIPI.
    /// (11.4.7.2)
    ///
    /// LINT1, where firmware leaves the machine's NMI, stays as it is: a Linux that crashes opens
    /// it before it jumps (virtual wire mode), so that NMIs reach the capture. Being off masks it
    /// on real CPUs all the same, but not in QEMU.
    pub fn disable(self) {
        let last = self.read(register::VERSION) >> 16 & 0xff;
        for (_, entry) in register::VECTORS.into_iter().filter(|(least, _)| *least <= last) {
            self.write(entry, self.read(entry) | MASKED);
        }
        let value = self.read(register::SPURIOUS) & !SOFTWARE_ENABLE;
        self.write(register::SPURIOUS, value);
    }

    /// Sends `what` to `whom` and waits until it has left. False if it, or the one before it, does
    /// not leave in time. `ticks_per_ms`: see [`tsc::calibrate`].
    pub fn send(self, what: Ipi, whom: Destination, ticks_per_ms: u64) -> bool {
        let what = match what {
            Ipi::Init => 0b101 << 8,
            Ipi::Startup(page) => 0b110 << 8 | u32::from(page),
            Ipi::Nmi => 0b100 << 8,
            Ipi::Fixed(vector) => vector.into(),
        };
        let (whom, id) = match whom {
            Destination::AllOthers => (ALL_OTHERS, 0),
            Destination::Id(id) => (0, id),
        };
        let has_left = || {
            tsc::wait(TIMEOUT_MS * ticks_per_ms, || self.read(register::COMMAND_LOW) & PENDING == 0)
        };
        if !has_left() {
            return false;
        }
        self.write(register::COMMAND_HIGH, u32::from(id) << 24);
        self.write(register::COMMAND_LOW, what | whom | ASSERT);
        has_left()
    }
}
