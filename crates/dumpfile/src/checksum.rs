//! The one checksum of everything in this crate.

use crc::{CRC_32_ISCSI, Crc, Digest};

/// CRC-32C (Castagnoli), as in iSCSI and SSE 4.2, with a table of 1 KiB.
pub(crate) static CRC32C: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// The CRC-32C of bytes that come piece by piece.
pub struct Crc32c(Digest<'static, u32>);

impl Crc32c {
    /// Of no bytes yet.
    pub fn new() -> Self {
        Self(CRC32C.digest())
    }

    /// Adds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The checksum of all that was added.
    pub fn finish(self) -> u32 {
        self.0.finalize()
    }

    /// The checksum of these bytes.
    pub fn of(bytes: &[u8]) -> u32 {
        CRC32C.checksum(bytes)
    }
}

impl Default for Crc32c {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The check value of CRC-32/ISCSI in the catalogue of CRC algorithms.
    #[test]
    fn the_checksum_is_crc32c() {
        assert_eq!(Crc32c::of(b"123456789"), 0xe306_9283);
        let mut pieces = Crc32c::new();
        pieces.update(b"1234");
        pieces.update(b"56789");
        assert_eq!(pieces.finish(), 0xe306_9283);
    }
}
