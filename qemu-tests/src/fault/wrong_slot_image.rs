//! The slot image is wrong.

use anyhow::Result;

use crate::config::Config;
use crate::fault::hooks::Hooks;
use crate::first::guest::Guest;

pub(super) struct WrongSlotImage(pub(super) fn(&mut Vec<u8>));

impl Hooks for WrongSlotImage {
    fn guest(&mut self, guest: &mut Guest, _config: &Config) -> Result<()> {
        (self.0)(guest.image_mut());
        Ok(())
    }
}
