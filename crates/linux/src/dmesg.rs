//! Log of the dead kernel, read from its memory. VMCOREINFO shows which of three kinds it is:
//!
//! | kind | Linux | key of VMCOREINFO |
//! |---|---|---|
//! | [`ring`]: descriptors, and a ring of texts | 5.10 and later | `SYMBOL(prb)` |
//! | [`buffer`]: records one after the other | 3.5 to 5.9 | `SYMBOL(log_first_idx)` |
//! | [`lines`]: text as on the console | before 3.5 | `SYMBOL(log_end)` |
//!
//! The kernel died at an arbitrary instruction, perhaps because of these very bytes. A record that
//! does not hold together is skipped and counted, and the next one is looked at.

mod buffer;
mod chain;
mod layout;
mod lines;
mod memory;
mod record;
mod ring;

use self::buffer::Buffer;
use self::chain::Chain;
use self::lines::Lines;
pub use self::record::{Caller, Record, Skipped};
use self::ring::RingLog;
use crate::{Error, KernelMemory};
use vmcore::{ReadPhys, vmcoreinfo_get};

/// The log, from its oldest record to its newest.
pub struct Dmesg<'a, M> {
    log: Log<'a, M>,
    shows_callers: bool,
}

enum Log<'a, M> {
    Ring(RingLog<'a, M>),
    Buffer(Chain<Buffer<'a, M>>),
    Lines(Chain<Lines<'a, M>>),
}

impl<'a, M: ReadPhys> Dmesg<'a, M> {
    /// Finds the log of the kernel whose memory this is. `vmcoreinfo` is the text of its note.
    ///
    /// # Errors
    /// [`Error::NoKey`] and [`Error::BadKey`] when VMCOREINFO does not tell where it is and how it
    /// is laid out, [`Error::BadLog`], [`Error::Unmapped`] or [`Error::Dump`] when it is not there,
    /// [`Error::NO_MEMORY`] when the heap has no 64 KiB.
    pub fn open(memory: KernelMemory<'a, M>, vmcoreinfo: &[u8]) -> Result<Self, Error> {
        let has = |key| vmcoreinfo_get(vmcoreinfo, key).is_some();
        if !has("SYMBOL(prb)") && has("SYMBOL(log_first_idx)") {
            let (buffer, start) = Buffer::open(memory, vmcoreinfo)?;
            let shows_callers = buffer.has_callers();
            return Ok(Self { log: Log::Buffer(Chain::new(buffer, start)?), shows_callers });
        }
        if !has("SYMBOL(prb)") && has("SYMBOL(log_end)") {
            let (lines, start) = Lines::open(memory, vmcoreinfo)?;
            return Ok(Self { log: Log::Lines(Chain::new(lines, start)?), shows_callers: false });
        }
        let log = Log::Ring(RingLog::open(memory, vmcoreinfo)?);
        // Each record has its caller; this line shows if the kernel prints it.
        let shows_callers = vmcoreinfo_get(vmcoreinfo, "CONFIG_PRINTK_CALLER") == Some("y");
        Ok(Self { log, shows_callers })
    }

    /// Shows the caller of each record, or hides it. By default records show it if VMCOREINFO
    /// reports that the kernel does (`CONFIG_PRINTK_CALLER`).
    pub const fn show_callers(&mut self, show: bool) {
        self.shows_callers = show;
    }

    /// The next record, unless the log is at its end.
    pub fn next_record(&mut self) -> Option<Record<'_>> {
        let shows_caller = self.shows_callers;
        let record = match &mut self.log {
            Log::Ring(log) => log.next_record(),
            Log::Buffer(log) => log.next_record(),
            Log::Lines(log) => log.next_record(),
        };
        record.map(|record| Record { shows_caller, ..record })
    }

    /// Records that were skipped so far.
    pub const fn skipped(&self) -> Skipped {
        match &self.log {
            Log::Ring(log) => log.skipped(),
            Log::Buffer(log) => log.skipped(),
            Log::Lines(log) => log.skipped(),
        }
    }

    /// Skips all but the last `count` places for records. Places without a record count as well.
    /// This also bounds the number of records that are read, even in a log full of tiny ones.
    pub fn look_at_last(&mut self, count: u64) {
        match &mut self.log {
            Log::Ring(log) => log.look_at_last(count),
            Log::Buffer(log) => log.look_at_last(count),
            Log::Lines(log) => log.look_at_last(count),
        }
    }

    /// Passes over all but the last `count` records.
    pub fn keep_last_records(&mut self, count: u64) {
        self.keep_last(count, |_| 1);
    }

    /// Passes over as many records as it takes that the rest, each shown by its `Display` and an
    /// end of line, has at most `bytes` bytes.
    pub fn keep_last_bytes(&mut self, bytes: u64) {
        let shows_caller = self.shows_callers;
        self.keep_last(bytes, |record| Record { shows_caller, ..*record }.length());
    }

    fn keep_last(&mut self, budget: u64, cost: impl Fn(&Record<'_>) -> u64) {
        match &mut self.log {
            Log::Ring(log) => log.keep_last(budget, cost),
            Log::Buffer(log) => log.keep_last(budget, cost),
            Log::Lines(log) => log.keep_last(budget, cost),
        }
    }
}

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod older_tests;
#[cfg(test)]
mod tests;
