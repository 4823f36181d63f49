//! Fills the slot: pure, from facts and files to the segments of one kexec_load call.

use std::cmp::Reverse;

use handoff::layout::{BACKUP_LENGTH, BACKUP_SOURCE, PAGE_SIZE};
use vmcore::{PhysAddr, PhysRange};

use crate::facts::memory::Ram;
use crate::facts::system::{Machine, System};
use crate::images::files::Images;
use crate::images::kernel_image::KernelImage;
use crate::images::purgatory::PurgatoryImage;
use crate::plan::command_line::CommandLine;
use crate::plan::contents::Contents;
use crate::plan::core_header::Core;
use crate::plan::e820::E820;
use crate::plan::error::PlanError;
use crate::plan::layout::{Layout, Sizes, control_pages};
use crate::plan::machine::Facts;
use crate::plan::reservation::{bounded, check_system};
use crate::plan::room;
use crate::plan::sizes::LevelSizes;
use crate::plan::types::{Plan, PlanOptions};

/// Plans the slot: facts and files in, segments out; nothing else is read or written.
///
/// # Errors
/// The first thing that keeps this capture kernel from being loaded on this system.
pub fn plan(
    system: &System,
    images: &Images<'_>,
    options: &PlanOptions,
) -> Result<Plan, PlanError> {
    let slot = bounded(check_system(system)?, options)?;
    let parsed = parse(images)?;
    let core = Core::find(system, options.class)?;
    fill(Ground { slot, core, system }, &parsed, options)
}

/// Input of a plan: a slot that is known, and a first kernel that may not be.
pub(crate) struct Ground<'a> {
    pub(crate) slot: PhysRange,
    pub(crate) core: Core,
    /// Empty but for the slot, when the first kernel is not known.
    pub(crate) system: &'a System,
}

impl Ground<'_> {
    /// Sizes of everything. If there are more ranges of RAM than the slot has room for, the
    /// smallest are left out.
    fn sizes(
        &mut self,
        (kernel, purgatory): &ParsedImages<'_>,
        options: &PlanOptions,
    ) -> Result<Sizes, PlanError> {
        let mut sizes = Sizes {
            elfcorehdr: self.core.fixed_size(),
            purgatory: purgatory.size(),
            initrd: initrd_size(options),
            // The first kernel's page tables are for all of RAM.
            control_pages: control_pages(self.system.machine, &self.core.ram),
        };
        // A slot that is too small is refused with the size that is needed.
        let gap = Layout::new(self.slot, kernel, &sizes).map_or(0, |layout| layout.gap.length());
        let heap = gap.saturating_sub(sizes.control_pages);
        self.core.keep_largest(self.core.most_ranges(heap))?;
        sizes.elfcorehdr = self.core.size()?;
        Ok(sizes)
    }
}

/// Fills the slot.
pub(crate) fn fill(
    mut ground: Ground<'_>,
    images @ (kernel, purgatory): &ParsedImages<'_>,
    options: &PlanOptions,
) -> Result<Plan, PlanError> {
    let sizes = ground.sizes(images, options)?;
    let Ground { slot, core, system } = ground;
    let layout = Layout::new(slot, kernel, &sizes)?;
    let loads = core.loads(layout.backup.start());
    let (memory, unused) = usable_memory(&core.ram, &layout, options);
    let line = CommandLine::new(options, system, &memory, layout.elfcorehdr)?;
    let e820 = E820::new(&system.memory, &memory)?;
    let contents = Contents {
        kernel,
        purgatory,
        elfcorehdr: core.header(&loads, layout.elfcorehdr.start())?,
        e820: &e820,
        line: &line,
        options,
        sealed: core.known,
    };
    let mut plan = Plan {
        slot,
        entry: PhysAddr::new(layout.purgatory.start().get() + entry(system.machine, purgatory)),
        kernel_entry: layout.moved(kernel.entry.into()),
        kernel_base: layout.moved(kernel.span().0),
        kernel_delta: layout.delta,
        segments: contents.segments(&layout)?,
        command_line: line.text,
        target: line.target.words,
        no_target: line.target.missing,
        elfcorehdr: layout.elfcorehdr,
        class: core.class,
        sealed: core.known,
        params: PhysAddr::new(layout.purgatory.start().get() + purgatory.params as u64),
        memory,
        backup: layout.backup,
        gap: layout.gap,
        notes: core.notes,
        vmcoreinfo: core.vmcoreinfo,
        loads,
        backtraces: system.names.as_ref().map(ToString::to_string),
        iommus: system.iommus.clone(),
        sizes: None,
        warnings: [core.warnings, line.problems, made_worse(options, &e820, unused)].concat(),
    };
    if plan.sealed {
        let facts = Facts::of_plan(&plan);
        let disks = room::of_line(&plan.command_line, &facts, system);
        plan.warnings.extend(disks.into_iter().filter_map(|disk| disk.problem));
        plan.sizes = LevelSizes::of(&plan.command_line, Some(&facts), system);
    }
    Ok(plan)
}

