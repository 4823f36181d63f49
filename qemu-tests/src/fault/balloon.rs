//! A virtio-balloon takes memory away from the first kernel: its pages are offline.

use std::time::Duration;

use anyhow::Context;
use log::info;

use super::hooks::*;
use crate::first::virtio_modules;
use crate::host::deadline::Deadline;

/// Time that a guest may take to fill the balloon.
const INFLATE: Duration = Duration::from_secs(60);

/// The size of the balloon in bytes.
pub(super) struct Balloon(pub(super) u64);

impl Hooks for Balloon {
    fn initramfs(&self, kernel: &Path, contents: &mut Contents<'_>) -> Result<()> {
        contents.memory_modules = virtio_modules::of(kernel, virtio_modules::BALLOON)?;
        Ok(())
    }

    fn machine(&self, machine: &mut Machine<'_>) -> Result<()> {
        let words = ["-device", "virtio-balloon-pci,id=balloon"];
        machine.devices.extend(words.map(str::to_string));
        Ok(())
    }

    fn ready(&mut self, vm: &mut Vm<'_>) -> Result<()> {
        info!("waiting for the guest's balloon");
        let wanted = vm.memory.size() - self.0;
        vm.qmp.set_balloon(wanted)?;
        let what = "guest that has filled the balloon";
        Deadline::new(what, INFLATE, &vm.config.interrupt)
            .wait_for(|| Ok((vm.qmp.balloon()? == wanted).then_some(())))
            .context("inflating the balloon")
    }
}
