//! A machine check comes while the capture kernel reads the note of the test guest's second CPU.

use std::ops::Range;

use super::hooks::*;
use crate::fault::machine_check::{Routine, give_banks};
use crate::host::image::Image;

/// The CPU whose note cannot be read: the second.
const UNREADABLE_CPU: u32 = 1;

#[derive(Default)]
pub(super) struct MachineCheckInNote {
    /// The note (physical).
    note: Range<u64>,
    copy: Option<Routine>,
}

impl Hooks for MachineCheckInNote {
    fn guest(&mut self, guest: &mut Guest, _config: &Config) -> Result<()> {
        self.note = guest.lose_note(UNREADABLE_CPU)?;
        Ok(())
    }

    fn machine(&self, machine: &mut Machine<'_>) -> Result<()> {
        give_banks(machine);
        Ok(())
    }

    fn attached(&mut self, _gdb: &mut Gdb, config: &Config) -> Result<()> {
        let image = Image::open(&config.capture_kernel_symbols)?;
        self.copy = Some(Routine::new(&image, "copy_or_machine_check", "machine_check_copy")?);
        Ok(())
    }

    /// The routine's third argument is a length, which is that of a note for notes only; the first
    /// of them is the first CPU's.
    fn moment(&mut self, moment: Moment, gdb: &mut Gdb, _vm: &mut Vm<'_>) -> Result<()> {
        let (Moment::Quiesced, Some(copy)) = (moment, self.copy) else { return Ok(()) };
        let length = self.note.end - self.note.start;
        let condition = format!("*(unsigned int *)($esp + 12) == {length}");
        gdb.stop_where(copy.entry, &condition, UNREADABLE_CPU)
    }

    fn stopped(&mut self, stop: &Stop, gdb: &mut Gdb, qmp: &mut Qmp) -> Result<bool> {
        let Some(copy) = self.copy else { return Ok(false) };
        copy.stopped(stop, gdb, qmp, self.note.start)
    }
}
