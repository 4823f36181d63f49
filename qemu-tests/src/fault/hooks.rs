//! The points of a cycle at which a fault acts.

// All that a fault needs to name the hooks' arguments.
pub(super) use std::path::Path;

pub(super) use anyhow::Result;
pub(super) use handoff::Stage;

pub(super) use crate::check::core_file::CoreFile;
pub(super) use crate::check::evidence::Evidence;
pub(super) use crate::check::truth::Moment;
pub(super) use crate::config::Config;
pub(super) use crate::event::Stop;
pub(super) use crate::first::guest::{Guest, Ingredients};
pub(super) use crate::first::initramfs::Contents;
pub(super) use crate::host::dump_disk::Attachment;
pub(super) use crate::host::gdb::Gdb;
pub(super) use crate::host::memory::GuestMemory;
pub(super) use crate::host::qemu::{Machine, Qemu};
pub(super) use crate::host::qmp::Qmp;
pub(super) use crate::report::Check;

use crate::check::facts::Facts;

/// A machine with a guest in it.
pub struct Vm<'a> {
    /// The cycle.
    pub config: &'a Config,
    /// QEMU's machine protocol.
    pub qmp: &'a mut Qmp,
    /// Guest memory.
    pub memory: &'a GuestMemory,
    /// Facts that the first kernel has printed.
    pub facts: &'a mut Facts,
}

/// The points, in the order in which a cycle gets to them. A fault has those at which it acts.
/// Every error ends the cycle.
pub trait Hooks {
    /// Guest memory has been made in `_folder`, before anything uses it.
    ///
    /// # Errors
    /// The file cannot be made.
    fn memory(&self, memory: GuestMemory, _folder: &Path) -> Result<GuestMemory> {
        Ok(memory)
    }

    /// Before the dump disk is made: its size in bytes, and how QEMU attaches it.
    fn disk(&self, _size: &mut u64, _attachment: &mut Attachment) {}

    /// Before the initramfs of a Linux first kernel is packed, for the bzImage at `_kernel`.
    ///
    /// # Errors
    /// A file cannot be read.
    fn initramfs(&self, _kernel: &Path, _contents: &mut Contents<'_>) -> Result<()> {
        Ok(())
    }

    /// Before the slot of the test guest is planned.
    fn ingredients(&self, _ingredients: &mut Ingredients<'_>) {}

    /// Before the segments or the slot image of the test guest are written.
    ///
    /// # Errors
    /// The fault does not fit this guest.
    fn guest(&mut self, _guest: &mut Guest, _config: &Config) -> Result<()> {
        Ok(())
    }

    /// Before QEMU starts.
    ///
    /// # Errors
    /// A file cannot be written.
    fn machine(&self, _machine: &mut Machine<'_>) -> Result<()> {
        Ok(())
    }

    /// A first kernel has reported a fact.
    ///
    /// # Errors
    /// QEMU refuses.
    fn fact(&mut self, _fact: &str, _qmp: &mut Qmp) -> Result<()> {
        Ok(())
    }

    /// A Linux first kernel is ready to crash.
    ///
    /// # Errors
    /// The machine does not follow the request.
    fn ready(&mut self, _vm: &mut Vm<'_>) -> Result<()> {
        Ok(())
    }

    /// gdb has stopped the VM, before T0. There is no such point without the truth's gdb, nor are
    /// the next two.
    ///
    /// # Errors
    /// gdb refuses, or a symbol is missing.
    fn attached(&mut self, _gdb: &mut Gdb, _config: &Config) -> Result<()> {
        Ok(())
    }

    /// gdb has stopped the VM at T0, T1 or T2.
    ///
    /// # Errors
    /// gdb or QEMU refuse.
    fn moment(&mut self, _moment: Moment, _gdb: &mut Gdb, _vm: &mut Vm<'_>) -> Result<()> {
        Ok(())
    }

    /// gdb has stopped the VM. Returns true if a breakpoint of this fault caused the stop; the
    /// caller then resumes the VM.
    ///
    /// # Errors
    /// gdb or QEMU refuse.
    fn stopped(&mut self, _stop: &Stop, _gdb: &mut Gdb, _qmp: &mut Qmp) -> Result<bool> {
        Ok(false)
    }

    /// The capture has reached a stage.
    ///
    /// # Errors
    /// QEMU cannot be reached.
    fn stage(&self, _stage: Stage, _qemu: &Qemu) -> Result<()> {
        Ok(())
    }

    /// Before the vmcore is checked.
    ///
    /// # Errors
    /// The file cannot be changed.
    fn vmcore(&self, _core: &CoreFile) -> Result<()> {
        Ok(())
    }

    /// One more check of the vmcore.
    fn check(&self, _evidence: &Evidence<'_>) -> Option<Check> {
        None
    }
}

/// No fault.
pub struct NoFault;

impl Hooks for NoFault {}
