//! The test guest as a first kernel: the work of a loader, done from outside.
//!
//! The guest is mapped one to one. Its plan is made by the loader's own [`loader::plan()`] from
//! facts that are written down here, and QEMU puts the segments in their places before the guest
//! starts. Or the plan is packed into a slot image, and the guest does the rest.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use loader::facts::iomem::MemoryMap;
use loader::facts::system::{CpuNotes, Machine};
use loader::{Images, Plan, PlanOptions, SlotSpec, System, UserText};
use vmcore::{Class, PhysAddr, PhysRange};

use crate::check::core_file::GENERAL_REGISTERS;
use crate::check::dead_kernel::DeadKernel;
use crate::check::ranges::subtract;
use crate::first::first_kernel::Loading;
use crate::first::slot::parse_slot;
use crate::host::image::Image;
use crate::host::memory::{GuestMemory, PAGE};
use crate::host::qemu::{Blob, Boot};

/// Symbols of the guest's ELF file.
const NOTES: &str = "GUEST_CRASH_NOTES";
const BANNER: &str = "GUEST_BANNER";
/// Symbol of its wait for an NMI.
const NMI_WAIT: &str = "guest_wait_for_nmi";
/// Values of `die=` on its command line, and the function in which it then dies.
const DEATHS: [(&str, &str); 8] = [
    ("panic", "guest_panic"),
    ("null", "guest_null_dereference"),
    ("ud", "guest_invalid_opcode"),
    ("gp", "guest_general_protection"),
    ("divide", "guest_divide_error"),
    ("stack-overflow", "guest_stack_overflow"),
    ("nmi", NMI_WAIT),
    ("interrupt", "guest_panic"),
];
/// One of its crash note areas, in bytes.
const NOTE_AREA: u64 = 1024;
/// Distance between virtual and physical addresses that the plan assumes. The guest has no page
/// tables. The dump gets the virtual addresses that an i386 Linux would have, so that gdb has
/// something to look up.
const PAGE_OFFSET: u64 = 0xc000_0000;
/// One past the last physical address that an i386 Linux maps directly (896 MiB).
const LOWMEM_END: u64 = 0x3800_0000;
/// RAM below the extended BIOS data area.
const LOW_RAM: Range<u64> = 0x1000..0x9_fc00;
/// Address at which RAM continues (physical).
const HIGH_RAM: u64 = 0x10_0000;
/// Most memory that SeaBIOS keeps for itself below the end of memory, in bytes.
const FIRMWARE_TOP: u64 = 256 << 10;

/// A guest with its plan.
pub struct Guest {
    elf: Image,
    slot: Range<u64>,
    ram: Vec<Range<u64>>,
    holes: Vec<Range<u64>>,
    notes: Vec<u64>,
    /// More words for its command line.
    words: String,
    /// CPUs without a note.
    silent: Vec<usize>,
    plan: Plan,
    loading: Loading,
    /// The slot image, unless the plan is placed.
    image: Vec<u8>,
}

/// The input of the plan.
pub struct Ingredients<'a> {
    /// The guest's ELF file, with its symbols.
    pub elf: &'a Path,
    /// The capture kernel.
    pub capture_kernel: &'a Path,
    /// Purgatory.
    pub purgatory: &'a Path,
    /// Value of `crashkernel=`.
    pub slot: &'a str,
    /// Number of CPUs that the guest starts.
    pub cpus: u32,
    /// More words for its command line.
    pub words: &'a str,
    /// The value of `kdump.target=`.
    pub target: &'a str,
    /// Words about the machine for a first kernel, which its loader passes on.
    pub machine_words: &'a str,
    /// More words for the capture kernel's command line.
    pub append: &'a str,
    /// Class of the ELF core header, if the loader gets an option for it.
    pub core_headers: Option<Class>,
    /// The way in which the slot is filled.
    pub loading: Loading,
    /// Number of holes in the RAM that is described to the plan.
    pub holes: u64,
}

