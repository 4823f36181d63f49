//! What goes where in the slot: pure, from facts and files to the segments of one kexec_load call.

use std::cmp::Reverse;

use cmdline::{Action, Compress};
use handoff::layout::{BACKUP_LENGTH, BACKUP_SOURCE, PAGE_SIZE};
use vmcore::{Class, PhysAddr, PhysRange, Segment};

use crate::error::PlanError;
use crate::facts::memory::Ram;
use crate::facts::system::{Machine, System};
use crate::images::embedded::Images;
use crate::images::kernel_image::KernelImage;
use crate::images::purgatory::PurgatoryImage;
use crate::plan::command_line::CommandLine;
use crate::plan::contents::Contents;
use crate::plan::core_header::Core;
use crate::plan::e820::E820;
use crate::plan::layout::{Layout, Sizes, bounded, control_pages, pick_slot};
use crate::plan::machine::Facts;
use crate::plan::room;

/// I/O port of the first serial port, COM1.
pub const COM1: u16 = 0x3f8;

/// The user's part of the capture kernel's command line. `memmap=` and `elfcorehdr=` come behind it
/// in either case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserText {
    /// Behind the words that come from the options and from the machine.
    Append(String),
    /// Instead of these words: for a Linux as capture kernel.
    Whole(String),
}

/// What the user may decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanOptions {
    /// Text for the command line.
    pub text: UserText,
    /// The value of `kdump.target=`.
    pub target: Option<String>,
    /// True if the target may be a disk that is not there.
    pub any_disk: bool,
    /// `kdump.compress=`: the encoding of the bulk.
    pub compress: Option<Compress>,
    /// `kdump.final_action=`: what follows a complete dump.
    pub final_action: Option<Action>,
    /// `kdump.failure_action=`: what follows a failed one; decides for purgatory, too.
    pub failure_action: Option<Action>,
    /// I/O port of the 16550 that purgatory talks to; zero for silence.
    pub console_port: u16,
    /// Whether the capture kernel may also use what purgatory has saved, the first 640 KiB. Ours
    /// does not need it; a Linux does.
    pub low_memory: bool,
    /// The width of the ELF core header's fields; by itself ELF64 when memory lies above 4 GiB.
    pub class: Option<Class>,
    /// The lowest physical address that is used.
    pub mem_min: Option<PhysAddr>,
    /// The highest physical address that is used.
    pub mem_max: Option<PhysAddr>,
    /// Whether purgatory verifies the slot; its own parameters it always does.
    pub checks: bool,
    /// An initramfs, for a Linux as capture kernel.
    pub initrd: Option<Vec<u8>>,
}

/// One segment of the kexec_load call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedSegment {
    /// What a person calls it; no two segments have the same name.
    pub name: String,
    /// Its place in physical memory, in whole pages.
    pub range: PhysRange,
    /// Its first bytes; the first kernel fills the rest of the range with zeros.
    pub bytes: Vec<u8>,
}

/// The note area of one CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedNotes {
    /// The CPU's number.
    pub cpu: u32,
    /// Where the first kernel writes its registers.
    pub area: PhysRange,
}

/// Everything that `load` is going to do. All addresses are physical.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The reservation, or the part of it that the options allow.
    pub slot: PhysRange,
    /// Where the first kernel jumps when it dies: purgatory's entry point for its machine.
    pub entry: PhysAddr,
    /// Where purgatory jumps: the capture kernel's entry point, moved with its image.
    pub kernel_entry: PhysAddr,
    /// The first page of the capture kernel's image.
    pub kernel_base: PhysAddr,
    /// How far the capture kernel lies from where it was linked, in bytes.
    pub kernel_delta: i64,
    /// The segments, lowest first; they do not overlap.
    pub segments: Vec<PlannedSegment>,
    /// The capture kernel's command line.
    pub command_line: String,
    /// Where the dump goes, or what happens without a target, for a person.
    pub target: String,
    /// True without a target: a crash is then reported on the console only, and no dump is kept.
    pub no_target: bool,
    /// The segment with the ELF core header.
    pub elfcorehdr: PhysRange,
    /// The width of its fields.
    pub class: Class,
    /// Whether there is an ELF core header; else the first kernel builds it and seals the slot.
    pub sealed: bool,
    /// The first byte of purgatory's parameter block.
    pub params: PhysAddr,
    /// The memory that the capture kernel may use: its `memmap=`. Its e820 table has all of the
    /// first kernel's memory.
    pub memory: Vec<PhysRange>,
    /// Where purgatory saves the first kernel's memory from 0 to 640 KiB.
    pub backup: PhysRange,
    /// The longest piece of the slot that no segment takes; the first kernel's control pages come
    /// from there.
    pub gap: PhysRange,
    /// The note area of each CPU.
    pub notes: Vec<PlannedNotes>,
    /// The note area of VMCOREINFO.
    pub vmcoreinfo: Option<PhysRange>,
    /// The PT_LOADs of the dump, lowest `p_paddr` first.
    pub loads: Vec<Segment>,
    /// What will be missing in the dump or at its end, and why.
    pub warnings: Vec<String>,
}

impl Default for PlanOptions {
    fn default() -> Self {
        Self {
            text: UserText::Append(String::new()),
            target: None,
            any_disk: false,
            compress: None,
            final_action: None,
            failure_action: None,
            console_port: COM1,
            low_memory: false,
            class: None,
            mem_min: None,
            mem_max: None,
            checks: true,
            initrd: None,
        }
    }
}

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

/// What a plan is made for: a slot that is known, and a first kernel that may not be.
pub(crate) struct Ground<'a> {
    pub(crate) slot: PhysRange,
    pub(crate) core: Core,
    /// Empty but for the slot, when the first kernel is not known.
    pub(crate) system: &'a System,
}

impl Ground<'_> {
    /// What everything takes. Where there are more ranges of RAM than the slot has room for, the
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
        warnings: [core.warnings, line.problems, made_worse(options, &e820, unused)].concat(),
    };
    if plan.sealed {
        let facts = Facts::of_plan(&plan);
        let disks = room::of_line(&plan.command_line, &facts, &system.dump_disks);
        plan.warnings.extend(disks.into_iter().filter_map(|disk| disk.problem));
    }
    Ok(plan)
}

/// What the options make worse, and what the memory map has no room for.
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
    let kernel = KernelImage::parse(images.capture_kernel).map_err(PlanError::CaptureKernel)?;
    let purgatory = PurgatoryImage::parse(images.purgatory).map_err(PlanError::Purgatory)?;
    Ok((kernel, purgatory))
}

/// Checks what does not depend on the images, and picks the slot.
pub(crate) fn check_system(system: &System) -> Result<PhysRange, PlanError> {
    if system.memory.hidden {
        return Err(PlanError::AddressesHidden);
    }
    if let Some(kind) = system.confidential {
        return Err(PlanError::ConfidentialGuest { kind });
    }
    if system.encrypts_memory {
        return Err(PlanError::EncryptedMemory);
    }
    pick_slot(system)
}

/// The offset of purgatory's entry point: an x86_64 kernel jumps in 64-bit mode.
fn entry(machine: Option<Machine>, purgatory: &PurgatoryImage) -> u64 {
    match machine {
        Some(Machine::X86_64) => purgatory.entry64.into(),
        Some(Machine::I386) | None => purgatory.entry32.into(),
    }
}

/// What the capture kernel may use: the slot up to what must stay as it is, and on request the low
/// memory that purgatory has saved. Of more ranges than the command line has room for, the smallest
/// are not used; returns how many these are as well.
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
