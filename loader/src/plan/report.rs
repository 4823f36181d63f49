//! A plan for people (a table) and for programs (JSON, without the bytes).

use std::fmt;

use serde::ser::{Serialize, Serializer};
use vmcore::{Class, PhysRange, Segment};

use crate::json::{RangeJson, SegmentJson};
use crate::plan::sizes::LevelSizes;
use crate::plan::types::{Plan, PlannedSegment};

/// The version of the JSON: fields may be added, none is renamed.
pub const PLAN_VERSION: u32 = 1;

/// A plan as JSON. Addresses are physical unless named otherwise, and all numbers are bytes.
#[derive(serde::Serialize)]
struct PlanJson<'a> {
    version: u32,
    slot: RangeJson,
    purgatory_entry: u64,
    kernel_entry: u64,
    kernel_base: u64,
    kernel_delta: i64,
    segments: Vec<SegmentJson>,
    command_line: &'a str,
    target: &'a str,
    iommus: String,
    elfcorehdr: RangeJson,
    elf_class: &'static str,
    memory: Vec<RangeJson>,
    backup: RangeJson,
    gap: RangeJson,
    notes: Vec<NotesJson>,
    vmcoreinfo: Option<RangeJson>,
    loads: Vec<LoadJson>,
    backtraces: Option<&'a str>,
    warnings: &'a [String],
    sizes: Option<&'a LevelSizes>,
}

#[derive(serde::Serialize)]
struct NotesJson {
    cpu: u32,
    #[serde(flatten)]
    area: RangeJson,
}

#[derive(serde::Serialize)]
struct LoadJson {
    paddr: u64,
    length: u64,
    source: u64,
    vaddr: u64,
}

impl From<&Segment> for LoadJson {
    fn from(load: &Segment) -> Self {
        let (paddr, source) = (load.paddr.get(), load.source.get());
        Self { paddr, length: load.memsz, source, vaddr: load.vaddr }
    }
}

impl<'a> From<&'a Plan> for PlanJson<'a> {
    fn from(plan: &'a Plan) -> Self {
        let notes =
            plan.notes.iter().map(|notes| NotesJson { cpu: notes.cpu, area: notes.area.into() });
        Self {
            version: PLAN_VERSION,
            slot: plan.slot.into(),
            purgatory_entry: plan.entry.get(),
            kernel_entry: plan.kernel_entry.get(),
            kernel_base: plan.kernel_base.get(),
            kernel_delta: plan.kernel_delta,
            segments: plan.segments.iter().map(PlannedSegment::json).collect(),
            command_line: &plan.command_line,
            target: &plan.target,
            iommus: plan.iommus.to_string(),
            elfcorehdr: plan.elfcorehdr.into(),
            elf_class: class_name(plan.class),
            memory: plan.memory.iter().copied().map(RangeJson::from).collect(),
            backup: plan.backup.into(),
            gap: plan.gap.into(),
            notes: notes.collect(),
            vmcoreinfo: plan.vmcoreinfo.map(RangeJson::from),
            loads: plan.loads.iter().map(LoadJson::from).collect(),
            backtraces: plan.backtraces.as_deref(),
            warnings: &plan.warnings,
            sizes: plan.sizes.as_ref(),
        }
    }
}

impl Serialize for Plan {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        PlanJson::from(self).serialize(serializer)
    }
}

fn class_name(class: Class) -> &'static str {
    match class {
        Class::Elf32 => "ELF32",
        Class::Elf64 => "ELF64",
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        row(f, "slot", self.slot, "")?;
        for segment in &self.segments {
            row(f, &segment.name, segment.range, &format!("{} bytes given", segment.bytes.len()))?;
        }
        row(f, "gap", self.gap, "undeclared: for the first kernel's control pages")?;
        for range in &self.memory {
            row(f, "memory", *range, "for the capture kernel")?;
        }
        writeln!(f, "{:14} {} (purgatory)", "entry", self.entry)?;
        let moved = if self.kernel_delta == 0 { "where it was linked" } else { "moved" };
        writeln!(f, "{:14} {} (capture kernel, {moved})", "", self.kernel_entry)?;
        writeln!(f, "{:14} {}", "command line", self.command_line)?;
        writeln!(f, "{:14} {}", "target", self.target)?;
        writeln!(f, "{:14} {}", "IOMMUs", self.iommus)?;
        for (name, text) in self.sizes.iter().flat_map(LevelSizes::lines) {
            writeln!(f, "{name:14} {text}")?;
        }
        self.fmt_dump(f)?;
        self.warnings.iter().try_for_each(|warning| writeln!(f, "warning: {warning}"))
    }
}

impl Plan {
    /// Contents of the dump.
    fn fmt_dump(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nThe dump ({} headers):", class_name(self.class))?;
        for load in &self.loads {
            let range = load.memory_range().map_err(|_| fmt::Error)?;
            let mapped =
                if load.vaddr == 0 { String::new() } else { format!("at {:#x}", load.vaddr) };
            let saved = if load.source == load.paddr { "" } else { " (from the backup region)" };
            row(f, "RAM", range, &format!("{mapped}{saved}"))?;
        }
        for notes in &self.notes {
            row(f, &format!("notes, CPU {}", notes.cpu), notes.area, "")?;
        }
        self.vmcoreinfo.map_or(Ok(()), |area| row(f, "VMCOREINFO", area, ""))?;
        let mut backtraces = self.backtraces.iter();
        backtraces.try_for_each(|text| writeln!(f, "{:14} {text}", "backtraces"))
    }
}

/// One line of the table.
fn row(f: &mut fmt::Formatter<'_>, name: &str, range: PhysRange, what: &str) -> fmt::Result {
    let (start, end) = (range.start().get(), range.end().get());
    let size = match range.length() {
        bytes if bytes.is_multiple_of(1024) => format!("{} KiB", bytes / 1024),
        bytes => format!("{bytes} B"),
    };
    let line = format!("{name:14} {start:#011x}..{end:#011x} {size:>12}  {what}");
    writeln!(f, "{}", line.trim_end())
}
