//! A CPU of the test guest, not the first, never answers the NMI that stops it in a crash.

use super::hooks::*;

pub(super) struct DeafCpu(pub(super) u32);

impl Hooks for DeafCpu {
    fn guest(&mut self, guest: &mut Guest, _config: &Config) -> Result<()> {
        let Self(cpu) = *self;
        guest.lose_note(cpu)?;
        guest.add_words(&format!("deaf={cpu}"));
        Ok(())
    }
}
