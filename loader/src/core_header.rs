//! The ELF core header block: PT_NOTE per CPU, PT_NOTE for VMCOREINFO, PT_LOAD per range of RAM.
//!
//! Source: paper, section 4.2.

use goblin::elf::header::{EM_386, EM_X86_64};
use vmcore::{Class, PhysAddr, PhysRange, Segment};

use crate::error::PlanError;
use crate::memory::{LinearMap, Ram, crash_memory_ranges, image_load, linear_map, loads, note};
use crate::plan::PlannedNotes;
use crate::system::{CpuNotes, Machine, System};

/// One past what a 32-bit header can name.
const ELF32_END: u64 = 1 << 32;

/// What the block is made from.
pub(crate) struct Core {
    /// RAM less the reservations.
    pub(crate) ram: Ram,
    linear: Option<LinearMap>,
    /// The kernel's image at its own virtual addresses, which on i386 are those of the linear mapping.
    image: Option<Segment>,
    /// `e_machine`.
    machine: u16,
    pub(crate) notes: Vec<PlannedNotes>,
    pub(crate) vmcoreinfo: Option<PhysRange>,
    pub(crate) class: Class,
    /// What the dump will lack.
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
        let (linear, image, vmcoreinfo) = (linear.ok(), image.ok().flatten(), system.vmcoreinfo);
        Ok(Self { ram, linear, image, machine, notes, vmcoreinfo, class, warnings })
    }

    /// The PT_LOADs when the backup region is at `backup`.
    pub(crate) fn loads(&self, backup: PhysAddr) -> Vec<Segment> {
        let mut loads = loads(&self.ram, self.linear, backup);
        loads.extend(self.image);
        loads
    }

    /// The block with these PT_LOADs.
    pub(crate) fn header(&self, loads: &[Segment]) -> Result<Vec<u8>, PlanError> {
        let areas = self.notes.iter().map(|notes| notes.area).chain(self.vmcoreinfo);
        let segments: Vec<Segment> = areas.map(note).chain(loads.iter().copied()).collect();
        Ok(vmcore::build(self.machine, self.class, &segments)?)
    }

    /// The length of the block in bytes, wherever the backup region is going to be.
    pub(crate) fn size(&self) -> Result<u64, PlanError> {
        Ok(self.header(&self.loads(PhysAddr::new(0)))?.len() as u64)
    }
}

/// The class that is asked for, or the narrowest that can name all of RAM and the machine's virtual
/// addresses.
fn class(ram: &Ram, machine: u16, asked: Option<Class>) -> Result<Class, PlanError> {
    if machine == EM_X86_64 {
        let narrow = asked == Some(Class::Elf32);
        return if narrow { Err(PlanError::Elf32Of64Bit) } else { Ok(Class::Elf64) };
    }
    let end = ram.iter().last().map_or(PhysAddr::new(0), |range| range.end());
    match (asked, end.get() > ELF32_END) {
        (Some(Class::Elf32), true) => Err(PlanError::MemoryAboveElf32 { end }),
        (Some(class), _) => Ok(class),
        (None, true) => Ok(Class::Elf64),
        (None, false) => Ok(Class::Elf32),
    }
}

/// The note area of every CPU, or what is wrong with one of them.
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