/// Disadvantages of the options, and memory that does not fit in the memory map.
fn made_worse(options: &PlanOptions, e820: &E820, unused: usize) -> Vec<String> {
    let unchecked =
        "--no-checks: purgatory will run whatever is in the slot then, overwritten or not";
    let unchecked = (!options.checks).then(|| unchecked.to_owned());
    let unused = (unused > 0).then(|| {
        format!("--low-memory: the smallest {unused} ranges are not used, there are too many")
    });
    unchecked.into_iter().chain(unused).chain(e820.warning()).collect()
}

fn initrd_size(options: &PlanOptions) -> u64 {
    options.initrd.as_ref().map_or(0, |bytes| bytes.len() as u64)
}

/// The capture kernel and purgatory, read and checked.
pub(crate) type ParsedImages<'a> = (KernelImage<'a>, PurgatoryImage);

pub(crate) fn parse<'a>(images: &Images<'a>) -> Result<ParsedImages<'a>, PlanError> {
    let kernel = images.kernel().map_err(PlanError::CaptureKernel)?;
    let purgatory = images.purgatory().map_err(PlanError::Purgatory)?;
    Ok((kernel, purgatory))
}

/// The offset of purgatory's entry point: an x86_64 kernel jumps in 64-bit mode.
fn entry(machine: Option<Machine>, purgatory: &PurgatoryImage) -> u64 {
    match machine {
        Some(Machine::X86_64) => purgatory.entry64.into(),
        Some(Machine::I386) | None => purgatory.entry32.into(),
    }
}

/// Memory that the capture kernel may use: the slot up to the parts that must stay as they are, and
/// on request the low memory that purgatory has saved. If the command line has no room for all
/// ranges, the smallest are not used; returns their number as well.
fn usable_memory(ram: &Ram, layout: &Layout, options: &PlanOptions) -> (Vec<PhysRange>, usize) {
    let mut memory: Vec<PhysRange> = Vec::new();
    if options.low_memory {
        memory.extend(ram.iter().filter_map(saved_pages));
    }
    memory.sort_by_key(|range| (Reverse(range.length()), range.start()));
    let unused = memory.len().saturating_sub(cmdline::MAX_MEMMAP - 1);
    memory.truncate(cmdline::MAX_MEMMAP - 1);
    memory.sort_by_key(|range| range.start());
    memory.push(layout.memory);
    (memory, unused)
}

/// The whole pages of a range that purgatory saves.
fn saved_pages(range: PhysRange) -> Option<PhysRange> {
    let saved = PhysRange::new(PhysAddr::new(BACKUP_SOURCE), BACKUP_LENGTH).ok()?;
    let part = range.intersect(saved)?;
    let start = part.start().align_up(PAGE_SIZE)?;
    let whole = PhysRange::from_bounds(start, part.end().align_down(PAGE_SIZE)).ok()?;
    (!whole.is_empty()).then_some(whole)
}
