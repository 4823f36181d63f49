//! The test guest has reserved another slot than the slot image is for.

use anyhow::Result;

use crate::config::Config;
use crate::fault::hooks::Hooks;
use crate::first::guest::Guest;

pub(super) struct OtherReservation(pub(super) &'static str);

impl Hooks for OtherReservation {
    fn guest(&mut self, guest: &mut Guest, _config: &Config) -> Result<()> {
        guest.reserve(self.0)
    }
}
