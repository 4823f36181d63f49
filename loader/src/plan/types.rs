//! The user's options, and the plan that follows from them.

use cmdline::{Action, Compress};
use vmcore::{Class, Level, PhysAddr, PhysRange, Segment};

use crate::facts::iommu::Iommus;
use crate::json::SegmentJson;
use crate::plan::sizes::LevelSizes;

/// I/O port of the first serial port, COM1.
pub const COM1: u16 = 0x3f8;

/// The user's part of the capture kernel's command line. `memmap=` and `elfcorehdr=` follow it in
/// either case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserText {
    /// Behind the words that come from the options and from the machine.
    Append(String),
    /// Instead of these words: for a Linux as capture kernel.
    Whole(String),
}

/// Options of the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanOptions {
    /// Text for the command line.
    pub text: UserText,
    /// The value of `kdump.target=`.
    pub target: Option<String>,
    /// True if the target may be a disk that is not there.
    pub any_disk: bool,
    /// `kdump.level=`: the dump level.
    pub level: Option<Level>,
    /// `kdump.compress=`: the encoding of the bulk.
    pub compress: Option<Compress>,
    /// `kdump.final_action=`: the action after a complete dump.
    pub final_action: Option<Action>,
    /// `kdump.failure_action=`: the action after a failed one; purgatory uses it, too.
    pub failure_action: Option<Action>,
    /// I/O port of the 16550 that purgatory prints to; zero for silence.
    pub console_port: u16,
    /// True if the capture kernel may also use the memory that purgatory has saved, the first 640
    /// KiB. Ours does not need it; a Linux does.
    pub low_memory: bool,
    /// The width of the ELF core header's fields; by default ELF64 if there is memory above 4 GiB.
    pub class: Option<Class>,
    /// The lowest physical address that is used.
    pub mem_min: Option<PhysAddr>,
    /// The highest physical address that is used.
    pub mem_max: Option<PhysAddr>,
    /// True if purgatory verifies the slot. It always verifies its own parameters.
    pub checks: bool,
    /// An initramfs, for a Linux as capture kernel.
    pub initrd: Option<Vec<u8>>,
}

/// One segment of the kexec_load call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedSegment {
    /// Its name for people; no two segments have the same name.
    pub name: String,
    /// Its place in physical memory, in whole pages.
    pub range: PhysRange,
    /// Its first bytes; the first kernel fills the rest of the range with zeros.
    pub bytes: Vec<u8>,
}

impl PlannedSegment {
    pub(crate) fn json(&self) -> SegmentJson {
        SegmentJson { name: self.name.clone(), place: self.range.into(), bytes: self.bytes.len() }
    }
}

/// The note area of one CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedNotes {
    /// The CPU's number.
    pub cpu: u32,
    /// Address at which the first kernel writes its registers.
    pub area: PhysRange,
}

/// Everything that `load` is going to do. All addresses are physical.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The reservation, or the part of it that the options allow.
    pub slot: PhysRange,
    /// Address to which the first kernel jumps when it dies: purgatory's entry point for its
    /// machine.
    pub entry: PhysAddr,
    /// Address to which purgatory jumps: the capture kernel's entry point, moved with its image.
    pub kernel_entry: PhysAddr,
    /// The first page of the capture kernel's image.
    pub kernel_base: PhysAddr,
    /// Distance of the capture kernel from its linked address, in bytes.
    pub kernel_delta: i64,
    /// The segments, lowest first; they do not overlap.
    pub segments: Vec<PlannedSegment>,
    /// The capture kernel's command line.
    pub command_line: String,
    /// Target of the dump, or the outcome without a target, for a person.
    pub target: String,
    /// True without a target: a crash is then reported on the console only, and no dump is kept.
    pub no_target: bool,
    /// The segment with the ELF core header.
    pub elfcorehdr: PhysRange,
    /// The width of its fields.
    pub class: Class,
    /// True if there is an ELF core header; otherwise the first kernel builds it and seals the
    /// slot.
    pub sealed: bool,
    /// The first byte of purgatory's parameter block.
    pub params: PhysAddr,
    /// The memory that the capture kernel may use: its `memmap=`. Its e820 table has all of the
    /// first kernel's memory.
    pub memory: Vec<PhysRange>,
    /// Place to which purgatory saves the first kernel's memory from 0 to 640 KiB.
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
    /// Preparations for backtraces, as a line of text, if they were looked for.
    pub backtraces: Option<String>,
    /// The machine's IOMMUs.
    pub iommus: Iommus,
    /// Parts that will be missing in the dump or at its end, with the reason.
    pub warnings: Vec<String>,
    /// Size of the dump by its level, as memory is now, if the pages were counted.
    pub sizes: Option<LevelSizes>,
}

impl Default for PlanOptions {
    fn default() -> Self {
        Self {
            text: UserText::Append(String::new()),
            target: None,
            any_disk: false,
            level: None,
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
