//! The running kernel's memory in `/proc/kcore`, as that of a dead one.

use std::fs::File;
use std::path::Path;

use linux::{KernelMemory, SegmentMap, VirtualMemory};
use vmcore::{PhysAddr, ReadPhys, Segment};

use crate::facts::error::PagesError;
use crate::facts::kcore::{KcoreFile, Offsets, vmcoreinfo_in};
use crate::facts::memory::linear_map;
use crate::facts::system::System;

/// Most bytes of an area with VMCOREINFO.
const MOST_VMCOREINFO: u64 = 64 << 10;

/// The running kernel's memory, and its description.
#[derive(Debug)]
pub(crate) struct LiveMemory {
    pub(crate) mem: Offsets,
    pub(crate) map: SegmentMap,
    pub(crate) vmcoreinfo: Vec<u8>,
}

impl LiveMemory {
    /// Opens it. `root` is `/`, or a folder with a copy of `proc/kcore`.
    ///
    /// # Errors
    /// There is no `/proc/kcore`, or no VMCOREINFO.
    pub(crate) fn open(root: &Path, system: &System) -> Result<Self, PagesError> {
        let file = File::open(root.join("proc/kcore")).map_err(PagesError::Kcore)?;
        let file = KcoreFile::read(Offsets(file)).map_err(PagesError::Headers)?;
        let map = SegmentMap::new(file.segments.iter().map(|segment| Ok(known(segment))))?;
        let text = file.vmcoreinfo().or_else(|| noted(&file.mem, &map, system));
        let vmcoreinfo = text.ok_or(PagesError::NoVmcoreinfo)?;
        Ok(Self { mem: file.mem, map, vmcoreinfo })
    }

    /// Memory by its virtual addresses.
    pub(crate) fn memory(&self) -> VirtualMemory<'_, Offsets> {
        VirtualMemory::new(KernelMemory::new(&self.mem, &self.map), &self.vmcoreinfo)
    }
}

/// A segment of `/proc/kcore` without a physical address that it does not have: zero before Linux
/// 4.11, else all ones.
fn known(segment: &Segment) -> Segment {
    let has_paddr = ![0, u32::MAX.into()].contains(&segment.paddr.get());
    let paddr = if has_paddr { segment.paddr } else { PhysAddr::new(u64::MAX) };
    Segment { paddr, ..*segment }
}

/// VMCOREINFO where the kernel has it: the notes of `/proc/kcore` have it since Linux 4.19.
fn noted(mem: &impl ReadPhys, map: &SegmentMap, system: &System) -> Option<Vec<u8>> {
    let area = system.vmcoreinfo.filter(|area| area.length() <= MOST_VMCOREINFO)?;
    let at = linear_map(system).ok()?.page_offset.checked_add(area.start().get())?;
    let mut bytes = vec![0; area.length() as usize];
    KernelMemory::new(mem, map).read(at, &mut bytes).ok()?;
    vmcoreinfo_in(&bytes)
}
