//! The last byte of old memory changes between T0 and T1, as by a capture stage that strays.

use std::ops::Range;

use anyhow::Context;

use super::hooks::*;

#[derive(Default)]
pub(super) struct StrayWrite {
    /// RAM of the test guest (physical). A Linux prints what it has.
    ram: Option<Vec<Range<u64>>>,
}

impl Hooks for StrayWrite {
    fn guest(&mut self, guest: &mut Guest, _config: &Config) -> Result<()> {
        self.ram = Some(guest.ram().to_vec());
        Ok(())
    }

    fn moment(&mut self, moment: Moment, _gdb: &mut Gdb, vm: &mut Vm<'_>) -> Result<()> {
        if moment != Moment::Purgatory {
            return Ok(());
        }
        let ram = self.ram.clone().unwrap_or_else(|| vm.facts.system_ram());
        let end = ram.iter().map(|range| range.end).max();
        let last = end.context("no System RAM is known")? - 1;
        let mut byte = [0];
        vm.memory.read(last, &mut byte)?;
        vm.memory.write(last, &[!byte[0]])
    }
}
