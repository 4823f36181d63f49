//! Bytes and text that grow only where the heap has room.

use alloc::vec::Vec;
use core::fmt;

use crate::Error;

/// Text of at most `limit` bytes. A write that does not fit is an error and changes nothing.
pub struct Text {
    /// The text so far.
    pub bytes: Vec<u8>,
    /// Most bytes that it may have.
    pub limit: usize,
}

impl Text {
    /// No text yet.
    pub const fn new(limit: usize) -> Self {
        Self { bytes: Vec::new(), limit }
    }
}

impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text.len() > self.limit.saturating_sub(self.bytes.len()) {
            return Err(fmt::Error);
        }
        self.bytes.try_reserve(text.len()).map_err(|_| fmt::Error)?;
        self.bytes.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

/// `length` zero bytes.
///
/// # Errors
/// [`Error::NoMemory`] when the heap has no room.
pub fn zeros(length: usize) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(length).map_err(|_| Error::NoMemory)?;
    bytes.resize(length, 0);
    Ok(bytes)
}
