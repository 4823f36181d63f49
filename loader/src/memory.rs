//! The first kernel's memory as the dump will have it: one PT_LOAD for each contiguous range of RAM.
//!
//! Source: paper, section 4.2 (ELF core header) and 4.3 (backup region).

use handoff::layout::{BACKUP_LENGTH, BACKUP_SOURCE};
use vmcore::{MemoryRanges, PhysAddr, PhysRange, Segment, SegmentKind};

use crate::error::PlanError;
use crate::kcore::{KERNEL_MAP, KernelMap};
use crate::system::{Machine, System};

/// How many separate ranges of RAM there is room for; real machines have some dozens at most.
pub(crate) const MAX_RANGES: usize = 512;
/// `p_flags`: readable, writable, executable.
const RWX: u32 = 7;
/// One past the highest virtual address of i386.
const VIRTUAL_END: u64 = 1 << 32;

/// RAM, lowest first.
pub(crate) type Ram = MemoryRanges<MAX_RANGES>;

/// The part of physical memory that the first kernel maps at a fixed distance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LinearMap {
    /// Virtual minus physical address (`PAGE_OFFSET`).
    pub(crate) page_offset: u64,
    /// One past the last physical address that is mapped so.
    pub(crate) end: PhysAddr,
}

/// All RAM of the first kernel less what is reserved for a crash kernel. No range is too small.
pub(crate) fn crash_memory_ranges(system: &System) -> Result<Ram, PlanError> {
    let mut ram = Ram::new();
    for range in &system.memory.ram {
        ram.insert(*range)?;
    }
    if ram.is_empty() {
        return Err(PlanError::NoRam);
    }
    exclude_region(&mut ram, &system.memory.reservations)?;
    Ok(ram)
}

/// Takes the reservations out of the RAM. Nobody but us has ever written there.
fn exclude_region(ram: &mut Ram, reservations: &[PhysRange]) -> Result<(), PlanError> {
    for range in reservations {
        ram.exclude(*range)?;
    }
    Ok(())
}

/// The first kernel's linear mapping, or why it is not known.
pub(crate) fn linear_map(system: &System) -> Result<LinearMap, &'static str> {
    if system.machine == Some(Machine::X86_64) {
        // All of memory is mapped; the kernel's own image comes behind it.
        let found = system.kcore.page_offset;
        let page_offset = found.ok_or("/proc/kcore does not tell where memory is mapped")?;
        return Ok(LinearMap { page_offset, end: PhysAddr::new(KERNEL_MAP - page_offset) });
    }
    let text = system.text.ok_or("/proc/kallsyms has no address for _text")?;
    let code = system.memory.kernel_code.ok_or("/proc/iomem has no \"Kernel code\"")?;
    let end = system.lowmem_end.ok_or("/proc/zoneinfo has no zone Normal")?;
    let page_offset = text.checked_sub(code.get()).filter(|offset| is_page_offset(*offset));
    let page_offset = page_offset.ok_or("_text does not lie where \"Kernel code\" is mapped")?;
    Ok(LinearMap { page_offset, end: end.min(PhysAddr::new(VIRTUAL_END - page_offset)) })
}

/// Linux/i386 splits the address space at a multiple of 128 MiB (`CONFIG_PAGE_OFFSET`).
fn is_page_offset(offset: u64) -> bool {
    offset > 0 && offset < VIRTUAL_END && offset.is_multiple_of(128 << 20)
}

/// A second PT_LOAD for the image of an x86_64 kernel, at the virtual addresses that it is linked and
/// run at. Its bytes are part of another PT_LOAD and are not sent twice. Or why there is none.
pub(crate) fn image_load(
    map: &KernelMap,
    system: &System,
    ram: &Ram,
) -> Result<Segment, &'static str> {
    if system.memory.kernel_code != Some(map.range.start()) {
        return Err(
            "the kernel's image in /proc/kcore is not where /proc/iomem has \"Kernel code\"",
        );
    }
    if !ram.contains(map.range) || map.range.is_empty() {
        return Err("the kernel's image in /proc/kcore does not lie in System RAM");
    }
    Ok(Segment { vaddr: map.vaddr, ..load(map.range, None, PhysAddr::new(0)) })
}

/// One PT_LOAD for each range of RAM, cut where the virtual addresses end and where the backup
/// region ends. What purgatory copies into the backup region is read from there.
pub(crate) fn loads(ram: &Ram, linear: Option<LinearMap>, backup: PhysAddr) -> Vec<Segment> {
    let backup_end = PhysAddr::new(BACKUP_SOURCE + BACKUP_LENGTH);
    let cuts = [Some(backup_end), linear.map(|map| map.end)];
    ram.iter()
        .flat_map(|range| cut(range, &cuts))
        .map(|range| load(range, linear, backup))
        .collect()
}

/// The pieces of a range between these addresses, lowest first.
fn cut(range: PhysRange, at: &[Option<PhysAddr>]) -> Vec<PhysRange> {
    let inside = |at: &PhysAddr| range.start() < *at && *at < range.end();
    let mut bounds: Vec<PhysAddr> = at.iter().flatten().copied().filter(inside).collect();
    bounds.extend([range.start(), range.end()]);
    bounds.sort_unstable();
    bounds.windows(2).filter_map(|pair| PhysRange::from_bounds(pair[0], pair[1]).ok()).collect()
}

fn load(range: PhysRange, linear: Option<LinearMap>, backup: PhysAddr) -> Segment {
    let start = range.start().get();
    let saved = (BACKUP_SOURCE..BACKUP_SOURCE + BACKUP_LENGTH).contains(&start);
    let source = if saved { backup.get() + (start - BACKUP_SOURCE) } else { start };
    let mapped = linear.filter(|map| range.end() <= map.end);
    Segment {
        kind: SegmentKind::Load,
        source: PhysAddr::new(source),
        vaddr: mapped.map_or(0, |map| start + map.page_offset),
        paddr: range.start(),
        filesz: range.length(),
        memsz: range.length(),
        flags: RWX,
    }
}

/// The PT_NOTE of a note area.
pub(crate) fn note(area: PhysRange) -> Segment {
    Segment {
        kind: SegmentKind::Note,
        source: area.start(),
        vaddr: 0,
        paddr: area.start(),
        filesz: area.length(),
        memsz: area.length(),
        flags: 0,
    }
}
