//! The machine has one CPU less than reported to the test guest.

use super::hooks::*;

pub(super) struct MissingCpu;

impl Hooks for MissingCpu {
    fn guest(&mut self, guest: &mut Guest, config: &Config) -> Result<()> {
        guest.lose_note(config.cpus - 1).map(drop)
    }

    fn machine(&self, machine: &mut Machine<'_>) -> Result<()> {
        machine.cpus -= 1;
        Ok(())
    }
}
