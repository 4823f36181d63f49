//! The capture kernel hangs at T1.

use anyhow::Context;

use super::hooks::*;
use crate::host::image::Image;

/// The instruction that never ends, in hexadecimal digits.
const JUMP_TO_ITSELF: &str = "ebfe";

pub(super) struct Hang;

impl Hooks for Hang {
    fn moment(&mut self, moment: Moment, gdb: &mut Gdb, vm: &mut Vm<'_>) -> Result<()> {
        if moment != Moment::Quiesced {
            return Ok(());
        }
        let symbol = moment.symbol().context("T1 is in the capture kernel")?;
        let place = Image::open(&vm.config.capture_kernel_symbols)?.symbol(symbol)?;
        gdb.write(place.start, JUMP_TO_ITSELF)
    }
}