impl Guest {
    /// Plans the slot.
    ///
    /// # Errors
    /// Fails if a file cannot be read, the slot is not in the guest's memory, or the loader
    /// refuses.
    pub fn new(from: &Ingredients<'_>, memory: &GuestMemory) -> Result<Self> {
        let elf = Image::open(from.elf)?;
        let slot = parse_slot(from.slot)?;
        let ram = ram(memory);
        let holes = holes(&ram, slot.end, from.holes);
        let ram = subtract(&ram, &holes);
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
            text: UserText::Append(format!("{} {}", from.machine_words, from.append)),
            target: Some(from.target.to_string()),
            class: from.core_headers,
            ..PlanOptions::default()
        };
        let notes = notes(&elf, from.cpus)?;
        let system = system(&elf, &slot, &ram, &notes)?;
        let (loading, range) = (from.loading, system.memory.reservations[0]);
        let plan = match loading {
            Loading::Placed => loader::plan(&system, &images, &options),
            Loading::Module | Loading::InPlace => {
                loader::plan_slot(&slot_spec(range, None), &images, &options)
            }
            Loading::SealedModule => {
                loader::plan_slot(&slot_spec(range, Some(&system)), &images, &options)
            }
        };
        let plan = plan.context("planning the slot")?;
        let image = match loading {
            Loading::Placed => Vec::new(),
            _ => loader::pack(&plan).context("packing the slot image")?,
        };
        Ok(Self {
            elf,
            slot,
            ram,
            holes,
            notes,
            words: from.words.to_string(),
            silent: Vec::new(),
            plan,
            loading,
            image,
        })
    }

    /// The slot image, to put a fault into.
    pub fn image_mut(&mut self) -> &mut Vec<u8> {
        &mut self.image
    }

    /// Tells the guest that it has reserved another slot than the image is for.
    ///
    /// # Errors
    /// Fails if `slot` is no slot.
    pub fn reserve(&mut self, slot: &str) -> Result<()> {
        self.slot = parse_slot(slot)?;
        Ok(())
    }

    /// Purgatory's entry (physical).
    pub fn entry(&self) -> u64 {
        self.plan.entry.get()
    }

    /// Returns the ranges that the guest calls RAM (physical).
    pub fn ram(&self) -> &[Range<u64>] {
        &self.ram
    }

    /// The plan, to put a fault into.
    pub fn plan_mut(&mut self) -> &mut Plan {
        &mut self.plan
    }

    /// Returns the addresses of a segment of the slot (physical).
    ///
    /// # Errors
    /// Fails if the plan has no segment of this name.
    pub fn segment(&self, name: &str) -> Result<Range<u64>> {
        let mut segments = self.plan.segments.iter();
        let segment = segments.find(|segment| segment.name == name);
        let range = segment.with_context(|| format!("the plan has no \"{name}\""))?.range;
        Ok(range.start().get()..range.end().get())
    }

    /// The instruction at which it waits for an NMI.
    ///
    /// # Errors
    /// Fails if the ELF file lacks the symbol.
    pub fn nmi_wait(&self) -> Result<u64> {
        Ok(self.elf.symbol(NMI_WAIT)?.start)
    }

    /// Puts more words on its command line.
    pub fn add_words(&mut self, words: &str) {
        self.words.push(' ');
        self.words.push_str(words);
    }

    /// Returns each value of a key on its command line.
    fn said<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        let words = self.words.split_whitespace();
        words.filter_map(move |word| word.strip_prefix(key)?.strip_prefix('='))
    }

    /// `cpu`, not the first, will have no note in the vmcore. Returns its note area (physical).
    ///
    /// # Errors
    /// Fails if the guest does not start this CPU.
    pub fn lose_note(&mut self, cpu: u32) -> Result<Range<u64>> {
        let is_there = (1..self.notes.len()).contains(&(cpu as usize));
        ensure!(is_there, "there is no CPU {cpu} besides the first");
        self.silent.push(cpu as usize);
        let area = self.notes[cpu as usize];
        Ok(area..area + NOTE_AREA)
    }

    /// Writes the segments or the slot image into `folder` for QEMU.
    ///
    /// # Errors
    /// Fails if a file cannot be written.
    pub fn boot(&self, elf: &Path, folder: &Path) -> Result<Boot> {
        let (initrd, blobs) = match self.loading {
            Loading::Placed => (None, self.segments(folder)?),
            Loading::Module | Loading::SealedModule => (Some(self.image_file(folder)?), Vec::new()),
            Loading::InPlace => {
                let (path, address) = (self.image_file(folder)?, self.plan.backup.start().get());
                (None, vec![Blob { path, address }])
            }
        };
        let command_line = self.command_line();
        Ok(Boot { kernel: elf.to_path_buf(), initrd, command_line, blobs })
    }

    fn image_file(&self, folder: &Path) -> Result<PathBuf> {
        let path = folder.join("slot.img");
        fs::write(&path, &self.image).context("writing the slot image")?;
        Ok(path)
    }

    fn segments(&self, folder: &Path) -> Result<Vec<Blob>> {
        let mut blobs = Vec::new();
        for (number, segment) in self.plan.segments.iter().enumerate() {
            let path = folder.join(format!("segment-{number}"));
            fs::write(&path, &segment.bytes).context("writing a segment")?;
            if !segment.bytes.is_empty() {
                blobs.push(Blob { path, address: segment.range.start().get() });
            }
        }
        Ok(blobs)
    }

    fn command_line(&self) -> String {
        let Range { start, end } = self.slot;
        let mut line =
            format!("crashkernel={:#x}@{start:#x} cpus={}", end - start, self.notes.len());
        if self.loading == Loading::Placed {
            line.push_str(&format!(" kdump.entry={:#x}", self.entry()));
        }
        line.push(' ');
        line.push_str(&self.words);
        line
    }

    /// Returns the facts that the vmcore must agree with.
    ///
    /// # Errors
    /// Fails if the ELF file lacks a symbol.
    pub fn dead_kernel(&self) -> Result<DeadKernel> {
        let banner = self.elf.symbol(BANNER)?;
        let text = self.elf.bytes_at(&banner)?.to_vec();
        let deaf = self.said("deaf").next().and_then(|cpu| cpu.parse().ok());
        let is_silent = |cpu| self.silent.contains(&cpu) || deaf == Some(cpu);
        let answering = || (0..self.notes.len()).filter(|cpu| !is_silent(*cpu));
        let death = self.said("die").next().unwrap_or("panic");
        let place = DEATHS.iter().find(|(word, _)| *word == death);
        let (_, place) = *place.with_context(|| format!("die={death} leaves no dump"))?;
        let crashing = self.said("crash_cpu").next().unwrap_or("0");
        // The wait for an NMI, and the second of two crashes at once, need registers of their own.
        let is_known = |cpu: usize| {
            let dies = crashing == "all" || crashing.parse() == Ok(cpu);
            !(dies && (death == "nmi" || crashing == "all"))
        };
        Ok(DeadKernel {
            slot: self.slot.clone(),
            system_ram: self.ram.clone(),
            holes: self.holes.clone(),
            crash_notes: answering().map(|cpu| self.notes[cpu]).collect(),
            vmcoreinfo: None,
            register_patterns: answering()
                .map(|cpu| is_known(cpu).then(|| register_pattern(cpu)))
                .collect(),
            arriving: self.said("edu").map(address).collect::<Result<_>>()?,
            several_die: crashing == "all",
            text: self.elf.text()?,
            virtual_base: 0,
            page_tables: None,
            runs_anything: false,
            banner: Some((PAGE_OFFSET + banner.start, text)),
            oops_stack: None,
            unchecked: Default::default(),
            recorders: vec![(place.to_string(), self.elf.symbol(place)?)],
            callers: Vec::new(),
        })
    }
}

