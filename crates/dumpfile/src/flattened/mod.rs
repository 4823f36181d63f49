//! Flattened files: a file as a stream of records, each with its offset (makedumpfile `-F`, QEMU).
//!
//! 4096 bytes of a header, then records: offset and length as big-endian 64-bit numbers, and that
//! many bytes. Records come in any order; a later one replaces the bytes of an earlier one. A
//! record with -1 for both ends the stream.

mod pieces;
#[cfg(test)]
mod tests;

pub use pieces::{Found, Pieces, Scan};

/// Bytes of the header.
pub const HEADER: usize = 4096;
/// Bytes in front of each record's own.
pub const RECORD: usize = 16;
/// First bytes of a stream (`MDF_SIGNATURE`).
pub const SIGNATURE: [u8; 16] = *b"makedumpfile\0\0\0\0";
/// `type` and `version`, the only ones there are.
const TYPE_AND_VERSION: [u64; 2] = [1, 1];
/// The end of the stream.
pub const END: [u8; RECORD] = [0xff; RECORD];

/// A reason why bytes are not a flattened file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlattenedError {
    /// The signature is missing.
    #[error("it is no flattened file")]
    NotOurs,
    /// Type or version is not known.
    #[error("it is flattened in a form that is not known (type {0}, version {1})")]
    Version(u64, u64),
    /// A record has an impossible place.
    #[error("a record at byte {at} has an impossible place: the file is damaged")]
    Record {
        /// Offset of the record in the stream, in bytes.
        at: u64,
    },
    /// The stream has no end.
    #[error("it ends in the middle, after {0} bytes: copy it again")]
    Cut(u64),
    /// The heap has no room.
    #[error("there is not enough memory for the list of its records")]
    NoMemory,
}

/// The header of a stream.
pub fn header() -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    bytes[..16].copy_from_slice(&SIGNATURE);
    for (at, number) in [16, 24].into_iter().zip(TYPE_AND_VERSION) {
        bytes[at..at + 8].copy_from_slice(&number.to_be_bytes());
    }
    bytes
}

/// The bytes in front of a record of `length` bytes, which belong to `offset` of the file.
pub fn record(offset: u64, length: u64) -> [u8; RECORD] {
    let mut bytes = [0; RECORD];
    bytes[..8].copy_from_slice(&offset.to_be_bytes());
    bytes[8..].copy_from_slice(&length.to_be_bytes());
    bytes
}

/// Checks the front of a stream.
///
/// # Errors
/// [`FlattenedError::NotOurs`], [`FlattenedError::Version`].
pub fn check_header(front: &[u8]) -> Result<(), FlattenedError> {
    let front = front.first_chunk::<32>().filter(|front| front.starts_with(&SIGNATURE));
    let [_, _, kind, version] = front.ok_or(FlattenedError::NotOurs)?.as_chunks::<8>().0 else {
        return Err(FlattenedError::NotOurs);
    };
    match [kind, version].map(|number| u64::from_be_bytes(*number)) {
        TYPE_AND_VERSION => Ok(()),
        [kind, version] => Err(FlattenedError::Version(kind, version)),
    }
}
