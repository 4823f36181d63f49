//! Linux reads from a second, slow disk when it dies: requests are in flight, and their buffers are
//! old memory.

use std::fs;

use anyhow::Context;

use super::hooks::*;
use crate::first::virtio_modules;
use crate::host::machine_type::option_path;

/// Size of the disk in bytes.
const SIZE: u64 = 64 << 20;
/// Bytes in a second that can be read from it.
const RATE: u64 = 1 << 20;

pub(super) struct BusyDisk;

impl Hooks for BusyDisk {
    fn initramfs(&self, kernel: &Path, contents: &mut Contents<'_>) -> Result<()> {
        contents.modules = virtio_modules::of(kernel, virtio_modules::DISK)?;
        Ok(())
    }

    /// Other bytes are in every place, so that what comes late from it can be told from what came
    /// before. The file is beside that of guest memory, which goes with the cycle.
    fn machine(&self, machine: &mut Machine<'_>) -> Result<()> {
        let path = machine.memory.path().with_file_name("busy-disk");
        let bytes: Vec<u8> = (0..SIZE / 8).flat_map(u64::to_le_bytes).collect();
        fs::write(&path, bytes).context("writing the busy disk")?;
        let file = option_path(&path);
        let drive = format!("if=none,id=busy,format=raw,file={file},throttling.bps-read={RATE}");
        let words = ["-drive", &drive, "-device", "virtio-blk-pci,drive=busy"];
        machine.devices.extend(words.map(str::to_string));
        Ok(())
    }
}
