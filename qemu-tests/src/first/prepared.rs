//! A first kernel that is ready to boot: what QEMU is told, and what the vmcore must agree with.

use std::path::Path;

use anyhow::Result;

use crate::check::dead_kernel::{DeadKernel, Linux};
use crate::check::facts::Facts;
use crate::config::Config;
use crate::delivery::Way;
use crate::fault::hooks::Hooks;
use crate::first::first_kernel::{FirstKernel, Loading};
use crate::first::guest::{Guest, Ingredients};
use crate::first::linux::Files;
use crate::first::saved_pages::Area;
use crate::host::memory::GuestMemory;
use crate::host::qemu::Boot;

/// A first kernel that is ready to boot.
pub struct Prepared {
    /// Boot settings for QEMU.
    pub boot: Boot,
    /// Other facts for the checks of a Linux.
    linux: Linux,
    /// Reserved for the words of a Linux.
    area: Option<Area>,
    guest: Option<Guest>,
}

impl Prepared {
    /// Writes QEMU's input files into `folder`. `target` is the value of `kdump.target=`.
    ///
    /// # Errors
    /// Fails if a file cannot be read or written, or the slot cannot be planned.
    pub fn new(
        config: &Config,
        hooks: &mut dyn Hooks,
        memory: &GuestMemory,
        target: &str,
        folder: &Path,
    ) -> Result<Self> {
        match &config.first_kernel {
            FirstKernel::Linux { kernel, busybox, loader, is_known, is_64_bit, .. } => {
                let files = Files { kernel, busybox, loader };
                let area = (config.saved_pages.is_some() || config.said)
                    .then(|| Area::of(memory, config.said));
                let boot = files.boot(config, hooks, target, area.as_ref(), folder)?;
                let linux = files.known(config, *is_known, *is_64_bit)?;
                Ok(Self { boot, linux, area, guest: None })
            }
            FirstKernel::Guest { elf, loading } => {
                let mut guest = planned_guest(config, hooks, (elf, *loading), target, memory)?;
                hooks.guest(&mut guest, config)?;
                let boot = guest.boot(elf, folder)?;
                Ok(Self { boot, linux: Linux::default(), area: None, guest: Some(guest) })
            }
        }
    }

    /// The place at which a Linux saves its words, if it is to.
    pub const fn saved(&self) -> Option<&Area> {
        self.area.as_ref()
    }

    /// Purgatory's entry (physical), when it is known before the boot.
    pub fn entry(&self) -> Option<u64> {
        self.guest.as_ref().map(Guest::entry)
    }

    /// Returns the facts that the vmcore must agree with.
    ///
    /// # Errors
    /// Fails if the first kernel did not report a fact that the checks need.
    pub fn dead_kernel(&self, facts: &Facts, memory: &GuestMemory) -> Result<DeadKernel> {
        match &self.guest {
            Some(guest) => guest.dead_kernel(),
            None => {
                let holes = self.area.iter().map(|area| area.range.clone()).collect();
                Ok(DeadKernel { holes, ..DeadKernel::linux(facts, memory, &self.linux)? })
            }
        }
    }
}

/// The test guest with its plan.
fn planned_guest(
    config: &Config,
    hooks: &dyn Hooks,
    (elf, loading): (&Path, Loading),
    target: &str,
    memory: &GuestMemory,
) -> Result<Guest> {
    let targets = &config.delivery.targets;
    let used = [targets.disk().is_some(), targets.has(Way::VirtioConsole)];
    let mut ingredients = Ingredients {
        elf,
        capture_kernel: &config.capture_kernel,
        purgatory: &config.purgatory,
        slot: &config.slot,
        cpus: config.cpus,
        words: &config.first_append,
        target,
        machine_words: &config.machine.device_words(used),
        append: &config.append,
        core_headers: config.core_headers,
        loading,
        holes: 0,
    };
    hooks.ingredients(&mut ingredients);
    Guest::new(&ingredients, memory)
}
