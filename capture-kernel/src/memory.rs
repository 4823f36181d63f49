//! Memory that the capture kernel may write, and memory that is RAM.

use cmdline::Options;
use handoff::boot_params::{E820_RAM, E820Entry};
use handoff::layout::LOW_MEMORY_END;
use vmcore::{Error, MemoryRanges, PhysAddr, PhysRange, RangeSet};

/// Most separate ranges of the slot that are recorded before there is a heap; each list takes 16
/// bytes a range of a small stack. The ranges that `memmap=` grants fit twice.
pub const MAX_RANGES: usize = 64;

/// Ranges of memory of the slot: few, however many of old memory there are.
pub type Ranges = MemoryRanges<MAX_RANGES>;

/// Source of the memory map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// `memmap=exactmap` and `memmap=` on the command line.
    CommandLine,
    /// The e820 table in boot_params, as far as it is contiguous with our own image.
    E820,
}

/// The memory that the loader grants: `memmap=` where there is an exact map, else the RAM around
/// the running `image` that the e820 table lists. Never below 1 MiB.
///
/// # Errors
/// There are more ranges than [`MAX_RANGES`].
pub fn granted(
    options: &Options<'_>,
    e820: &[E820Entry],
    image: PhysRange,
) -> Result<(Ranges, Source), Error> {
    let mut ranges = Ranges::new();
    let source = match options.exactmap && !options.memmap.is_empty() {
        true => {
            for range in options.memmap.iter() {
                ranges.insert(range)?;
            }
            Source::CommandLine
        }
        false => {
            if let Some(range) = ram_around(e820, image) {
                ranges.insert(range)?;
            }
            Source::E820
        }
    };
    let low = PhysRange::from_bounds(PhysAddr::new(0), PhysAddr::new(LOW_MEMORY_END))?;
    ranges.exclude(low)?;
    Ok((ranges, source))
}

/// Memory that `granted` lists and the e820 table does not call RAM. A table without the RAM that
/// we run in says nothing of memory.
///
/// # Errors
/// There are more ranges than [`MAX_RANGES`].
pub fn not_ram(granted: &Ranges, e820: &[E820Entry], image: PhysRange) -> Result<Ranges, Error> {
    let mut rest = Ranges::new();
    if ram_around(e820, image).is_some() {
        rest = granted.clone();
        for range in e820.iter().filter_map(e820_ram) {
            rest.exclude(range)?;
        }
    }
    Ok(rest)
}

/// The part of `free` (RAM that no `memmap=` grants, less all old memory that is known) that is in
/// the slot: the part that holds `image`.
///
/// If no old memory is known, nothing tells how far the slot reaches: a table may list the slot
/// alone (kexec-tools') or all memory (our loader's). Memory between `image` and the other `pieces`
/// that were loaded with it is in the slot in any case: the first kernel loads into one reservation
/// only.
///
/// # Errors
/// None that could happen: one range has room.
pub fn within_slot(
    free: &Ranges,
    image: PhysRange,
    pieces: &[PhysRange],
    knows_old_memory: bool,
) -> Result<Ranges, Error> {
    let mut within = Ranges::new();
    let Some(around) = free.find(image.start()).filter(|range| range.contains_range(image)) else {
        return Ok(within);
    };
    if knows_old_memory {
        within.insert(around)?;
        return Ok(within);
    }
    let pieces = pieces.iter().filter(|piece| around.contains_range(**piece));
    let (start, end) = pieces.fold((image.start(), image.end()), |(start, end), piece| {
        (start.min(piece.start()), end.max(piece.end()))
    });
    within.insert(PhysRange::from_bounds(start, end)?)?;
    Ok(within)
}

/// The e820 RAM that holds all of `image`: the entry that it begins in and the entries that adjoin
/// it, in any order of the table.
fn ram_around(e820: &[E820Entry], image: PhysRange) -> Option<PhysRange> {
    let mut around = e820.iter().filter_map(e820_ram).find(|ram| ram.contains(image.start()))?;
    for _ in e820 {
        for ram in e820.iter().filter_map(e820_ram) {
            if ram.start() <= around.end() && around.start() <= ram.end() {
                let (start, end) = (around.start().min(ram.start()), around.end().max(ram.end()));
                around = PhysRange::from_bounds(start, end).ok()?;
            }
        }
    }
    around.contains_range(image).then_some(around)
}

/// The memory of an e820 entry, if it is RAM. A wrapping entry is firmware's nonsense, not RAM.
fn e820_ram(entry: &E820Entry) -> Option<PhysRange> {
    let range = PhysRange::new(PhysAddr::new(entry.addr.get()), entry.size.get()).ok()?;
    (entry.kind.get() == E820_RAM).then_some(range)
}

