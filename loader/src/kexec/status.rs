//! The forecast of a panic, as text and as JSON.

use std::fmt;

use serde::Serialize;

use crate::json::RangeJson;
use crate::kexec::holder::Holder;
use crate::kexec::record::Record;
use crate::kexec::state::Recorded;
use crate::plan::machine::Shown;
use crate::plan::room::DiskRoom;
use crate::plan::sizes::LevelSizes;

/// The result that a panic would have now, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The loaded plan fits the machine and has a target.
    Ready,
    /// The loaded plan fits the machine and has no target.
    NoTarget,
    /// The loaded plan no longer fits the machine or its disks.
    Misfit,
    /// Another program has loaded something, or this one with another folder.
    OtherProgram,
    /// Something is loaded; only root may read the record.
    NotPermitted,
    /// A loader is at work at this moment.
    AtWork,
    /// Nothing is loaded.
    NotLoaded,
    /// The kernel does not report it.
    Unknown,
}

/// Facts from outside the system's files.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The loader's record.
    pub recorded: Recorded,
    /// The process that is loading.
    pub at_work: Option<Holder>,
    /// Seconds since the beginning of 1970.
    pub now: u64,
}

/// The state of the capture, as far as it can be seen from the first kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    /// The version of the JSON: fields may be added, none is renamed.
    pub version: u32,
    /// The outcome of a panic.
    pub verdict: Verdict,
    /// The same in one line.
    pub summary: String,
    /// Place of the slot; unknown to users other than root.
    pub slot: Option<RangeJson>,
    /// Size of the reservation in bytes, zero if there is none.
    pub reserved: Option<u64>,
    /// Memory that `crashkernel=SIZE,cma` has reserved: not for the slot, and in the dump.
    pub cma: Vec<RangeJson>,
    /// True if a capture kernel is loaded.
    pub loaded: Option<bool>,
    /// The record of the loaded plan, if this loader loaded it in this boot.
    pub record: Option<Record>,
    /// Seconds since then.
    pub age: Option<u64>,
    /// Parts of it that no longer fit the machine.
    pub misfits: Vec<String>,
    /// The dump disks of the target that is loaded, or else of the default target.
    pub disks: Vec<DiskRoom>,
    /// Size of a dump by its level, as memory is now, if the pages were counted.
    pub sizes: Option<LevelSizes>,
    /// Facts that are no fault and should be known.
    pub warnings: Vec<String>,
    /// The process that is loading now.
    pub at_work: Option<Holder>,
    /// Target of `kdump-loader load` without `--target`.
    pub target: String,
    /// Obstacles to loading a capture kernel, each with its next step.
    pub missing: Vec<String>,
    /// The next step.
    pub next_step: String,
}

/// A rough duration as text.
fn ago(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s ago"),
        120..7200 => format!("{} min ago", seconds / 60),
        7200..172_800 => format!("{} h ago", seconds / 3600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.summary)?;
        match (self.slot, self.reserved) {
            (Some(slot), _) => writeln!(f, "reservation     {}", Shown(slot))?,
            (None, Some(0)) => writeln!(f, "reservation     none")?,
            (None, Some(size)) => {
                writeln!(f, "reservation     {} KiB, place unknown", size / 1024)?
            }
            (None, None) => writeln!(f, "reservation     unknown")?,
        }
        for range in &self.cma {
            let range = Shown(*range);
            writeln!(f, "CMA memory      {range}: not for the slot, and in the dump")?;
        }
        self.fmt_loaded(f)?;
        let each = |f: &mut fmt::Formatter<'_>, name: &str, what: &[String]| {
            what.iter().try_for_each(|what| writeln!(f, "{name:15} {what}"))
        };
        self.disks.iter().try_for_each(|disk| writeln!(f, "dump disk       {disk}"))?;
        let sizes = self.sizes.iter().flat_map(LevelSizes::lines);
        sizes.into_iter().try_for_each(|(name, text)| writeln!(f, "{name:15} {text}"))?;
        each(f, "does not fit", &self.misfits)?;
        each(f, "warning", &self.warnings)?;
        if let Some(holder) = &self.at_work {
            writeln!(f, "at work         {holder}")?;
        }
        each(f, "missing", &self.missing)?;
        writeln!(f, "next step       {}", self.next_step)
    }
}

impl Status {
    /// Writes the loaded plan, or the plan that would be loaded.
    fn fmt_loaded(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let loaded = match self.loaded {
            Some(true) => "loaded",
            Some(false) => "not loaded",
            None => "unknown (/sys/kernel/kexec/crash_loaded is missing)",
        };
        write!(f, "capture kernel  {loaded}")?;
        let Some(record) = &self.record else {
            writeln!(f)?;
            return match self.loaded {
                Some(true) => Ok(()),
                _ => writeln!(f, "default target  {}", self.target),
            };
        };
        let (at, age) = (vmcore::utc_date(record.at), ago(self.age.unwrap_or_default()));
        writeln!(f, " {at}, {age}, in this boot")?;
        writeln!(f, "target          {}", record.target)?;
        writeln!(f, "command line    {}", record.command_line)?;
        let (facts, mib) = (&record.facts, record.facts.bytes() >> 20);
        writeln!(f, "memory          {mib} MiB in {} ranges", facts.ram.len())?;
        writeln!(f, "CPUs            {}", facts.cpus.len())?;
        let mut backtraces = record.backtraces.iter();
        backtraces.try_for_each(|text| writeln!(f, "backtraces      {text}"))
    }
}
