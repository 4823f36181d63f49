//! The VM under gdb, which stops it at T0, T1 and T2.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::mpsc::Sender;

use anyhow::{Result, bail};

use crate::check::truth::Moment;
use crate::config::Config;
use crate::event::{Event, Stop};
use crate::fault::hooks::Hooks;
use crate::host::gdb::Gdb;
use crate::host::image::Image;

/// gdb, and the moments that it waits for.
pub struct Watch {
    /// gdb, attached.
    pub gdb: Gdb,
    /// The moments that have not been reached, and their addresses.
    waiting: VecDeque<(Moment, u64)>,
}

impl Watch {
    /// Attaches gdb to the stub at `socket` and lets the VM run until T0 at `entry` (physical).
    ///
    /// # Errors
    /// gdb does not get through, or the capture kernel lacks a symbol.
    pub fn start(
        config: &Config,
        hooks: &mut dyn Hooks,
        entry: u64,
        socket: &Path,
        events: Sender<Event>,
    ) -> Result<Self> {
        let mut waiting = VecDeque::from([(Moment::Purgatory, entry)]);
        // A stock capture kernel has no places of its own to stop at.
        if config.stock_capture.is_none() {
            let capture_kernel = Image::open(&config.capture_kernel_symbols)?;
            for moment in Moment::ALL {
                if let Some(symbol) = moment.symbol() {
                    waiting.push_back((moment, capture_kernel.symbol(symbol)?.start));
                }
            }
        }
        let mut gdb = Gdb::attach(socket, events, &config.interrupt)?;
        gdb.stop_once_at(entry)?;
        hooks.attached(&mut gdb, config)?;
        gdb.resume()?;
        Ok(Self { gdb, waiting })
    }

    /// The moment at which `stop` is; none if no moment is waited for, or a program ran there.
    ///
    /// # Errors
    /// It is at none of them, or gdb refuses.
    pub fn reached(&mut self, stop: &Stop) -> Result<Option<Moment>> {
        let Some(&(next, expected)) = self.waiting.front() else { return Ok(None) };
        let is_first = next == Moment::Purgatory;
        // Before the crash T0's physical address may also be some program's virtual one. (No kernel
        // has code of its own that low, and an x86_64 kernel jumps with paging on.)
        if is_first && self.gdb.is_in_user_mode()? {
            self.gdb.stop_once_at(expected)?;
            return Ok(None);
        }
        // A capture that fails early gets to T2 without T1, but nothing gets past T0.
        let at = self.waiting.iter().position(|(_, address)| stop.address() == Some(*address));
        match at {
            Some(skipped) if !is_first || skipped == 0 => {
                Ok(self.waiting.drain(..=skipped).next_back().map(|(moment, _)| moment))
            }
            _ => bail!("the VM stopped at {:x?}, expected at {expected:#x}", stop.address()),
        }
    }

    /// Lets the VM run on from `moment`; without gdb, and without `Self`, from the last.
    ///
    /// # Errors
    /// gdb refuses.
    pub fn go_on(mut self, moment: Moment) -> Result<Option<Self>> {
        if self.waiting.is_empty() {
            self.gdb.detach();
            return Ok(None);
        }
        if moment == Moment::Purgatory {
            for (_, address) in &self.waiting {
                self.gdb.stop_once_at(*address)?;
            }
        }
        self.gdb.resume()?;
        Ok(Some(self))
    }
}
