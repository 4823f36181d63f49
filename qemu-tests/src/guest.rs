//! The test guest as a first kernel: what a loader would find out and do, done from outside.
//!
//! The guest is mapped one to one. Its plan is made by the loader's
//! own [`loader::plan()`] from facts that are written down here, and QEMU puts the segments in
//! their places before the guest starts.

use std::fs;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use loader::iomem::MemoryMap;
use loader::system::{CpuNotes, Machine};
use loader::{Images, Plan, PlanOptions, System, UserText};
use vmcore::{Class, PhysAddr, PhysRange};

use crate::core_file::GENERAL_REGISTERS;
use crate::dead_kernel::DeadKernel;
use crate::image::Image;
use crate::memory::GuestMemory;
use crate::qemu::{Blob, Boot};
use crate::slot::parse_slot;

/// Symbols of the guest's ELF file.
const NOTES: &str = "GUEST_CRASH_NOTES";
const BANNER: &str = "GUEST_BANNER";
const PANIC: &str = "guest_panic";
/// One of its crash note areas, in bytes.
const NOTE_AREA: u64 = 1024;
/// What the plan takes for the distance between virtual and physical addresses. The guest has no
/// page tables; the dump gets the virtual addresses that an i386 Linux would have, so that there is
/// something for gdb to look up.
const PAGE_OFFSET: u64 = 0xc000_0000;
/// One past the last physical address that an i386 Linux maps directly (896 MiB).
const LOWMEM_END: u64 = 0x3800_0000;
/// RAM below the extended BIOS data area.
const LOW_RAM: Range<u64> = 0x1000..0x9_fc00;
/// Where RAM goes on.
const HIGH_RAM: u64 = 0x10_0000;
/// What SeaBIOS keeps for itself below the end of memory at most, in bytes.
const FIRMWARE_TOP: u64 = 256 << 10;

/// A guest with its plan.
pub struct Guest {
    elf: Image,
    slot: Range<u64>,
    ram: Vec<Range<u64>>,
    notes: Vec<u64>,
    deaf: Option<u32>,
    plan: Plan,
}

/// What the plan is made of.
pub struct Ingredients<'a> {
    /// The guest's ELF file, with its symbols.
    pub elf: &'a Path,
    /// The capture kernel.
    pub capture_kernel: &'a Path,
    /// Purgatory.
    pub purgatory: &'a Path,
    /// What follows `crashkernel=`.
    pub slot: &'a str,
    /// How many CPUs the guest starts.
    pub cpus: u32,
    /// The value of `kdump.target=`.
    pub target: &'a str,
    /// More words for the capture kernel's command line.
    pub append: &'a str,
    /// The class of the ELF core header, when the loader is told.
    pub core_headers: Option<Class>,
}

impl Guest {
    /// Plans the slot.
    ///
    /// # Errors
    /// When a file cannot be read, the slot is not in the guest's memory, or the loader refuses.
    pub fn new(from: &Ingredients<'_>, memory: &GuestMemory) -> Result<Self> {
        let elf = Image::open(from.elf)?;
        let slot = parse_slot(from.slot)?;
        let ram = ram(memory);
        let inside = ram.iter().any(|range| range.start <= slot.start && slot.end <= range.end);
        ensure!(
            inside,
            "the slot {} is not in this guest's memory. Next step: --memory",
            from.slot
        );
        let read =
            |path: &Path| fs::read(path).with_context(|| format!("reading {}", path.display()));
        let (capture_kernel, purgatory) = (read(from.capture_kernel)?, read(from.purgatory)?);
        let images = Images { capture_kernel: &capture_kernel, purgatory: &purgatory };
        let options = PlanOptions {
            text: UserText::Append(from.append.to_string()),
            target: Some(from.target.to_string()),
            class: from.core_headers,
            ..PlanOptions::default()
        };
        let notes = notes(&elf, from.cpus)?;
        let system = system(&elf, &slot, &ram, &notes)?;
        let plan = loader::plan(&system, &images, &options).context("planning the slot")?;
        Ok(Self { elf, slot, ram, notes, deaf: None, plan })
    }

    /// Purgatory's entry (physical).
    pub fn entry(&self) -> u64 {
        self.plan.entry.get()
    }

    /// What the guest calls RAM (physical).
    pub fn ram(&self) -> &[Range<u64>] {
        &self.ram
    }

    /// The plan, to put a fault into.
    pub fn plan_mut(&mut self) -> &mut Plan {
        &mut self.plan
    }

    /// Changes the byte at `offset` of the segment called `name`.
    ///
    /// # Errors
    /// When there is no such byte.
    pub fn damage(&mut self, name: &str, offset: usize) -> Result<()> {
        let mut segments = self.plan.segments.iter_mut();
        let segment = segments.find(|segment| segment.name == name);
        let byte = segment.and_then(|segment| segment.bytes.get_mut(offset));
        *byte.with_context(|| format!("the plan has no byte {offset} of \"{name}\""))? ^= 1;
        Ok(())
    }

