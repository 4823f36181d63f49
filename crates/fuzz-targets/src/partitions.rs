//! Partition tables.

use dumpfile::partitions::{Disk, Fault, MOST, Partition};

/// Bytes before those of the disk: the size of its sectors as a power of two from 512, and its own
/// size.
const HEAD: usize = 9;
/// The most requests that one table can take: two GPTs of 1 MiB, or 128 links.
const MOST_READS: u32 = 2 * 257 + 130;

/// Looks for partitions on a disk that begins with the bytes and ends with the last sector of them,
/// also with the checksums that a GPT should have. Partitions lie inside of the disk and apart from
/// each other, and the number of requests is bounded.
///
/// # Panics
/// Panics if that is not so.
pub fn partitions(bytes: &[u8]) {
    let Some((head, bytes)) = bytes.split_first_chunk::<HEAD>() else { return };
    let (shift, size) = head.split_at(1);
    let sector = 512_u32 << (shift[0] % 5);
    let size = size.first_chunk().map_or(0, |size| u64::from_le_bytes(*size));
    look(bytes, sector, size);
    look(&sealed(bytes, sector as usize), sector, size);
}

fn look(bytes: &[u8], sector: u32, size: u64) {
    let mut reads = 0;
    let last = bytes.len().saturating_sub(sector as usize);
    let mut read = |at: u64, into: &mut [u8]| {
        reads += 1;
        let end = at.checked_add(into.len() as u64).expect("no wrap");
        assert!(end <= size && at.is_multiple_of(sector.into()) && into.len() <= 4096);
        let from = if end == size { last } else { usize::try_from(at).unwrap_or(usize::MAX) };
        let there = bytes.get(from..).unwrap_or_default();
        let (filled, rest) = into.split_at_mut(there.len().min(into.len()));
        filled.copy_from_slice(&there[..filled.len()]);
        rest.fill(0);
        Ok::<_, ()>(())
    };
    let mut disk = Disk { size, sector, read: &mut read };
    let mut check = |fault: Fault| assert!(!fault.to_string().is_empty());
    let mut found = disk.partitions(&mut check).expect("no request fails");
    assert!(found.len() <= MOST && reads <= MOST_READS, "{reads}");
    found.sort_by_key(|partition| partition.place.start);
    let mut before = u64::from(sector);
    for Partition { place, number } in found {
        assert!(number > 0 && before <= place.start && place.start < place.end);
        assert!(place.end <= size);
        before = place.end;
    }
}

/// The same bytes, with right checksums of the entries and headers of both GPTs.
fn sealed(bytes: &[u8], sector: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for at in [sector, bytes.len().saturating_sub(sector)] {
        let number = |at: usize| {
            let field = bytes.get(at..).and_then(|rest| rest.first_chunk());
            field.map_or(0, |field| u32::from_le_bytes(*field)) as usize
        };
        let start = number(at + 72).saturating_mul(sector);
        let end = start.saturating_add(number(at + 80).saturating_mul(number(at + 84)));
        let entries = bytes.get(start..end).map(crc32).unwrap_or_default();
        if let Some(header) = bytes.get_mut(at..at + 92) {
            header[88..].copy_from_slice(&entries.to_le_bytes());
            header[12..20].copy_from_slice(&[92, 0, 0, 0, 0, 0, 0, 0]);
            let crc = crc32(header);
            header[16..20].copy_from_slice(&crc.to_le_bytes());
        }
    }
    bytes
}

/// CRC-32 as in zip and GPT.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            crc >> 1 ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 }
        })
    })
}
