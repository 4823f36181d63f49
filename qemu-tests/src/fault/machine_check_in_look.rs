//! A machine check comes while the capture kernel looks for zeros in old memory. A second look gets
//! no machine check, and its result is right.

use super::hooks::*;
use crate::check::mappings::LARGE_PAGES;
use crate::fault::machine_check::{ANYWHERE, Routine, give_banks};
use crate::host::image::Image;

pub(super) struct MachineCheckInLook {
    /// True if the memory is seen through a large page.
    large: bool,
    look: Option<Routine>,
}

impl MachineCheckInLook {
    pub(super) fn new(large: bool) -> Self {
        Self { large, look: None }
    }
}

impl Hooks for MachineCheckInLook {
    fn machine(&self, machine: &mut Machine<'_>) -> Result<()> {
        give_banks(machine);
        Ok(())
    }

    fn attached(&mut self, _gdb: &mut Gdb, config: &Config) -> Result<()> {
        let image = Image::open(&config.capture_kernel_symbols)?;
        self.look = Some(Routine::new(&image, "look_or_machine_check", "machine_check_look")?);
        Ok(())
    }

    /// The routine's first argument is the address that it looks at.
    fn moment(&mut self, moment: Moment, gdb: &mut Gdb, _vm: &mut Vm<'_>) -> Result<()> {
        let (Moment::Quiesced, Some(look)) = (moment, self.look) else { return Ok(()) };
        let is_in = if self.large { ">=" } else { "<" };
        let condition = format!("*(unsigned int *)($esp + 4) {is_in} {LARGE_PAGES:#x}");
        gdb.stop_where(look.entry, &condition, 0)
    }

    fn stopped(&mut self, stop: &Stop, gdb: &mut Gdb, qmp: &mut Qmp) -> Result<bool> {
        let Some(look) = self.look else { return Ok(false) };
        look.stopped(stop, gdb, qmp, ANYWHERE)
    }
}
