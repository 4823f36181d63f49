//! The slot image is wrong.

use super::hooks::*;

pub(super) struct WrongSlotImage(pub(super) fn(&mut Vec<u8>));

impl Hooks for WrongSlotImage {
    fn guest(&mut self, guest: &mut Guest, _config: &Config) -> Result<()> {
        (self.0)(guest.image_mut());
        Ok(())
    }
}
