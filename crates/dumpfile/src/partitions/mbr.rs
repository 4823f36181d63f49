//! MBR: four entries in the first sector. An extended partition is a list of sectors of the same
//! form, each with a logical partition and the place of the next one.

use super::disk::{Disk, Fault, Found, u32_at};
use core::ops::Range;

/// Offset of the four entries, and the length of each, in bytes.
const ENTRIES: usize = 446;
const ENTRY: usize = 16;
/// Last bytes of the first 512.
const SIGNATURE: [u8; 2] = [0x55, 0xaa];
/// Types of extended partitions: of DOS, of Windows, of Linux.
const EXTENDED: [u8; 3] = [0x05, 0x0f, 0x85];
/// Type of the partition that keeps tools which know no GPT away.
const PROTECTIVE: u8 = 0xee;
/// The number of the first logical partition.
const FIRST_LOGICAL: u32 = 5;
/// The most sectors of all lists of logical partitions.
const MOST_LINKS: usize = 128;

/// An entry. Places are sectors.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    kind: u8,
    start: u64,
    count: u64,
}

impl Entry {
    /// True in a disk that has a GPT.
    pub(super) const fn is_protective(&self) -> bool {
        self.kind == PROTECTIVE
    }

    fn is_extended(self) -> bool {
        EXTENDED.contains(&self.kind) && self.count != 0
    }

    const fn is_partition(self) -> bool {
        self.kind != 0 && self.count != 0
    }
}

/// The entries of a sector, if there are some.
pub(super) fn entries(sector: &[u8]) -> Option<[Entry; 4]> {
    let table = sector.get(ENTRIES..ENTRIES + 4 * ENTRY + 2)?;
    let (entries, signature) = table.split_at(4 * ENTRY);
    let entries = entries.as_chunks::<ENTRY>().0;
    // In a file system's first sector there is code instead.
    let are_entries = entries.iter().all(|entry| matches!(entry[0], 0 | 0x80));
    (signature == SIGNATURE && are_entries).then(|| {
        core::array::from_fn(|index| {
            let entry = &entries[index];
            let (start, count) = (u32_at(entry, 8).into(), u32_at(entry, 12).into());
            Entry { kind: entry[4], start, count }
        })
    })
}

/// The primary and the logical partitions.
pub(super) fn find<E>(
    disk: &mut Disk<'_, E>,
    entries: &[Entry; 4],
    piece: &mut [u8],
    complain: &mut dyn FnMut(Fault),
) -> Result<Found, E> {
    let mut found = Found::default();
    found.tables.extend(disk.sectors(0, 1));
    let whole = 0..disk.size;
    for (number, entry) in (1..).zip(entries) {
        if entry.is_partition() && !entry.is_extended() {
            add(disk, &mut found, (number, *entry, 0), &whole, complain);
        }
    }
    let mut next = FIRST_LOGICAL;
    for entry in entries.iter().filter(|entry| entry.is_extended()) {
        logical(disk, &mut found, *entry, &mut next, piece, complain)?;
    }
    Ok(found)
}

/// Adds a partition whose start counts from sector `base`, if it is inside of `within`; false if
/// there is no room for more.
fn add<E>(
    disk: &Disk<'_, E>,
    found: &mut Found,
    (number, entry, base): (u32, Entry, u64),
    within: &Range<u64>,
    complain: &mut dyn FnMut(Fault),
) -> bool {
    let is_inside = |place: &Range<u64>| within.start <= place.start && place.end <= within.end;
    let place = disk.sectors(base + entry.start, entry.count).filter(is_inside);
    found.add(number, place, complain)
}

/// Adds the logical partitions in an extended one. Links count from its start, partitions from the
/// sector that names them.
fn logical<E>(
    disk: &mut Disk<'_, E>,
    found: &mut Found,
    extended: Entry,
    next: &mut u32,
    piece: &mut [u8],
    complain: &mut dyn FnMut(Fault),
) -> Result<(), E> {
    let within = disk.sectors(extended.start, extended.count);
    let within = within.map_or(0..0, |place| place.start..place.end.min(disk.size));
    let mut link = extended.start;
    loop {
        let is_new = |place: &Range<u64>| {
            within.start <= place.start && place.end <= within.end && !found.tables.contains(place)
        };
        let place = disk.sectors(link, 1).filter(is_new);
        let Some(place) = place.filter(|_| found.tables.len() <= MOST_LINKS) else { break };
        let sector = &mut piece[..disk.sector as usize];
        (disk.read)(place.start, sector)?;
        let Some(entries) = entries(sector) else { break };
        found.tables.push(place);
        let partitions = entries.iter().filter(|entry| entry.is_partition());
        for entry in partitions.filter(|entry| !entry.is_extended()) {
            if !add(disk, found, (*next, *entry, link), &within, complain) {
                return Ok(());
            }
            *next += 1;
        }
        match entries.iter().find(|entry| entry.is_extended()) {
            Some(entry) => link = extended.start + entry.start,
            None => return Ok(()),
        }
    }
    complain(Fault::Logical(*next - 1));
    Ok(())
}
