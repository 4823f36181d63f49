//! An NMI arrives at T1, in the middle of the capture: it is sent while the VM is stopped there,
//! however long this takes.

use super::hooks::*;

pub(super) struct Nmi;

impl Hooks for Nmi {
    fn moment(&mut self, moment: Moment, _gdb: &mut Gdb, vm: &mut Vm<'_>) -> Result<()> {
        if moment == Moment::Quiesced { vm.qmp.inject_nmi() } else { Ok(()) }
    }
}