    /// Has `cpu`, not the first, answer no NMI: it will have no note.
    ///
    /// # Errors
    /// When the guest does not start it.
    pub fn deafen(&mut self, cpu: u32) -> Result<()> {
        let is_there = (1..self.notes.len()).contains(&(cpu as usize));
        ensure!(is_there, "there is no CPU {cpu} besides the first");
        self.deaf = Some(cpu);
        Ok(())
    }

    /// Writes the segments into `folder` for QEMU.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn boot(&self, elf: &Path, folder: &Path) -> Result<Boot> {
        let mut blobs = Vec::new();
        for (number, segment) in self.plan.segments.iter().enumerate() {
            let path = folder.join(format!("segment-{number}"));
            fs::write(&path, &segment.bytes).context("writing a segment")?;
            if !segment.bytes.is_empty() {
                blobs.push(Blob { path, address: segment.range.start().get() });
            }
        }
        let Range { start, end } = self.slot;
        let (entry, cpus) = (self.entry(), self.notes.len());
        let mut command_line =
            format!("crashkernel={:#x}@{start:#x} kdump.entry={entry:#x} cpus={cpus}", end - start);
        if let Some(cpu) = self.deaf {
            command_line.push_str(&format!(" deaf={cpu}"));
        }
        Ok(Boot { kernel: elf.to_path_buf(), initrd: None, command_line, blobs })
    }

    /// What the vmcore must agree with.
    ///
    /// # Errors
    /// When the ELF file lacks a symbol.
    pub fn dead_kernel(&self) -> Result<DeadKernel> {
        let banner = self.elf.symbol(BANNER)?;
        let text = self.elf.bytes_at(&banner)?.to_vec();
        let answering = || (0..self.notes.len()).filter(|cpu| self.deaf != Some(*cpu as u32));
        Ok(DeadKernel {
            slot: self.slot.clone(),
            system_ram: self.ram.clone(),
            crash_notes: answering().map(|cpu| self.notes[cpu]).collect(),
            vmcoreinfo: None,
            register_patterns: answering().map(register_pattern).collect(),
            text: self.elf.text()?,
            virtual_base: 0,
            page_tables: None,
            banner: (PAGE_OFFSET + banner.start, text),
            recorders: vec![(PANIC.to_string(), self.elf.symbol(PANIC)?)],
            callers: Vec::new(),
        })
    }
}

/// Where each CPU leaves its note (physical).
fn notes(elf: &Image, cpus: u32) -> Result<Vec<u64>> {
    let areas = elf.symbol(NOTES)?;
    let room = (areas.end - areas.start) / NOTE_AREA;
    ensure!(u64::from(cpus) <= room, "the guest has notes for {room} CPUs, not {cpus}");
    Ok((0..u64::from(cpus)).map(|cpu| areas.start + cpu * NOTE_AREA).collect())
}

/// What the guest puts into the general registers of a CPU (its asm/registers.S): 0x50 and the
/// register's place in the note, the number of the CPU, 0x5a5a.
fn register_pattern(cpu: usize) -> [u32; GENERAL_REGISTERS.len()] {
    std::array::from_fn(|register| (0x50 + register as u32) << 24 | (cpu as u32) << 16 | 0x5a5a)
}

/// RAM as firmware leaves it to an operating system.
fn ram(memory: &GuestMemory) -> Vec<Range<u64>> {
    let mut ranges = memory.ranges();
    if let Some(below) = ranges.first_mut() {
        *below = HIGH_RAM..below.end.saturating_sub(FIRMWARE_TOP).max(HIGH_RAM);
    }
    ranges.insert(0, LOW_RAM);
    ranges
}

/// The facts that the loader would read from /proc and /sys.
fn system(elf: &Image, slot: &Range<u64>, ram: &[Range<u64>], notes: &[u64]) -> Result<System> {
    let range = |range: &Range<u64>| {
        PhysRange::from_bounds(PhysAddr::new(range.start), PhysAddr::new(range.end))
    };
    let code = elf.text()?.start;
    let cpus = notes.iter().enumerate().map(|(cpu, area)| {
        let area = range(&(*area..area + NOTE_AREA))?;
        Ok(CpuNotes { cpu: cpu as u32, area: Some(area) })
    });
    let lowmem_end = ram.last().map_or(0, |range| range.end).min(LOWMEM_END);
    Ok(System {
        machine: Some(Machine::I386),
        memory: MemoryMap {
            ram: ram.iter().map(range).collect::<Result<_, _>>()?,
            reservations: vec![range(slot)?],
            kernel_code: Some(PhysAddr::new(code)),
            hidden: false,
        },
        text: Some(PAGE_OFFSET + code),
        lowmem_end: Some(PhysAddr::new(lowmem_end)),
        cpus: cpus.collect::<Result<_>>()?,
        ..System::default()
    })
}
