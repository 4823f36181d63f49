//! QEMU itself dies of a signal when the capture kernel is entered.

use anyhow::Result;
use handoff::Stage;

use crate::fault::hooks::Hooks;
use crate::host::qemu::Qemu;

pub(super) struct QemuDies;

impl Hooks for QemuDies {
    fn stage(&self, stage: Stage, qemu: &Qemu) -> Result<()> {
        if stage == Stage::CaptureEntry { qemu.crash() } else { Ok(()) }
    }
}
