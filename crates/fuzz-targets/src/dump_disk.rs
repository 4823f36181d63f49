//! The header of a dump disk.

use dumpfile::{DiskError, DiskHeader};

/// Length of the header in bytes; its CRC is the last four.
const SIZE: usize = 4096;

/// Decodes the bytes as a disk's first block, also with zeros behind them and with the checksum that
/// they should have. What is accepted says the same when it is written again.
///
/// # Panics
/// When it does not.
pub fn dump_disk(bytes: &[u8]) {
    if decode(bytes).is_ok() {
        return;
    }
    let mut block = bytes.to_vec();
    block.resize(SIZE, 0);
    if let Err(DiskError::Checksum { expected, .. }) = decode(&block) {
        block[SIZE - 4..].copy_from_slice(&expected.to_le_bytes());
        let right = decode(&block);
        assert!(!matches!(right, Err(DiskError::Checksum { .. })), "{right:?}");
    }
}

fn decode(bytes: &[u8]) -> Result<DiskHeader, DiskError> {
    let decoded = DiskHeader::decode(bytes);
    match &decoded {
        Ok(header) => assert_eq!(DiskHeader::decode(&header.encode()).as_ref(), Ok(header)),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    decoded
}
