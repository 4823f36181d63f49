//! The ELF core header block: PT_NOTE per CPU, PT_NOTE for VMCOREINFO and for its additions,
//! PT_LOAD per range of RAM; after the headers, the bytes of that last note.
//!
//! Source: paper, section 4.2.

use std::cmp::Reverse;

use vmcore::{Class, EM_386, EM_X86_64, LinearMap, PhysAddr, PhysRange, Segment};

use crate::facts::iomem::LeftOutRam;
use crate::facts::memory::{Ram, image_load, linear_map};
use crate::facts::system::{CpuNotes, Machine, System};
use crate::plan::error::PlanError;
use crate::plan::types::PlannedNotes;
use crate::plan::{image_data, left_out};

/// Input of the block.
pub(crate) struct Core {
    /// RAM less the reservations.
    pub(crate) ram: Ram,
    linear: Option<LinearMap>,
    /// The kernel's image at its own virtual addresses, which on i386 are those of the linear
    /// mapping.
    image: Option<Segment>,
    /// `e_machine`.
    machine: u16,
    pub(crate) notes: Vec<PlannedNotes>,
    pub(crate) vmcoreinfo: Option<PhysRange>,
    /// Lines for VMCOREINFO: the kernel's offset, and the bounds of its data.
    addresses: String,
    /// Lines for VMCOREINFO that backtraces need, the most important ones first.
    names: String,
    /// RAM that the dump will not have, for lines of VMCOREINFO.
    left_out: Vec<LeftOutRam>,
    pub(crate) class: Class,
    /// True if all of this is known; otherwise the first kernel builds the block.
    pub(crate) known: bool,
    /// The least that the block gets, in bytes.
    pub(crate) room: u64,
    /// Memory that the dump will lack.
    pub(crate) warnings: Vec<String>,
}

impl Core {
    /// Gathers RAM, linear mapping and note areas, for headers of the class that is asked for.
    pub(crate) fn find(system: &System, asked: Option<Class>) -> Result<Self, PlanError> {
        let ram = crash_memory_ranges(system)?;
        let notes = note_areas(&system.cpus, &ram)?;
        if let Some(area) = system.vmcoreinfo {
            check_area(area, &ram, || "VMCOREINFO".to_owned())?;
        }
        let linear = linear_map(system);
        let machine = match system.machine {
            Some(Machine::X86_64) => EM_X86_64,
            Some(Machine::I386) | None => EM_386,
        };
        let class = class(&ram, machine, asked)?;
        let mut warnings = Vec::new();
        let image = system.kcore.image.map(|map| image_load(&map, system, &ram)).transpose();
        if let Err(why) = image {
            warnings.push(format!("gdb will not find the kernel's text in the dump: {why}"));
        }
        if let Err(why) = linear {
            warnings.push(format!("the dump will have no virtual addresses (p_vaddr 0): {why}"));
        }
        if system.vmcoreinfo.is_none() {
            warnings.push(
                "the dump will have no VMCOREINFO, which crash, drgn and makedumpfile need: \
                 /sys/kernel/vmcoreinfo is missing"
                    .to_owned(),
            );
        }
        warnings.extend(left_out::warnings(&system.memory.left_out));
        let (linear, image) = (linear.ok(), image.ok().flatten());
        // i386 kernels have their image in the linear mapping.
        let image_offset = match machine {
            EM_386 => linear.map(|map| map.page_offset),
            _ => image.map(|image| image.vaddr.wrapping_sub(image.paddr.get())),
        };
        let data = image_offset.map(|offset| image_data::lines(&system.memory, offset));
        Ok(Self {
            addresses: kernel_offset(system, &mut warnings) + &data.unwrap_or_default(),
            names: names(system, &mut warnings),
            left_out: system.memory.left_out.clone(),
            ram,
            linear,
            image,
            machine,
            notes,
            vmcoreinfo: system.vmcoreinfo,
            class,
            known: true,
            room: 0,
            warnings,
        })
    }

