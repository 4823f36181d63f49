//! The log before Linux 3.5 (`kernel/printk.c`): a ring of text as on the console, but with the
//! level at the start of each line. `log_end` counts all bytes ever written.

use super::chain::{Cursor, Found, Records};
use super::layout::LinesLayout;
use super::memory::{MAX_SIZE_BITS, MAX_TEXT, add, number};
use crate::{Error, KernelMemory};
use vmcore::ReadPhys;

/// Size of one read in bytes.
const PIECE: usize = 128;

/// The ring. A cursor's index counts bytes from the oldest one on.
pub(super) struct Lines<'a, M> {
    memory: KernelMemory<'a, M>,
    /// Virtual address of the ring's first byte.
    data: u64,
    /// Length of the ring in bytes, a power of two.
    size: u64,
    /// Offset of the oldest byte in the ring.
    start: u64,
    /// Number of bytes in the ring.
    length: u64,
}

impl<'a, M: ReadPhys> Lines<'a, M> {
    /// Finds the ring and its oldest line.
    pub(super) fn open(
        memory: KernelMemory<'a, M>,
        vmcoreinfo: &[u8],
    ) -> Result<(Self, Cursor), Error> {
        let layout = LinesLayout::parse(vmcoreinfo)?;
        let size = number(&memory, layout.log_buf_len, 0, 4)?;
        if !size.is_power_of_two() || size > 1 << MAX_SIZE_BITS {
            return Err(Error::BadLog { field: "log_buf_len", value: size });
        }
        let data = number(&memory, layout.log_buf, 0, layout.word)?;
        let end = number(&memory, layout.log_end, 0, 4)?;
        let length = end.min(size);
        let start = (end - length) & (size - 1);
        let lines = Self { memory, data, size, start, length };
        Ok((lines, Cursor { index: 0, wraps: false }))
    }

    /// Reads from `at` up to the end of the line, of the log, or of `into`. Returns the number of
    /// bytes that the line takes in `into` and in the log.
    fn line(&self, at: u64, into: &mut [u8]) -> Result<(usize, u64), Error> {
        let mut done = 0;
        while done < into.len() {
            let index = at + done as u64;
            let place = (self.start + index) & (self.size - 1);
            let room = (self.length - index).min(self.size - place).min(PIECE as u64) as usize;
            let room = room.min(into.len() - done);
            if room == 0 {
                break;
            }
            let piece = &mut into[done..done + room];
            self.memory.read(add(self.data, place)?, piece)?;
            if let Some(end) = piece.iter().position(|byte| *byte == b'\n') {
                return Ok((done + end, (done + end + 1) as u64));
            }
            done += room;
        }
        Ok((done, done as u64))
    }
}

impl<M: ReadPhys> Records for Lines<'_, M> {
    fn next(&self, at: Cursor) -> Result<Option<Cursor>, Error> {
        if at.index >= self.length {
            return Ok(None);
        }
        let (mut piece, mut index) = ([0; PIECE], at.index);
        // A longer line continues as the next one.
        let most = at.index.saturating_add(MAX_TEXT as u64);
        while index < self.length && index < most {
            let room = (most - index).min(PIECE as u64) as usize;
            let (text, taken) = self.line(index, &mut piece[..room])?;
            index += taken;
            if taken > text as u64 {
                break;
            }
        }
        Ok(Some(Cursor { index, ..at }))
    }

    fn read(&self, at: Cursor, text: &mut [u8]) -> Result<Found, Error> {
        let (end, _) = self.line(at.index, text)?;
        let start = level(&text[..end]);
        Ok(Found { ts_nsec: None, caller: None, start, end })
    }
}

/// Length of the level at the start of a line, as in `<6>`.
fn level(line: &[u8]) -> usize {
    match line {
        [b'<', rest @ ..] => {
            let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let is_level = (1..=3).contains(&digits) && rest.get(digits) == Some(&b'>');
            if is_level { digits + 2 } else { 0 }
        }
        _ => 0,
    }
}