/// Room for the guest's ELF core header in a slot image, in bytes.
const CORE_HEADER_ROOM: u64 = 8 << 10;

fn slot_spec(slot: PhysRange, system: Option<&System>) -> SlotSpec<'_> {
    SlotSpec { slot, elfcorehdr: CORE_HEADER_ROOM, system }
}

/// An address in hexadecimal with `0x`.
fn address(text: &str) -> Result<u64> {
    let digits = text.strip_prefix("0x").context("an address without 0x")?;
    u64::from_str_radix(digits, 16).with_context(|| format!("{text} is no address"))
}

/// Returns the address of each CPU's note (physical).
fn notes(elf: &Image, cpus: u32) -> Result<Vec<u64>> {
    let areas = elf.symbol(NOTES)?;
    let room = (areas.end - areas.start) / NOTE_AREA;
    ensure!(u64::from(cpus) <= room, "the guest has notes for {room} CPUs, not {cpus}");
    Ok((0..u64::from(cpus)).map(|cpu| areas.start + cpu * NOTE_AREA).collect())
}

/// Returns the values that the guest puts into the general registers of a CPU (its
/// asm/registers.S): 0x50 and the register's place in the note, the number of the CPU, 0x5a5a.
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

/// So many holes of a page each between the slot and the end of RAM, where nothing of the guest's
/// own is.
fn holes(ram: &[Range<u64>], from: u64, count: u64) -> Vec<Range<u64>> {
    let end = ram.last().map_or(from, |range| range.end);
    let step = end.saturating_sub(from) / (count + 1) / PAGE * PAGE;
    (1..=count).map(|hole| from + hole * step..from + hole * step + PAGE).collect()
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
            ..MemoryMap::default()
        },
        text: Some(PAGE_OFFSET + code),
        lowmem_end: Some(PhysAddr::new(lowmem_end)),
        cpus: cpus.collect::<Result<_>>()?,
        ..System::default()
    })
}