    /// Nothing is known yet, and the block gets `room` bytes.
    pub(crate) fn unknown(room: u64) -> Self {
        Self {
            ram: Ram::new(),
            linear: None,
            image: None,
            machine: EM_386,
            notes: Vec::new(),
            vmcoreinfo: None,
            addresses: String::new(),
            names: String::new(),
            left_out: Vec::new(),
            class: Class::Elf32,
            known: false,
            room,
            warnings: Vec::new(),
        }
    }

    /// The PT_LOADs when the backup region is at `backup`.
    pub(crate) fn loads(&self, backup: PhysAddr) -> Vec<Segment> {
        let mut loads = vmcore::loads(&self.ram, self.linear, backup);
        loads.extend(self.image);
        loads
    }

    /// The block with these PT_LOADs for the physical address `at`; empty when nothing is known.
    pub(crate) fn header(&self, loads: &[Segment], at: PhysAddr) -> Result<Vec<u8>, PlanError> {
        if !self.known {
            return Ok(Vec::new());
        }
        let mut areas: Vec<PhysRange> = self.notes.iter().map(|notes| notes.area).collect();
        areas.extend(self.vmcoreinfo);
        let addendum = self.addendum()?;
        if !addendum.is_empty() {
            let count = areas.len() + 1 + loads.len();
            let table = self.class.header_size() + count * self.class.entry_size();
            let start = PhysAddr::new(at.get() + table as u64);
            areas.push(PhysRange::new(start, addendum.len() as u64)?);
        }
        let mut block = vmcore::core_header(self.machine, self.class, areas, loads)?;
        block.extend(&addendum);
        Ok(block)
    }

    /// The length of the block in bytes, wherever the backup region is going to be.
    pub(crate) fn size(&self) -> Result<u64, PlanError> {
        let nowhere = PhysAddr::new(0);
        let length = self.header(&self.loads(nowhere), nowhere)?.len() as u64;
        Ok(length.max(self.room))
    }

    /// Additions to VMCOREINFO, as lines in a note; empty if there are none.
    fn addendum(&self) -> Result<Vec<u8>, PlanError> {
        let room = vmcore::MAX_ADDED - self.addresses.len();
        let names = left_out::whole_lines(&self.names, room - left_out::COUNT_LINE);
        let left = left_out::lines(&self.left_out, room - names.len());
        let lines = [&self.addresses, names, &left].concat();
        if self.vmcoreinfo.is_none() || lines.is_empty() {
            return Ok(Vec::new());
        }
        Ok(vmcore::note_of_text(vmcore::NAME_ADDENDUM, lines.as_bytes())?)
    }

    /// The most bytes of the block that do not depend on the number of ranges.
    pub(crate) fn fixed_size(&self) -> u64 {
        let segments = (self.notes.len() + BESIDE) * self.class.entry_size();
        let addendum = vmcore::MAX_ADDED + 64;
        (self.class.header_size() + segments + addendum) as u64
    }

    /// The most ranges of RAM that headers and slot have room for, when `heap` bytes of it are the
    /// capture kernel's.
    pub(crate) fn most_ranges(&self, heap: u64) -> usize {
        let each = self.class.entry_size() as u64 + vmcore::HEAP_PER_LOAD;
        let fit = usize::try_from(heap.saturating_sub(HEAP_BASE) / each).unwrap_or(usize::MAX);
        let named = usize::from(vmcore::MAX_SEGMENTS).saturating_sub(self.notes.len() + BESIDE);
        fit.max(ALWAYS).min(named)
    }

    /// Leaves out the smallest ranges beyond `most`, and reports them.
    pub(crate) fn keep_largest(&mut self, most: usize) -> Result<(), PlanError> {
        let mut ranges: Vec<PhysRange> = self.ram.iter().collect();
        if ranges.len() <= most {
            return Ok(());
        }
        ranges.sort_by_key(|range| (Reverse(range.length()), range.start()));
        let small = ranges.split_off(most);
        let bytes: u64 = small.iter().map(|range| range.length()).sum();
        let (count, all) = (small.len(), self.ram.iter().len());
        self.warnings.push(format!(
            "memory that the dump will lack: the smallest {count} of {all} ranges of RAM, {bytes} \
             bytes, the largest of them {}: headers and slot have room for {most}; a larger \
             crashkernel= has room for up to {}",
            small[0],
            self.most_ranges(u64::MAX),
        ));
        let reason = || TOO_MANY.to_owned();
        self.left_out.extend(small.into_iter().map(|range| LeftOutRam { range, reason: reason() }));
        self.ram = Ram::union(ranges)?;
        Ok(())
    }
}

