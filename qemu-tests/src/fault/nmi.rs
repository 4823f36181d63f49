//! An NMI arrives at T1, in the middle of the capture: it is sent while the VM is stopped there,
//! however long this takes.

use anyhow::Result;

use crate::check::truth::Moment;
use crate::fault::hooks::{Hooks, Vm};
use crate::host::gdb::Gdb;

pub(super) struct Nmi;

impl Hooks for Nmi {
    fn moment(&mut self, moment: Moment, _gdb: &mut Gdb, vm: &mut Vm<'_>) -> Result<()> {
        if moment == Moment::Quiesced { vm.qmp.inject_nmi() } else { Ok(()) }
    }
}