/// All known RAM below `phys_limit`: the memory of the PT_LOADs (`loads`), granted memory, and the
/// RAM of the e820 table. There may be thousands of ranges: the heap is used.
///
/// # Errors
/// [`Error::NoMemory`].
pub fn ram(
    loads: impl Iterator<Item = PhysRange>,
    granted: &Ranges,
    e820: &[E820Entry],
    phys_limit: u64,
) -> Result<RangeSet, Error> {
    let listed = e820.iter().filter_map(e820_ram);
    let mut ram = RangeSet::union(granted.iter().chain(loads).chain(listed))?;
    let top = PhysAddr::new(u64::MAX);
    ram.exclude(PhysRange::from_bounds(PhysAddr::new(phys_limit), top)?)?;
    Ok(ram)
}

/// The part of `ram` that the e820 table calls nothing else, such as reserved, less `holes`: there
/// may be registers of devices, or nothing, where others see RAM.
///
/// # Errors
/// [`Error::NoMemory`].
pub fn undisputed(
    mut ram: RangeSet,
    e820: &[E820Entry],
    holes: impl Iterator<Item = PhysRange>,
) -> Result<RangeSet, Error> {
    for entry in e820.iter().filter(|entry| entry.kind.get() != E820_RAM) {
        // One that wraps reaches as far as there are addresses.
        let start = PhysAddr::new(entry.addr.get());
        let end = PhysAddr::new(entry.addr.get().saturating_add(entry.size.get()));
        ram.exclude(PhysRange::from_bounds(start, end)?)?;
    }
    for hole in holes {
        ram.exclude(hole)?;
    }
    Ok(ram)
}

