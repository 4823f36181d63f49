//! The one checksum of everything in this crate.

use crc::{CRC_32_ISCSI, Crc};

/// CRC-32C (Castagnoli), as in iSCSI and SSE 4.2, with a table of 1 KiB.
pub(crate) static CRC32C: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

#[cfg(test)]
mod tests {
    use super::*;

    /// The check value of CRC-32/ISCSI in the catalogue of CRC algorithms.
    #[test]
    fn the_checksum_is_crc32c() {
        assert_eq!(CRC32C.checksum(b"123456789"), 0xe306_9283);
    }
}
