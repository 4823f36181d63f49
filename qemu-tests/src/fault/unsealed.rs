//! The test guest does not seal the slot image.

use super::hooks::*;

pub(super) struct Unsealed;

impl Hooks for Unsealed {
    fn guest(&mut self, guest: &mut Guest, _config: &Config) -> Result<()> {
        guest.add_words("seal=no");
        Ok(())
    }
}