/// All RAM of the first kernel except the reservation for a crash kernel.
pub(crate) fn crash_memory_ranges(system: &System) -> Result<Ram, PlanError> {
    let memory = &system.memory;
    if memory.ram.iter().all(|range| range.is_empty()) {
        return Err(PlanError::NoRam);
    }
    Ok(vmcore::crash_memory_ranges(memory.ram.iter().copied(), &memory.reservations)?)
}

/// Segments besides those of CPUs and of whole ranges: VMCOREINFO, its additions, the kernel's
/// image, and two more for cut ranges.
const BESIDE: usize = 5;
/// Number of ranges that fit in any slot that holds the rest.
const ALWAYS: usize = 64;
/// Part of the capture kernel's heap that does not depend on the number of ranges, in bytes: mostly
/// the log and the rings of devices.
const HEAP_BASE: u64 = 1 << 20;
/// The reason given for a range that did not fit.
const TOO_MANY: &str = "too many ranges";

/// Offset of the kernel from its link address, as a line of VMCOREINFO. An x86_64 kernel reports it
/// itself.
///
/// Source: Linux, `arch/x86/kernel/machine_kexec_64.c`, `arch_crash_save_vmcoreinfo`.
fn kernel_offset(system: &System, warnings: &mut Vec<String>) -> String {
    if system.machine == Some(Machine::X86_64) || system.vmcoreinfo.is_none() {
        return String::new();
    }
    let Some((runs_at, linked_at)) = system.memory.kernel_code.zip(system.linked_at) else {
        warnings.push(
            "crash and drgn will need to be told KERNELOFFSET: /sys/kernel/boot_params/data or \
             \"Kernel code\" in /proc/iomem is missing"
                .to_owned(),
        );
        return String::new();
    };
    let offset = runs_at.get().wrapping_sub(linked_at.get()) as u32;
    format!("KERNELOFFSET={offset:x}\n")
}

/// Lines for VMCOREINFO that backtraces need.
fn names(system: &System, warnings: &mut Vec<String>) -> String {
    let Some(names) = &system.names else { return String::new() };
    if names.hidden {
        warnings.push(
            "backtraces will lack symbols: the kernel hides the addresses in /proc/kallsyms; set \
             kernel.kptr_restrict to 0 or 1, and load again"
                .to_owned(),
        );
    }
    names.lines.clone()
}

/// The class that is asked for, or the narrowest that can name all of RAM and the machine's virtual
/// addresses.
fn class(ram: &Ram, machine: u16, asked: Option<Class>) -> Result<Class, PlanError> {
    if machine == EM_X86_64 {
        let narrow = asked == Some(Class::Elf32);
        return if narrow { Err(PlanError::Elf32Of64Bit) } else { Ok(Class::Elf64) };
    }
    let end = ram.iter().last().map_or(PhysAddr::new(0), |range| range.end());
    match (asked, Class::narrowest(end)) {
        (Some(Class::Elf32), Class::Elf64) => Err(PlanError::MemoryAboveElf32 { end }),
        (asked, narrowest) => Ok(asked.unwrap_or(narrowest)),
    }
}

/// The note area of every CPU, or the fault of one of them.
pub(crate) fn note_areas(cpus: &[CpuNotes], ram: &Ram) -> Result<Vec<PlannedNotes>, PlanError> {
    if cpus.is_empty() {
        return Err(PlanError::NoCpus);
    }
    let areas = cpus.iter().map(|notes| {
        let cpu = notes.cpu;
        let area = notes.area.ok_or(PlanError::NotesMissing { cpu })?;
        check_area(area, ram, || format!("CPU {cpu}"))?;
        Ok(PlannedNotes { cpu, area })
    });
    areas.collect()
}

fn check_area(area: PhysRange, ram: &Ram, owner: impl Fn() -> String) -> Result<(), PlanError> {
    if ram.contains(area) {
        return Ok(());
    }
    Err(PlanError::NotesOutsideRam { owner: owner(), area })
}
