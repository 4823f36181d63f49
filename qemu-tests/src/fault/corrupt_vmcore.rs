//! One byte of the extracted vmcore changes.

use std::fs::File;
use std::os::unix::fs::FileExt;

use anyhow::Context;

use super::hooks::*;

pub(super) struct CorruptVmcore;

impl Hooks for CorruptVmcore {
    /// The byte in the middle of the largest PT_LOAD.
    fn vmcore(&self, core: &CoreFile) -> Result<()> {
        let largest = core.loads.iter().max_by_key(|load| load.filesz).context("no PT_LOAD")?;
        let at = largest.offset + largest.filesz / 2;
        let mut byte = [0];
        core.read_at(at, &mut byte)?;
        let file = File::options().write(true).open(core.path())?;
        file.write_all_at(&[!byte[0]], at).context("changing the vmcore")
    }
}
