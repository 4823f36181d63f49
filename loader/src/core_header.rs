//! The ELF core header block: PT_NOTE per CPU, PT_NOTE for VMCOREINFO, PT_LOAD per range of RAM.
//!
//! Source: paper, section 4.2.

use vmcore::{Class, LinearMap, PhysAddr, PhysRange, Segment};

use crate::error::PlanError;
use crate::memory::{Ram, crash_memory_ranges, linear_map};
use crate::plan::PlannedNotes;
use crate::system::{CpuNotes, System};

/// What the block is made from.
pub(crate) struct Core {
    /// RAM less the reservations.
    pub(crate) ram: Ram,
    linear: Option<LinearMap>,
    pub(crate) notes: Vec<PlannedNotes>,
    pub(crate) vmcoreinfo: Option<PhysRange>,
    pub(crate) class: Class,
    /// Whether all of this is known; else the first kernel builds the block.
    pub(crate) known: bool,
    /// The least that the block gets, in bytes.
    pub(crate) room: u64,
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
        let class = class(&ram, asked)?;
        let mut warnings = Vec::new();
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
        let linear = linear.ok();
        let vmcoreinfo = system.vmcoreinfo;
        Ok(Self { ram, linear, notes, vmcoreinfo, class, known: true, room: 0, warnings })
    }

    /// Nothing is known yet, and the block gets `room` bytes.
    pub(crate) fn unknown(room: u64) -> Self {
        Self {
            ram: Ram::new(),
            linear: None,
            notes: Vec::new(),
            vmcoreinfo: None,
            class: Class::Elf32,
            known: false,
            room,
            warnings: Vec::new(),
        }
    }

    /// The PT_LOADs when the backup region is at `backup`.
    pub(crate) fn loads(&self, backup: PhysAddr) -> Vec<Segment> {
        vmcore::loads(&self.ram, self.linear, backup)
    }

    /// The block with these PT_LOADs; empty when nothing is known.
    pub(crate) fn header(&self, loads: &[Segment]) -> Result<Vec<u8>, PlanError> {
        if !self.known {
            return Ok(Vec::new());
        }
        let areas = self.notes.iter().map(|notes| notes.area).chain(self.vmcoreinfo);
        Ok(vmcore::core_header(self.class, areas, loads)?)
    }

    /// The length of the block in bytes, wherever the backup region is going to be.
    pub(crate) fn size(&self) -> Result<u64, PlanError> {
        let length = self.header(&self.loads(PhysAddr::new(0)))?.len() as u64;
        Ok(length.max(self.room))
    }
}

/// The class that is asked for, or the narrowest that can name all of RAM.
fn class(ram: &Ram, asked: Option<Class>) -> Result<Class, PlanError> {
    let end = ram.iter().last().map_or(PhysAddr::new(0), |range| range.end());
    match (asked, Class::narrowest(end)) {
        (Some(Class::Elf32), Class::Elf64) => Err(PlanError::MemoryAboveElf32 { end }),
        (asked, narrowest) => Ok(asked.unwrap_or(narrowest)),
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
