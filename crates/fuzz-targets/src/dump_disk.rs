//! A dump disk: its headers, and those of a dump.

use dumpfile::disk::{
    BLOCK, DumpEntry, DumpHeader, FIRST_OFFSET, FoundDisk, Segment, encode_segment,
};
use dumpfile::{Crc32c, DiskHeader, DiskId, DiskState};

/// Decodes the bytes as each kind of block that there is on a disk, also with zeros after them and
/// with the checksum that they should have. An accepted block decodes to the same after it is
/// written again.
///
/// # Panics
/// Panics if it does not.
pub fn dump_disk(bytes: &[u8]) {
    decode(bytes);
    let mut blocks = bytes.to_vec();
    blocks.resize(bytes.len().next_multiple_of(BLOCK).max(2 * BLOCK), 0);
    for block in blocks.chunks_exact_mut(BLOCK) {
        seal(block);
    }
    decode(&blocks);
}

fn seal(block: &mut [u8]) {
    block[BLOCK - 4..].fill(0);
    let crc = Crc32c::of(block);
    block[BLOCK - 4..].copy_from_slice(&crc.to_le_bytes());
}

fn decode(bytes: &[u8]) {
    match FoundDisk::decode(bytes) {
        Ok(FoundDisk { header, .. }) => {
            assert_eq!(DiskHeader::decode(&header.encode()), Ok(header));
            let _ = header.place(1 << 40, 1 << 30, 7, true);
            let _ = header.place_part(1 << 40, 1 << 30, 7, true);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    dump(bytes);
}

/// The dump that the bytes themselves name.
fn dump(bytes: &[u8]) {
    let id = DiskId(field(bytes, 16));
    let sequence = u64::from_le_bytes(field(bytes, 32));
    let (offset, state) = (FIRST_OFFSET, DiskState::IN_PROGRESS);
    let length = u64::MAX - (BLOCK as u64 - 1) - offset;
    let key = u32::from_le_bytes(field(bytes, 224));
    let entry = DumpEntry { sequence, offset, length, state, key };
    let Ok(header) = DumpHeader::decode_copies(bytes, id, &entry) else { return };
    assert_eq!(DumpHeader::decode(&header.encode(), id, &entry), Ok(header));
    assert!(header.committed <= length);
    // The block after the headers as the first segment.
    let block = bytes.get(2 * BLOCK..).unwrap_or_default();
    let Ok(segment) = Segment::decode(block, &header, header.bulk_start) else { return };
    let (start, end) = (header.bulk_start + BLOCK as u64, segment.end(header.bulk_start));
    assert!(end <= header.committed);
    for chunks in &segment.chunks {
        let is_inside = start <= chunks.at && chunks.end() <= end;
        assert!(chunks.entry.stored == 0 || is_inside, "{chunks:?}");
        let last = chunks.nth(chunks.count() - 1);
        assert_eq!(last.entry.check(header.raw_length), Ok(()), "{chunks:?}");
    }
    let mut again = [0; BLOCK];
    encode_segment(&header, segment.number, segment.length, &segment.chunks, &mut again);
    assert_eq!(Segment::decode(&again, &header, header.bulk_start), Ok(segment));
}

/// The bytes at `at`, or zeros.
fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}
