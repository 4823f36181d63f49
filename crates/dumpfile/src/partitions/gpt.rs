//! GPT: a header and its entries at the front of the disk, and a copy of both at its end
//! (UEFI 2.10, 5.3).

use super::disk::{Disk, Fault, Found, MOST, PIECE, u32_at, u64_at};
use alloc::vec::Vec;
use core::ops::{Range, RangeInclusive};
use crc::{CRC_32_ISO_HDLC, Crc, NoTable};

/// The checksum of GPT. Rare: a table would cost the capture kernel more than it saves.
const CRC: Crc<u32, NoTable> = Crc::<u32, NoTable>::new(&CRC_32_ISO_HDLC);

/// First bytes of a header.
const SIGNATURE: &[u8] = b"EFI PART";
/// Least length of a header, in bytes.
const HEADER: usize = 92;
/// Least length of an entry, in bytes.
const ENTRY: u32 = 128;
/// The most bytes of all entries; 16 KiB are usual.
const MOST_ENTRIES: u64 = 1 << 20;

/// Offsets in a header.
mod header {
    pub(super) const LENGTH: usize = 12;
    pub(super) const CRC: usize = 16;
    pub(super) const OWN_SECTOR: usize = 24;
    pub(super) const FIRST_USABLE: usize = 40;
    pub(super) const LAST_USABLE: usize = 48;
    pub(super) const ENTRIES_AT: usize = 72;
    pub(super) const ENTRIES: usize = 80;
    pub(super) const ENTRY_LENGTH: usize = 84;
    pub(super) const ENTRIES_CRC: usize = 88;
}

/// Offsets in an entry. It begins with the type, which is zero in an unused one.
mod entry {
    pub(super) const TYPE_LENGTH: usize = 16;
    pub(super) const FIRST: usize = 32;
    pub(super) const LAST: usize = 40;
}

/// A header whose checksum is right. Places are sectors.
struct Header {
    usable: RangeInclusive<u64>,
    entries_at: u64,
    entry_length: u32,
    /// Bytes of all entries.
    length: u64,
    crc: u32,
}

impl Header {
    fn parse(bytes: &[u8], at: u64) -> Option<Self> {
        let length = u32_at(bytes, header::LENGTH) as usize;
        let own = bytes.get(..length.max(HEADER)).filter(|_| length >= HEADER)?;
        let mut digest = CRC.digest();
        digest.update(&own[..header::CRC]);
        digest.update(&[0; 4]);
        digest.update(&own[header::CRC + 4..]);
        let is_whole = own.starts_with(SIGNATURE)
            && digest.finalize() == u32_at(own, header::CRC)
            && u64_at(own, header::OWN_SECTOR) == at;
        let entry_length = u32_at(own, header::ENTRY_LENGTH);
        let entries = u32_at(own, header::ENTRIES);
        let length = u64::from(entries) * u64::from(entry_length);
        let has_entries = entry_length.is_power_of_two()
            && (ENTRY..=PIECE as u32).contains(&entry_length)
            && (1..=MOST_ENTRIES).contains(&length);
        (is_whole && has_entries).then(|| Self {
            usable: u64_at(own, header::FIRST_USABLE)..=u64_at(own, header::LAST_USABLE),
            entries_at: u64_at(own, header::ENTRIES_AT),
            entry_length,
            length,
            crc: u32_at(own, header::ENTRIES_CRC),
        })
    }
}

/// An entry in use: its number, and its first and last sector.
type Entry = (u32, u64, u64);

/// The partitions of the first GPT that is whole.
pub(super) fn find<E>(
    disk: &mut Disk<'_, E>,
    piece: &mut [u8],
    complain: &mut dyn FnMut(Fault),
) -> Result<Found, E> {
    let last = disk.size / u64::from(disk.sector) - 1;
    // A sector that cannot be read is damage, too.
    if let Ok(Some(found)) = read(disk, 1, piece, complain) {
        return Ok(found);
    }
    match read(disk, last, piece, complain)? {
        Some(found) => {
            complain(Fault::FirstGpt);
            Ok(found)
        }
        None => {
            complain(Fault::BothGpts);
            Ok(Found::default())
        }
    }
}

/// The partitions by the header in sector `at`, if it and its entries are whole.
fn read<E>(
    disk: &mut Disk<'_, E>,
    at: u64,
    piece: &mut [u8],
    complain: &mut dyn FnMut(Fault),
) -> Result<Option<Found>, E> {
    let size = disk.size;
    let inside = |place: &Range<u64>| place.end <= size;
    let Some(place) = disk.sectors(at, 1).filter(inside) else { return Ok(None) };
    let sector = &mut piece[..disk.sector as usize];
    (disk.read)(place.start, sector)?;
    let Some(header) = Header::parse(sector, at) else { return Ok(None) };
    let count = header.length.div_ceil(disk.sector.into());
    let Some(place) = disk.sectors(header.entries_at, count).filter(inside) else {
        return Ok(None);
    };
    let Some(entries) = entries(disk, &header, place.start, piece)? else { return Ok(None) };
    let last = size / u64::from(disk.sector) - 1;
    let tables = [disk.sectors(0, 2), Some(place), disk.sectors(last, 1)];
    let mut found = Found { tables: tables.into_iter().flatten().collect(), ..Found::default() };
    for (number, first, end) in entries {
        let is_usable =
            first <= end && header.usable.contains(&first) && header.usable.contains(&end);
        let count = if is_usable { (end - first).checked_add(1) } else { None };
        let place = count.and_then(|count| disk.sectors(first, count)).filter(inside);
        if !found.add(number, place, complain) {
            break;
        }
    }
    Ok(Some(found))
}

/// The entries in use, if their checksum is right.
fn entries<E>(
    disk: &mut Disk<'_, E>,
    header: &Header,
    start: u64,
    piece: &mut [u8],
) -> Result<Option<Vec<Entry>>, E> {
    let mut found = Vec::new();
    let mut digest = CRC.digest();
    for at in (0..header.length).step_by(PIECE) {
        let here = (header.length - at).min(PIECE as u64) as usize;
        let sectors = here.next_multiple_of(disk.sector as usize);
        (disk.read)(start + at, &mut piece[..sectors])?;
        digest.update(&piece[..here]);
        let numbers = (at / u64::from(header.entry_length)) as u32 + 1..;
        for (number, entry) in numbers.zip(piece[..here].chunks(header.entry_length as usize)) {
            let is_used = entry.iter().take(entry::TYPE_LENGTH).any(|byte| *byte != 0);
            // One more than is looked at, so that the others are named.
            if is_used && found.len() <= MOST {
                found.push((number, u64_at(entry, entry::FIRST), u64_at(entry, entry::LAST)));
            }
        }
    }
    Ok((digest.finalize() == header.crc).then_some(found))
}
