//! Text that grows up to a limit.

use alloc::vec::Vec;
use core::fmt;

/// Text of at most `limit` bytes. A write that does not fit is an error and changes nothing.
pub(crate) struct Text {
    pub(crate) bytes: Vec<u8>,
    pub(crate) limit: usize,
}

impl Text {
    pub(crate) const fn new(limit: usize) -> Self {
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
