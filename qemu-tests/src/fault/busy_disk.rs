//! Linux reads and writes a second disk on the dump disk's controller when it dies: requests are in
//! flight, and their buffers are old memory. Nothing of that disk changes.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use sha2::{Digest, Sha256};

use super::hooks::*;
use crate::first::{module_tree, virtio_modules};
use crate::host::controller::Controller;
use crate::host::machine_type::option_path;

/// Size of the disk in bytes: another than that of any other disk, because the guest finds it by
/// its size.
pub(crate) const SIZE: u64 = 64 << 20;
/// Bytes in a second that can be read from it, and written to it.
const RATE: u64 = 1 << 20;
/// A sector for Linux, in bytes.
const SECTOR: u64 = 512;

pub(super) struct BusyDisk {
    controller: Controller,
    /// Its checksum at the panic, where the VM is stopped there.
    at_panic: Option<[u8; 32]>,
}

impl BusyDisk {
    pub(super) const fn new(controller: Controller) -> Self {
        Self { controller, at_panic: None }
    }
}

/// Beside the file of guest memory, which goes with the cycle.
fn path(memory: &GuestMemory) -> PathBuf {
    memory.path().with_file_name("busy-disk")
}

fn checksum(memory: &GuestMemory) -> Result<[u8; 32]> {
    Ok(Sha256::digest(fs::read(path(memory)).context("reading the busy disk")?).into())
}

/// Other bytes are in every place of the first half, so that what comes late from it can be told
/// from what came before. Every MiB of the second half has the same bytes.
fn contents() -> Vec<u8> {
    let (half, mib) = (SIZE / 2 / 8, (1 << 20) / 8);
    (0..2 * half)
        .map(|number| if number < half { number } else { half + number % mib })
        .flat_map(u64::to_le_bytes)
        .collect()
}

impl Hooks for BusyDisk {
    fn initramfs(&self, kernel: &Path, contents: &mut Contents<'_>) -> Result<()> {
        let modules = module_tree::with_needed(kernel, self.controller.modules())?;
        let modules: Vec<_> = modules.iter().map(String::as_str).collect();
        virtio_modules::add(kernel, &modules, contents)?;
        contents.busy_sectors = Some(SIZE / SECTOR);
        Ok(())
    }

    fn machine(&self, machine: &mut Machine<'_>) -> Result<()> {
        let path = path(machine.memory);
        fs::write(&path, contents()).context("writing the busy disk")?;
        let file = option_path(&path);
        let rates = format!("throttling.bps-read={RATE},throttling.bps-write={RATE}");
        let drive = format!("if=none,id=busy,format=raw,cache=unsafe,file={file},{rates}");
        let disk = self.controller.disk(machine.kind, (1, "busy"), "");
        machine.devices.extend(["-drive".to_string(), drive, "-device".to_string(), disk]);
        Ok(())
    }

    fn moment(&mut self, moment: Moment, _: &mut Gdb, vm: &mut Vm<'_>) -> Result<()> {
        if moment == Moment::Purgatory {
            self.at_panic = Some(checksum(vm.memory)?);
        }
        Ok(())
    }

    fn check(&self, evidence: &Evidence<'_>) -> Option<Check> {
        let unchanged = || {
            let (before, after) = (Sha256::digest(contents()), checksum(evidence.memory)?);
            ensure!(after == *before, "the busy disk has other contents than before");
            let at_panic = self.at_panic.is_none_or(|at_panic| at_panic == after);
            ensure!(at_panic, "the busy disk had other contents at the panic");
            Ok("the busy disk has the same SHA-256 before, at the panic and after".to_string())
        };
        Some(Check::new("busy_disk_kept", unchanged()))
    }
}
