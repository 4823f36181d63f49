//! The log of Linux 3.5 to 5.9 (`kernel/printk/printk.c`): records of any length, one after the
//! other.
//!
//! ```text
//! log_buf ──▶ | record | record | … | record | length zero |
//!                      ▲ log_first_idx       ▲ log_next_idx
//! record:     time · total length · of the text · of the dictionary (· caller) | text | dictionary
//! ```
//!
//! A record that does not fit before the end of the buffer is at its start. A header with the
//! length zero marks this. Each record leaves room for such a header after it.

use super::chain::{Cursor, Found, Records};
use super::layout::BufferLayout;
use super::memory::{MAX_SIZE_BITS, add, number};
use super::record::Caller;
use crate::{Error, KernelMemory};
use vmcore::ReadPhys;

/// The buffer.
pub(super) struct Buffer<'a, M> {
    memory: KernelMemory<'a, M>,
    layout: BufferLayout,
    /// Virtual address of its first byte.
    data: u64,
    /// Length in bytes.
    length: u64,
    /// Index of the byte after the newest record.
    end: u64,
}

impl<'a, M: ReadPhys> Buffer<'a, M> {
    /// Finds the buffer and its oldest record.
    pub(super) fn open(
        memory: KernelMemory<'a, M>,
        vmcoreinfo: &[u8],
    ) -> Result<(Self, Cursor), Error> {
        let layout = BufferLayout::parse(vmcoreinfo)?;
        let word = |at, bytes| number(&memory, at, 0, bytes);
        let length = word(layout.log_buf_len, 4)?;
        if !(layout.size..=1 << MAX_SIZE_BITS).contains(&length) {
            return Err(Error::BadLog { field: "log_buf_len", value: length });
        }
        let data = word(layout.log_buf, layout.word)?;
        let index = |field, at| match word(at, 4)? {
            index if index < length => Ok(index),
            value => Err(Error::BadLog { field, value }),
        };
        let first = index("log_first_idx", layout.log_first_idx)?;
        let end = index("log_next_idx", layout.log_next_idx)?;
        let buffer = Self { memory, layout, data, length, end };
        Ok((buffer, Cursor { index: first, wraps: first > end }))
    }

    /// True if the kernel stores the caller of each record. Such a kernel also prints it.
    pub(super) const fn has_callers(&self) -> bool {
        self.layout.caller_id.is_some()
    }

    /// A field of the record at `index`.
    fn field(&self, index: u64, offset: u64, length: usize) -> Result<u64, Error> {
        number(&self.memory, add(self.data, index)?, offset, length)
    }

    /// Place of the record at `at` and its length in bytes; `None` at the end of the log.
    fn find(&self, mut at: Cursor) -> Result<Option<(Cursor, u64)>, Error> {
        if at.wraps && self.field(at.index, self.layout.len, 2)? == 0 {
            at = Cursor { index: 0, wraps: false };
        }
        if !at.wraps && at.index == self.end {
            return Ok(None);
        }
        let length = self.field(at.index, self.layout.len, 2)?;
        let limit = if at.wraps { self.length - self.layout.size } else { self.end };
        if length < self.layout.size || at.index.saturating_add(length) > limit {
            return Err(Error::BadLog { field: "len", value: length });
        }
        Ok(Some((at, length)))
    }
}

impl<M: ReadPhys> Records for Buffer<'_, M> {
    fn next(&self, at: Cursor) -> Result<Option<Cursor>, Error> {
        let found = self.find(at)?;
        Ok(found.map(|(at, length)| Cursor { index: at.index + length, ..at }))
    }

    fn read(&self, at: Cursor, text: &mut [u8]) -> Result<Found, Error> {
        let BufferLayout { size, ts_nsec, text_len, caller_id, .. } = self.layout;
        let (at, length) = self.find(at)?.ok_or(Error::BadLog { field: "len", value: 0 })?;
        let end = self.field(at.index, text_len, 2)?;
        if end > length - size {
            return Err(Error::BadLog { field: "text_len", value: end });
        }
        let into = text.get_mut(..end as usize).ok_or(Error::NO_MEMORY)?;
        self.memory.read(add(add(self.data, at.index)?, size)?, into)?;
        let caller = caller_id.map(|offset| self.field(at.index, offset, 4)).transpose()?;
        Ok(Found {
            ts_nsec: Some(self.field(at.index, ts_nsec, 8)?),
            caller: caller.map(|id| Caller(id as u32)),
            start: 0,
            end: end as usize,
        })
    }
}
