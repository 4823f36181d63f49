//! The memory map that the capture kernel finds in its boot_params: all of the first kernel's
//! memory with its types, the slot as the RAM that it is.
//!
//! `memmap=` names the part of it that may be written; this table names the part that may be read,
//! also if the ELF core header is of no use, and the place of the ACPI tables.

use std::cmp::Reverse;

use handoff::E820Entry;
use handoff::boot_params::{E820_MAX_ENTRIES, E820_RAM};
use vmcore::PhysRange;

use crate::facts::iomem::MemoryMap;
use crate::facts::memory::Ram;
use crate::plan::error::PlanError;

/// The table, lowest address first, and the ranges without room in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct E820 {
    pub(crate) entries: Vec<E820Entry>,
    /// Number of ranges left out; of RAM, the smallest.
    pub(crate) left_out: usize,
}

impl E820 {
    /// All of `map` and the memory that the capture kernel may use. If there is no room for
    /// everything, the capture kernel's own memory comes first, then other RAM, the largest range
    /// first.
    pub(crate) fn new(map: &MemoryMap, usable: &[PhysRange]) -> Result<Self, PlanError> {
        let ram = Ram::union(map.ram.iter().chain(usable).copied())?;
        let is_ours = |range: &PhysRange| usable.iter().any(|usable| range.contains_range(*usable));
        let (ours, mut theirs): (Vec<_>, Vec<_>) = ram.iter().partition(is_ours);
        theirs.sort_by_key(|range| (Reverse(range.length()), range.start()));
        let ram = ours.into_iter().chain(theirs).map(|range| (range, E820_RAM));
        let mut all: Vec<_> = ram.chain(map.others.iter().copied()).collect();
        let left_out = all.len().saturating_sub(E820_MAX_ENTRIES);
        all.truncate(E820_MAX_ENTRIES);
        all.sort_by_key(|(range, _)| range.start());
        Ok(Self { entries: all.into_iter().map(entry).collect(), left_out })
    }

    /// A warning for the user.
    pub(crate) fn warning(&self) -> Option<String> {
        let Self { entries, left_out } = self;
        (*left_out > 0).then(|| {
            format!(
                "the memory map has {} ranges, boot_params have room for {E820_MAX_ENTRIES}: \
                 without a good ELF core header kdump.view=oldmem will not see the other \
                 {left_out}",
                entries.len() + left_out
            )
        })
    }
}

fn entry((range, kind): (PhysRange, u32)) -> E820Entry {
    E820Entry { addr: range.start().get().into(), size: range.length().into(), kind: kind.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use handoff::boot_params::{E820_ACPI, E820_RESERVED};
    use vmcore::fake::range;

    fn shown(table: &E820) -> Vec<(u64, u64, u32)> {
        let show = |entry: &E820Entry| (entry.addr.get(), entry.size.get(), entry.kind.get());
        table.entries.iter().map(show).collect()
    }

    #[test]
    fn everything_in_order_and_the_slot_is_ram() {
        let map = MemoryMap {
            ram: vec![range(0x1000, 0x9_fc00), range(0x10_0000, 0x700_0000)],
            others: vec![
                (range(0x9_fc00, 0xa_0000), E820_RESERVED),
                (range(0x700_0000, 0x701_0000), E820_ACPI),
            ],
            ..MemoryMap::default()
        };
        let slot = range(0x100_0000, 0x2f0_0000);
        let expected = [
            (0x1000, 0x9_ec00, 1),
            (0x9_fc00, 0x400, 2),
            (0x10_0000, 0x6f0_0000, 1),
            (0x700_0000, 0x1_0000, 3),
        ];
        let table = E820::new(&map, &[slot]).expect("few ranges");
        assert_eq!(shown(&table), expected);
        assert_eq!(table.warning(), None);
        // A map that lists nothing: a slot that was flashed.
        let table = E820::new(&MemoryMap::default(), &[slot]).expect("few ranges");
        assert_eq!(shown(&table), [(0x100_0000, 0x1f0_0000, 1)]);
    }

    #[test]
    fn what_has_no_room_is_said_and_our_own_memory_always_has() {
        let pages = |from: u64, count: u64| {
            (0..count).map(move |page| range(from + page * 0x2000, from + page * 0x2000 + 0x1000))
        };
        let slot = range(0x1000_0000, 0x1200_0000);
        let large = range(0x3000_0000, 0x3000_2000);
        let map = MemoryMap {
            ram: pages(0x10_0000, 130).chain([large]).collect(),
            others: pages(0x80_0000, 5).map(|range| (range, E820_RESERVED)).collect(),
            ..MemoryMap::default()
        };
        let table = E820::new(&map, &[slot]).expect("few ranges");
        assert_eq!((table.entries.len(), table.left_out), (128, 9));
        assert!(shown(&table).iter().all(|(.., kind)| *kind == E820_RAM));
        let last = [(0x1000_0000, 0x200_0000, 1), (0x3000_0000, 0x2000, 1)];
        assert_eq!(shown(&table)[126..], last, "what is small is left out");
        assert!(table.warning().expect("a warning").contains("137 ranges"));
    }
}
