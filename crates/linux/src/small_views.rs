//! The small, precious part of a dump: it shows the cause of the kernel's death, even if the
//! capture dies half-way through the bulk.

mod list;
mod stack;

use alloc::vec::Vec;
use core::fmt::Write;
use core::iter;

pub use self::list::SmallView;
use self::list::Views;
use crate::page_cache::PageCache;
use crate::{
    Backtraces, Budget, Caller, Cpus, DeadKernel, Dmesg, Effort, Error, KernelMemory, MOST_WHOLE,
    Most, SegmentMap, VirtualMemory,
};
use vmcore::Text;
use vmcore::{CoreHeader, ReadPhys, Vmcore, notes};

/// Length of `dmesg-tail` in bytes: less than a second at 115200 baud.
const TAIL: usize = 8 << 10;
/// Bytes that few records of the log are longer than.
const LONG_RECORD: usize = 2 << 10;
/// The most that is taken of the log, in bytes as it is shown.
const MAX_LOG: usize = 512 << 10;
/// The most records that are looked at. A line takes 16 bytes at least, so that twice as many as
/// there is room for may be unfinished or damaged.
const MAX_RECORDS: u64 = 3 * MAX_LOG as u64 / 16;

/// The small views of a dump, in the order in which they are to leave the machine:
///
/// | name | bytes |
/// |---|---|
/// | `dmesg-tail` | the last lines of the dead kernel's log, 8 KiB at most |
/// | `notes` | the ELF notes as the vmcore has them: each CPU's registers, VMCOREINFO |
/// | `vmcoreinfo` | VMCOREINFO, lines `KEY=VALUE` |
/// | `backtrace` | the functions that each CPU was in, [`Backtraces::whole`] |
/// | `stack` | the stack of the CPU that crashed, from its stack pointer up, 16 KiB at most |
/// | `stack-0` … `stack-3` | instead of it where that CPU is not known: those of the first CPUs |
/// | `dmesg` | the log, the newest 512 KiB at most, as [`crate::Record`] shows it |
///
/// The first three are read here, for which little is read; the others by [`LaterViews::read`].
/// Missing parts are left out and reported (`log`), one line each.
pub fn first_views(
    header: &CoreHeader,
    vmcore: &Vmcore,
    mem: &impl ReadPhys,
) -> (Vec<SmallView>, LaterViews) {
    let mem = PageCache::new(mem);
    let segments = SegmentMap::new(header.segments(&mem)).unwrap_or_else(|error| {
        log::warn!("small views: {error}");
        SegmentMap::default()
    });
    let vmcoreinfo = vmcoreinfo(vmcore.notes());
    let mut views = Views::default();
    let log = Log::read_end(KernelMemory::new(&mem, &segments), vmcoreinfo, TAIL);
    let (has_log, mut newest) = (log.is_ok(), None);
    match log {
        Ok(log) => {
            newest = log.newest;
            views.add("dmesg-tail", 0, copy(tail(&log.text)));
        }
        Err(error) => log::warn!("dmesg: {error}"),
    }
    views.add("notes", 0, copy(vmcore.notes()));
    views.add("vmcoreinfo", 0, copy(vmcoreinfo));
    let cpus = Cpus::of(vmcore).unwrap_or_else(|error| {
        log::warn!("stack: {error}");
        Cpus::default()
    });
    // If there is no copy, the views themselves have reported it.
    let vmcoreinfo = copy(vmcoreinfo).unwrap_or_default();
    (views.list, LaterViews { header: *header, cpus, vmcoreinfo, has_log, newest })
}

/// The small views that take longer to read: backtraces, the stack, and the whole log.
#[derive(Clone, Debug)]
pub struct LaterViews {
    header: CoreHeader,
    cpus: Cpus,
    vmcoreinfo: Vec<u8>,
    /// True if the log could be opened; otherwise that was reported.
    has_log: bool,
    /// Writer of the newest record of the log.
    newest: Option<Caller>,
}

impl LaterViews {
    /// The most bytes of all of them, each rounded up to a page.
    pub const MOST: u64 = (MOST_WHOLE + stack::MOST + MAX_LOG) as u64;

