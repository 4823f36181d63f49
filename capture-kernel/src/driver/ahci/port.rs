//! A port of an HBA: its link, its disk's signature, and its command engine.

use super::hba::{Hba, Removed};
use super::registers::{LINK, LINK_UP, NO_DISK, Reg, cmd};
use crate::driver::Error;
use vmcore::PhysRange;

/// Milliseconds for a link that has found a disk.
const LINK_TIMEOUT: u64 = 1000;
/// Milliseconds for the command engine (10.3.2).
const ENGINE_TIMEOUT: u64 = 500;

/// Bits of the ATA status in `Reg::TaskFile`: an error, data to transfer, a fault of the disk,
/// busy.
const ERROR: u32 = 1;
const DATA: u32 = 1 << 3;
const FAULT: u32 = 1 << 5;
const BUSY: u32 = 1 << 7;

/// Bits of `Reg::InterruptStatus` with which a port gives up its commands: the task file, the
/// memory, its link.
const FATAL: u32 = 0b1111 << 27 | 1 << 24 | 1 << 22 | 1 << 6;

/// Signatures of devices (section 3.3.9, and SATA 3 for the others).
const ATA: u32 = 0x0000_0101;
const ATAPI: u32 = 0xeb14_0101;
const MULTIPLIER: u32 = 0x9669_0101;
const ENCLOSURE: u32 = 0xc33c_0101;

/// State of the commands of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Those of these slots are not finished, and nothing is wrong.
    Unfinished(u32),
    /// The port has stopped with this status and error of the disk.
    Failed {
        /// Slots that were not finished before.
        unfinished: u32,
        status: u8,
        error: u8,
    },
}

/// One port.
#[derive(Clone, Copy, Debug)]
pub(super) struct Port(pub(super) u8);

impl Port {
    fn link(self, hba: &Hba<'_>) -> Result<u32, Removed> {
        Ok(hba.port(self.0, Reg::Status)? & LINK)
    }

    /// Waits for the link, and then up to `timeout` milliseconds until the disk is ready.
    ///
    /// # Errors
    /// [`Error::NoDisk`], [`Error::NoLink`], [`Error::Timeout`], [`Error::Removed`].
    pub(super) fn wait_until_ready(self, hba: &mut Hba<'_>, timeout: u64) -> Result<(), Error> {
        if !hba.wait_for_link(self.0)? {
            if self.link(hba)? == NO_DISK {
                return Err(Error::NoDisk);
            }
            if !hba.wait_port(LINK_TIMEOUT, (self.0, Reg::Status), (LINK, LINK_UP))? {
                return Err(Error::NoLink);
            }
        }
        match hba.wait_port(timeout, (self.0, Reg::TaskFile), (BUSY | DATA, 0))? {
            true => Ok(()),
            false => Err(Error::Timeout("become ready")),
        }
    }

    fn task_file(self, hba: &Hba<'_>) -> Result<u32, Removed> {
        hba.port(self.0, Reg::TaskFile)
    }

    /// Succeeds for an ATA disk.
    ///
    /// # Errors
    /// [`Error::Unsupported`].
    pub(super) fn is_disk(self, hba: &Hba<'_>) -> Result<(), Error> {
        match hba.port(self.0, Reg::Signature)? {
            ATA => Ok(()),
            ATAPI => Err(Error::Unsupported("an ATAPI drive")),
            MULTIPLIER => Err(Error::Unsupported("a port multiplier")),
            ENCLOSURE => Err(Error::Unsupported("an enclosure")),
            _ => Err(Error::Unsupported("a device with an unknown signature")),
        }
    }

    /// Starts the command engine with the command list at `list`; no command is left from before.
    ///
    /// # Errors
    /// [`Error::Timeout`], [`Error::Removed`].
    pub(super) fn start(self, hba: &mut Hba<'_>, list: PhysRange) -> Result<(), Error> {
        self.forget_errors(hba);
        hba.set_address(self.0, [Reg::CommandList, Reg::CommandListHigh], list);
        hba.command(self.0, cmd::START, 0)?;
        // A port may remember commands of the dead kernel. Ours are empty, and finished at once.
        for register in [Reg::Issue, Reg::Active] {
            if !hba.wait_port(ENGINE_TIMEOUT, (self.0, register), (u32::MAX, 0))? {
                return Err(Error::Timeout("forget old commands"));
            }
        }
        Ok(())
    }

    fn forget_errors(self, hba: &mut Hba<'_>) {
        // Each is cleared by ones.
        hba.set_port(self.0, Reg::SataError, u32::MAX);
        hba.set_port(self.0, Reg::InterruptStatus, u32::MAX);
    }

    /// Stops the command engine.
    ///
    /// # Errors
    /// [`Error::Timeout`], [`Error::Removed`].
    pub(super) fn stop(self, hba: &mut Hba<'_>) -> Result<(), Error> {
        hba.command(self.0, 0, cmd::START)?;
        match hba.wait_port(ENGINE_TIMEOUT, (self.0, Reg::Command), (cmd::RUNNING, 0))? {
            true => Ok(()),
            false => Err(Error::Timeout("stop its port")),
        }
    }

    /// Gives the command in a slot to the port.
    pub(super) fn issue(self, hba: &mut Hba<'_>, slot: usize, queued: bool) {
        if queued {
            hba.set_port(self.0, Reg::Active, 1 << slot);
        }
        hba.set_port(self.0, Reg::Issue, 1 << slot);
    }

    fn unfinished(self, hba: &Hba<'_>) -> Result<u32, Removed> {
        Ok(hba.port(self.0, Reg::Issue)? | hba.port(self.0, Reg::Active)?)
    }

    /// The state of its commands, which are `queued` or not.
    ///
    /// # Errors
    /// [`Removed`].
    pub(super) fn progress(self, hba: &Hba<'_>, queued: bool) -> Result<Progress, Removed> {
        let unfinished = self.unfinished(hba)?;
        let task_file = self.task_file(hba)?;
        // Until a command is finished, the status may be that before it.
        let counts = queued || unfinished == 0;
        let has_failed = hba.port(self.0, Reg::InterruptStatus)? & FATAL != 0
            || counts && task_file & BUSY == 0 && task_file & (ERROR | FAULT) != 0
            // A status may have been overwritten by the next one, and a link may be gone.
            || queued && hba.port(self.0, Reg::SataError)? != 0
            || self.link(hba)? != LINK_UP;
        Ok(match has_failed {
            false => Progress::Unfinished(unfinished),
            true => Progress::Failed {
                unfinished,
                status: task_file as u8,
                error: (task_file >> 8) as u8,
            },
        })
    }
}
