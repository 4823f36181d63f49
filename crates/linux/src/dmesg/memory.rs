//! Limits of a log, and numbers in its memory.

use vmcore::ReadPhys;

use crate::{Error, KernelMemory};

/// The largest log that Linux makes: 2 GiB (`LOG_BUF_LEN_MAX`), as a power of two.
pub(super) const MAX_SIZE_BITS: u64 = 31;
/// The longest text of a record in bytes: `text_len` has 16 bits.
pub(super) const MAX_TEXT: usize = u16::MAX as usize;

/// The little-endian number of `length` bytes, at most 8, at `at + offset` (virtual).
pub(super) fn number<M: ReadPhys>(
    memory: &KernelMemory<'_, M>,
    at: u64,
    offset: u64,
    length: usize,
) -> Result<u64, Error> {
    let mut bytes = [0; 8];
    memory.read(add(at, offset)?, &mut bytes[..length])?;
    Ok(u64::from_le_bytes(bytes))
}

pub(super) fn add(at: u64, offset: u64) -> Result<u64, Error> {
    at.checked_add(offset).ok_or(Error::Unmapped { at })
}
