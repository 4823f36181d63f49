//! The symbols that kallsyms shows of a Linux are lost: as of a kernel without it.

use super::hooks::*;

pub(super) struct NoSymbols;

impl Hooks for NoSymbols {
    fn ready(&mut self, vm: &mut Vm<'_>) -> Result<()> {
        vm.facts.symbols.clear();
        Ok(())
    }
}
