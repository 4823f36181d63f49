//! A machine check comes at T1.

use super::hooks::*;
use crate::host::image::Image;

/// A bank's status: valid, uncorrected, enabled, address and misc valid, a memory read that failed
/// (Intel manual, volume 3, `IA32_MCi_STATUS`).
const MEMORY_ERROR: u64 = 0xbc00_0000_0000_0134;
/// The same: the state of the CPU is damaged (PCC).
const CONTEXT_CORRUPT: u64 = 1 << 57;
/// Any RAM (physical).
pub(super) const ANYWHERE: u64 = 0x10_0000;

pub(super) struct MachineCheck {
    pub(super) context_corrupt: bool,
}

impl Hooks for MachineCheck {
    fn machine(&self, machine: &mut Machine<'_>) -> Result<()> {
        give_banks(machine);
        Ok(())
    }

    fn moment(&mut self, moment: Moment, _gdb: &mut Gdb, vm: &mut Vm<'_>) -> Result<()> {
        if moment != Moment::Quiesced {
            return Ok(());
        }
        let corrupt = if self.context_corrupt { CONTEXT_CORRUPT } else { 0 };
        vm.qmp.machine_check(MEMORY_ERROR | corrupt, ANYWHERE)
    }
}

/// Only a CPU with banks takes QEMU's `mce`.
pub(super) fn give_banks(machine: &mut Machine<'_>) {
    machine.cpu_model = Some("qemu32,+mca");
}

/// A routine of the capture kernel that can take a machine check at its first look at old memory.
#[derive(Clone, Copy)]
pub(super) struct Routine {
    /// Its first instruction (virtual).
    pub(super) entry: u64,
    /// The instruction that looks.
    first: u64,
}

impl Routine {
    /// The routine whose instructions have these symbols.
    pub(super) fn new(capture_kernel: &Image, entry: &str, first: &str) -> Result<Self> {
        let at = |name| Ok::<_, anyhow::Error>(capture_kernel.symbol(name)?.start);
        Ok(Self { entry: at(entry)?, first: at(first)? })
    }

    /// Waits at the look when the routine has been entered, and raises the machine check there, for
    /// memory at `address` (physical). Returns whether `stop` was one of these two.
    pub(super) fn stopped(
        self,
        stop: &Stop,
        gdb: &mut Gdb,
        qmp: &mut Qmp,
        address: u64,
    ) -> Result<bool> {
        if stop.address() == Some(self.entry) {
            gdb.stop_once_at(self.first)?;
        } else if stop.address() == Some(self.first) {
            qmp.machine_check(MEMORY_ERROR, address)?;
        } else {
            return Ok(false);
        }
        Ok(true)
    }
}