/// The largest page-aligned part of `granted`, of at most `most` bytes, below 4 GiB: the heap.
pub fn heap(granted: &Ranges, most: u64) -> Option<PhysRange> {
    const PAGE: u64 = handoff::layout::PAGE_SIZE;
    let pages = granted.iter().filter_map(|range| {
        let end = PhysAddr::new(range.end().get().min(handoff::layout::SLOT_LIMIT));
        PhysRange::from_bounds(range.start().align_up(PAGE)?, end.align_down(PAGE)).ok()
    });
    let largest = pages.max_by_key(|range| range.length()).filter(|range| !range.is_empty())?;
    PhysRange::new(largest.start(), largest.length().min(most)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;
    use vmcore::fake::range;

    fn e820(start: u64, end: u64, kind: u32) -> E820Entry {
        E820Entry { addr: start.into(), size: (end - start).into(), kind: kind.into() }
    }

    fn granted_by(line: &str, table: &[E820Entry]) -> (Vec<PhysRange>, Source) {
        let options = Options::parse(line.as_bytes(), &mut |problem| panic!("{problem}"));
        let image = range(0x100_0000, 0x102_0000);
        let (ranges, source) = granted(&options, table, image).expect("few ranges");
        (ranges.iter().collect(), source)
    }

    #[test]
    fn an_exact_map_counts_and_low_memory_never_does() {
        let table = [e820(0x100_0000, 0x300_0000, E820_RAM)];
        let line = "memmap=exactmap memmap=640K@0K memmap=512K@768K memmap=8M@16M";
        let expected = [range(0x10_0000, 0x14_0000), range(0x100_0000, 0x180_0000)];
        assert_eq!(granted_by(line, &table), (expected.to_vec(), Source::CommandLine));
    }

    #[test]
    fn without_an_exact_map_it_is_the_ram_around_the_image() {
        let table = [
            e820(0, 0x9_fc00, E820_RAM),
            e820(0x10_0000, 0xf0_0000, E820_RAM),
            e820(0x100_0000, 0x200_0000, E820_RAM),
            e820(0x200_0000, 0x2f0_0000, E820_RAM),
            e820(0x2f0_0000, 0x300_0000, 2),
            e820(0x300_0000, 0x2000_0000, E820_RAM),
        ];
        let expected = (std::vec![range(0x100_0000, 0x2f0_0000)], Source::E820);
        assert_eq!(granted_by("", &table), expected);
        // memmap= alone is no exact map.
        assert_eq!(granted_by("memmap=8M@16M", &table), expected);
        assert_eq!(granted_by("", &[]), (Vec::new(), Source::E820));
    }

    #[test]
    fn a_grant_of_what_is_no_ram_is_found() {
        let image = range(0x100_0000, 0x102_0000);
        let mut granted = Ranges::new();
        for part in [range(0x100_0000, 0x200_0000), range(0xc000_0000, 0xc100_0000)] {
            granted.insert(part).expect("few ranges");
        }
        let found = |table: &[E820Entry]| -> Vec<_> {
            not_ram(&granted, table, image).expect("few ranges").iter().collect()
        };
        let ram = e820(0x10_0000, 0x800_0000, E820_RAM);
        assert_eq!(found(&[ram]), [range(0xc000_0000, 0xc100_0000)]);
        assert_eq!(found(&[ram, e820(0xc000_0000, 0xd000_0000, E820_RAM)]), []);
        assert_eq!(found(&[e820(0x10_0000, 0x100_0000, E820_RAM)]), [], "not a table of ours");
    }

    fn slot_part(pieces: &[PhysRange], knows_old_memory: bool) -> Vec<PhysRange> {
        let mut free = Ranges::new();
        for part in [range(0x10_0000, 0x40_0000), range(0x80_0000, 0x700_0000)] {
            free.insert(part).expect("few ranges");
        }
        let image = range(0x100_0000, 0x102_0000);
        let part = within_slot(&free, image, pieces, knows_old_memory).expect("few ranges");
        part.iter().collect()
    }

    #[test]
    fn what_is_left_around_the_image_is_the_slot_when_old_memory_is_known() {
        assert_eq!(slot_part(&[], true), [range(0x80_0000, 0x700_0000)]);
    }

    #[test]
    fn the_slot_reaches_from_piece_to_piece_when_old_memory_is_not_known() {
        let (page, line) = (range(0x2f5_0000, 0x2f5_1000), range(0x2f4_0000, 0x2f4_0800));
        assert_eq!(slot_part(&[page, line], false), [range(0x100_0000, 0x2f5_1000)]);
        let below = range(0xf0_0000, 0xf0_1000);
        assert_eq!(slot_part(&[below, line], false), [range(0xf0_0000, 0x2f4_0800)]);
        // Loaded by something else than a kexec: low memory, or none of the RAM around the image.
        let (low, far) = (range(0x1_0000, 0x1_1000), range(0x20_0000, 0x20_1000));
        assert_eq!(slot_part(&[low, far], false), [range(0x100_0000, 0x102_0000)]);
    }

    #[test]
    fn an_image_that_no_ram_holds_is_in_no_slot() {
        let mut free = Ranges::new();
        free.insert(range(0x100_0000, 0x101_0000)).expect("few ranges");
        let image = range(0x100_0000, 0x102_0000);
        for known in [false, true] {
            let part = within_slot(&free, image, &[], known).expect("few ranges");
            assert!(part.is_empty());
        }
    }

    #[test]
    fn an_e820_entry_that_wraps_is_passed_over() {
        let wrapping = E820Entry { addr: 0x100_0000.into(), size: u64::MAX.into(), kind: 1.into() };
        assert_eq!(granted_by("", &[wrapping]).0, Vec::new());
    }

    #[test]
    fn ram_is_what_anybody_calls_so_below_the_limit() {
        let mut granted = Ranges::new();
        granted.insert(range(0x100_0000, 0x300_0000)).expect("room");
        let loads = [range(0x1000, 0x9_fc00), range(0x300_0000, 0x1_0000_0000)];
        let table = [e820(0, 0x1000, E820_RAM), e820(0xa_0000, 0x10_0000, 2)];
        let found = ram(loads.into_iter(), &granted, &table, 0x8000_0000).expect("room");
        let expected = [range(0, 0x9_fc00), range(0x100_0000, 0x8000_0000)];
        assert_eq!(found.iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn ram_may_be_in_thousands_of_pieces() {
        let pieces = |first: u64| (first..10_000).map(|n| range(n * 0x2000, n * 0x2000 + 0x1000));
        let found = ram(pieces(0).rev(), &Ranges::new(), &[], 1 << 36).expect("room");
        assert!(found.iter().eq(pieces(0)));
    }

    #[test]
    fn what_the_table_calls_something_else_and_holes_are_disputed() {
        let ram = RangeSet::union([range(0x1000, 0x800_0000)]).expect("room");
        let wrapping = E820Entry { addr: 0x700_0000.into(), size: u64::MAX.into(), kind: 3.into() };
        let table = [
            e820(0x1000, 0x10_0000, E820_RAM),
            e820(0x20_0000, 0x20_0001, 2),
            e820(0x30_0000, 0x40_0000, 0xffff_ffff),
            wrapping,
        ];
        let holes = [range(0x60_0000, 0x60_0200)].into_iter();
        let found = undisputed(ram, &table, holes).expect("room");
        let expected = [
            range(0x1000, 0x20_0000),
            range(0x20_0001, 0x30_0000),
            range(0x40_0000, 0x60_0000),
            range(0x60_0200, 0x700_0000),
        ];
        assert_eq!(found.iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn the_heap_is_whole_pages_of_the_largest_range() {
        let mut ranges = Ranges::new();
        for part in [range(0x10_0000, 0x10_3000), range(0x20_0001, 0x20_6fff)] {
            ranges.insert(part).expect("room");
        }
        assert_eq!(heap(&ranges, 1 << 20), Some(range(0x20_1000, 0x20_6000)));
        assert_eq!(heap(&ranges, 0x2000), Some(range(0x20_1000, 0x20_3000)));
        assert_eq!(heap(&Ranges::new(), 1 << 20), None);
    }
}
