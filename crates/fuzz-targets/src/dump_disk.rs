//! A dump disk: its headers, and those of a dump.

use dumpfile::disk::{BLOCK, DumpEntry, DumpHeader, FIRST_OFFSET, FoundDisk, TableBlock, v1};
use dumpfile::{Crc32c, DiskHeader, DiskId, DiskState};

/// Decodes the bytes as each kind of block that there is on a disk, also with zeros behind them and with
/// the checksum that they should have. What is accepted says the same when it is written again.
///
/// # Panics
/// When it does not.
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
        Ok(FoundDisk::V1(header)) => {
            assert_eq!(v1::DiskHeader::decode(&header.encode()), Ok(header));
        }
        Ok(FoundDisk::V2 { header, .. }) => {
            assert_eq!(DiskHeader::decode(&header.encode()), Ok(header));
            let _ = header.place(1 << 40, 1 << 30, true);
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
    let entry = DumpEntry { sequence, offset, length, state };
    let Ok(header) = DumpHeader::decode_copies(bytes, id, &entry) else { return };
    assert_eq!(DumpHeader::decode(&header.encode(), id, &entry), Ok(header));
    assert!(header.region_length() <= length);
    let table = bytes.get(2 * BLOCK..).unwrap_or_default();
    let (marks, _) = TableBlock::decode_copies(table, &header, 0);
    assert_eq!(TableBlock::decode(&marks.encode(&header), &header, 0), Some(marks));
}

/// The bytes at `at`, or zeros.
fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}
