//! The first kernel's memory as the dump will have it: one PT_LOAD for each contiguous range of
//! RAM.
//!
//! Source: paper, section 4.2 (ELF core header) and 4.3 (backup region).

use alloc::vec::Vec;

use handoff::layout::{BACKUP_LENGTH, BACKUP_SOURCE};

use crate::elfcore::build;
use crate::{Class, Error, PhysAddr, PhysRange, RangeSet, Segment, SegmentKind};

/// `p_flags`: readable, writable, executable.
pub const RWX: u32 = 7;
/// One past the highest address of a 32-bit header.
const ELF32_END: u64 = 1 << 32;

/// The part of physical memory that the first kernel maps at a fixed distance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinearMap {
    /// Virtual minus physical address (`PAGE_OFFSET`).
    pub page_offset: u64,
    /// One past the last physical address that is mapped so.
    pub end: PhysAddr,
}

/// All RAM of the first kernel except the reservation for a crash kernel, where only we have ever
/// written. No range is too small.
///
/// # Errors
/// [`Error::NoMemory`].
pub fn crash_memory_ranges(
    ram: impl IntoIterator<Item = PhysRange>,
    reservations: &[PhysRange],
) -> Result<RangeSet, Error> {
    let mut ranges = RangeSet::union(ram)?;
    reservations.iter().try_for_each(|range| ranges.exclude(*range))?;
    Ok(ranges)
}

/// One PT_LOAD for each range of RAM, cut at the end of the virtual addresses and at the end of the
/// memory that purgatory copies into the backup region. That memory is read from the copy: `backup`
/// is the region's first byte.
pub fn loads(ram: &RangeSet, linear: Option<LinearMap>, backup: PhysAddr) -> Vec<Segment> {
    let backup_end = PhysAddr::new(BACKUP_SOURCE + BACKUP_LENGTH);
    let cuts = [Some(backup_end), linear.map(|map| map.end)];
    ram.iter()
        .flat_map(|range| cut(range, &cuts))
        .map(|range| load(range, linear, backup))
        .collect()
}

/// The ELF core header block of a kernel for `machine` (`e_machine`): a PT_NOTE for each of these
/// note areas, then the PT_LOADs.
///
/// # Errors
/// As [`build()`].
pub fn core_header(
    machine: u16,
    class: Class,
    notes: impl IntoIterator<Item = PhysRange>,
    loads: &[Segment],
) -> Result<Vec<u8>, Error> {
    let notes = notes.into_iter().map(note);
    let segments: Vec<Segment> = notes.chain(loads.iter().copied()).collect();
    build(machine, class, &segments)
}

impl Class {
    /// The narrowest class that can name memory up to `end`.
    pub fn narrowest(end: PhysAddr) -> Self {
        if end.get() > ELF32_END { Self::Elf64 } else { Self::Elf32 }
    }
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
fn note(area: PhysRange) -> Segment {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::range;

    /// 64 MiB with a slot of 16 MiB at 16 MiB, of which 32 MiB are mapped: written out by hand.
    #[test]
    fn loads_are_cut_at_slot_backup_and_mapping() {
        let ram = [range(0x1000, 0x9_fc00), range(0x10_0000, 0x400_0000)];
        let ram = crash_memory_ranges(ram, &[range(0x100_0000, 0x200_0000)]);
        let linear = LinearMap { page_offset: 0xc000_0000, end: PhysAddr::new(0x300_0000) };
        let loads = loads(&ram.expect("room"), Some(linear), PhysAddr::new(0x1f6_0000));
        let shown: Vec<_> = loads
            .iter()
            .map(|load| (load.paddr.get(), load.filesz, load.source.get(), load.vaddr))
            .collect();
        let expected = [
            (0x1000, 0x9_ec00, 0x1f6_1000, 0xc000_1000),
            (0x10_0000, 0xf0_0000, 0x10_0000, 0xc010_0000),
            (0x200_0000, 0x100_0000, 0x200_0000, 0xc200_0000),
            (0x300_0000, 0x100_0000, 0x300_0000, 0),
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn the_class_follows_from_the_end_of_memory() {
        assert_eq!(Class::narrowest(PhysAddr::new(0x1_0000_0000)), Class::Elf32);
        assert_eq!(Class::narrowest(PhysAddr::new(0x1_0000_0001)), Class::Elf64);
    }
}
