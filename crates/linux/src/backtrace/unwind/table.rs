//! Tables of ORC entries: that of the kernel, and one for each module.

use super::layout::{ENTRY, Layout};
use crate::VirtualMemory;
use vmcore::ReadPhys;

/// Length of an address of the table in bytes: a distance from its own place.
const ADDRESS: u64 = 4;
/// Most entries that are believed: kernels have less than two million.
const MOST: u64 = 1 << 24;
/// Number of entries by which a layout is checked.
const SAMPLES: u64 = 64;

/// A table: addresses in ascending order, and their entries in the same order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Table {
    addresses: u64,
    entries: u64,
    count: u64,
}

impl Table {
    /// A table of `count` entries at `entries`, with its addresses at `addresses`. [`None`] for no
    /// entries, or more than can be.
    pub(super) fn new(addresses: u64, entries: u64, count: u64) -> Option<Self> {
        (1..=MOST).contains(&count).then_some(Self { addresses, entries, count })
    }

    /// A table between these symbols of Linux: start and end of the addresses and of the entries.
    pub(super) fn between(addresses: [u64; 2], entries: [u64; 2]) -> Option<Self> {
        let count = addresses[1].checked_sub(addresses[0])? / ADDRESS;
        let is_it = entries[1].checked_sub(entries[0])? / ENTRY as u64 == count;
        Self::new(addresses[0], entries[0], count).filter(|_| is_it)
    }

    /// The address from which on the entry with this number holds.
    fn address<M: ReadPhys>(&self, memory: VirtualMemory<'_, M>, number: u64) -> Option<u64> {
        let at = self.addresses.checked_add(number * ADDRESS)?;
        let distance = memory.value(at, ADDRESS as usize).ok()? as u32 as i32;
        at.checked_add_signed(distance.into())
    }

    /// The bytes of the entry with this number.
    fn entry<M: ReadPhys>(&self, memory: VirtualMemory<'_, M>, number: u64) -> Option<[u8; ENTRY]> {
        let mut bytes = [0; ENTRY];
        let at = self.entries.checked_add(number * ENTRY as u64)?;
        memory.read(at, &mut bytes).ok()?;
        Some(bytes)
    }

    /// The last entry whose address is not above `ip`, with that address.
    pub(super) fn find<M: ReadPhys>(
        &self,
        memory: VirtualMemory<'_, M>,
        ip: u64,
    ) -> Option<(u64, [u8; ENTRY])> {
        let (mut first, mut end) = (0, self.count);
        while first < end {
            let middle = first.midpoint(end);
            if self.address(memory, middle)? <= ip { first = middle + 1 } else { end = middle }
        }
        let number = first.checked_sub(1)?;
        let at = self.address(memory, number)?;
        Some((at, self.entry(memory, number)?))
    }

    /// True if the entries may have this layout: most are based on the stack pointer.
    pub(super) fn has<M: ReadPhys>(&self, memory: VirtualMemory<'_, M>, layout: &Layout) -> bool {
        let mut counts = [0_u32; 16];
        for sample in 0..SAMPLES {
            if let Some(entry) = self.entry(memory, sample * self.count / SAMPLES) {
                counts[usize::from(entry[4] & 15)] += 1;
            }
        }
        let most = counts.iter().max().copied().unwrap_or(0);
        most > 0 && counts[usize::from(layout.sp)] == most
    }
}
