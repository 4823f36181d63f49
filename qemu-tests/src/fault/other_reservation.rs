//! The test guest has reserved another slot than the slot image is for.

use super::hooks::*;

pub(super) struct OtherReservation(pub(super) &'static str);

impl Hooks for OtherReservation {
    fn guest(&mut self, guest: &mut Guest, _config: &Config) -> Result<()> {
        guest.reserve(self.0)
    }
}