    /// Reads the backtraces of all CPUs, within the bounds of a capture kernel. `go_on` is asked
    /// now and then; with false, the rest is left out.
    ///
    /// # Errors
    /// [`Error::NO_MEMORY`].
    pub fn backtraces(
        &self,
        mem: &impl ReadPhys,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<Backtraces, Error> {
        let mem = PageCache::new(mem);
        let segments = SegmentMap::new(self.header.segments(&mem)).unwrap_or_default();
        let text = &self.vmcoreinfo;
        let memory = VirtualMemory::new(KernelMemory::new(&mem, &segments), text);
        let mut budget = Budget::new(go_on);
        let (machine, effort) = (self.cpus.machine, Effort::Lines);
        let kernel = DeadKernel::find(memory, machine, text, effort, &mut budget);
        Backtraces::read(&kernel, &self.cpus, || self.newest, Most::CAPTURE, &mut budget)
    }

    /// Reads the others, and adds the text of the backtraces. Missing parts are left out and
    /// reported (`log`), one line each.
    pub fn read(&self, mem: &impl ReadPhys, backtraces: Vec<u8>) -> Vec<SmallView> {
        let mem = PageCache::new(mem);
        // The first views have reported this error already.
        let segments = SegmentMap::new(self.header.segments(&mem)).unwrap_or_default();
        let memory = KernelMemory::new(&mem, &segments);
        let mut views = Views::default();
        views.add("backtrace", 0, Ok(backtraces));
        stack::add(&mut views, &self.cpus, self.newest, memory, &self.vmcoreinfo);
        // The last one, because it takes all the memory that there is.
        let log = if self.has_log { whole_log(memory, &self.vmcoreinfo) } else { Log::default() };
        views.add("dmesg", 0, Ok(log.text));
        views.list
    }
}

/// The log; where there is little memory, as much of its end as there is room for.
fn whole_log<M: ReadPhys>(memory: KernelMemory<'_, M>, vmcoreinfo: &[u8]) -> Log {
    let half = |limit: &usize| Some(limit / 2).filter(|half| *half >= TAIL);
    let mut logs =
        iter::successors(Some(MAX_LOG), half).map(|limit| Log::read(memory, vmcoreinfo, limit));
    let whole = logs.find(|log| !matches!(log, Err(Error::NO_MEMORY)));
    whole.unwrap_or(Err(Error::NO_MEMORY)).unwrap_or_else(|error| {
        log::warn!("dmesg: {error}");
        Log::default()
    })
}

/// The dead kernel's log as text.
#[derive(Default)]
struct Log {
    text: Vec<u8>,
    /// Writer of the newest record.
    newest: Option<Caller>,
}

impl Log {
    /// Reads the newest records that have at most `limit` bytes in all.
    fn read<M: ReadPhys>(
        memory: KernelMemory<'_, M>,
        vmcoreinfo: &[u8],
        limit: usize,
    ) -> Result<Self, Error> {
        let mut dmesg = Dmesg::open(memory, vmcoreinfo)?;
        dmesg.look_at_last(MAX_RECORDS);
        dmesg.keep_last_bytes(limit as u64);
        let mut log = Self::default();
        let mut text = Text::new(limit);
        while let Some(record) = dmesg.next_record() {
            log.newest = record.caller;
            writeln!(text, "{record}").map_err(|_| Error::NO_MEMORY)?;
        }
        log.text = text.bytes;
        Ok(log)
    }

    /// Reads the newest records that have `bytes` bytes in all, and few more. Reads all records of
    /// a shorter log. If one record is long, it reads as much as [`Self::read`].
    fn read_end<M: ReadPhys>(
        memory: KernelMemory<'_, M>,
        vmcoreinfo: &[u8],
        bytes: usize,
    ) -> Result<Self, Error> {
        let end = Self::read(memory, vmcoreinfo, bytes + bytes.min(LONG_RECORD))?;
        if end.text.len() < bytes { Self::read(memory, vmcoreinfo, MAX_LOG) } else { Ok(end) }
    }
}

/// The last whole lines of `text` that have at most [`TAIL`] bytes; of a line that is longer, its
/// end.
fn tail(text: &[u8]) -> &[u8] {
    let Some(cut) = text.len().checked_sub(TAIL).filter(|cut| *cut > 0) else { return text };
    // A line that begins at the cut is whole.
    let end = text.iter().skip(cut - 1).position(|byte| *byte == b'\n');
    let start = end.map_or(cut, |end| cut + end);
    if start == text.len() { &text[cut..] } else { &text[start..] }
}

/// The text of VMCOREINFO among the notes in `area`, without its padding; nothing if there is no
/// such note.
pub fn vmcoreinfo(area: &[u8]) -> &[u8] {
    let note = notes(area).flatten().find(|note| note.is_vmcoreinfo());
    let text = note.map_or(&[][..], |note| note.desc);
    let end = text.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    &text[..end]
}

fn copy(bytes: &[u8]) -> Result<Vec<u8>, Error> {
    let mut list = Vec::new();
    list.try_reserve_exact(bytes.len()).map_err(|_| Error::NO_MEMORY)?;
    list.extend_from_slice(bytes);
    Ok(list)
}

#[cfg(test)]
mod tests;
