//! Names of symbols: one pass over their lengths.

use alloc::vec::Vec;
use core::ops::Range;

use super::budget::Budget;
use super::tokens::{Compressed, MOST_NAME, Tokens};
use crate::virtual_memory::Run;
use crate::{Error, VirtualMemory};
use vmcore::{ReadPhys, zeros};

/// Bytes that are read at once.
const TOGETHER: usize = 4 << 10;
/// Bytes of a name's length: one or two.
const LENGTH: usize = 2;
/// A length of two bytes: the first has the lower seven bits.
const LONG: u8 = 1 << 7;

/// The stream of names, from its start on.
struct Stream<'b, 'g, 'a, M> {
    memory: VirtualMemory<'a, M>,
    run: Run,
    budget: &'b mut Budget<'g>,
    /// Address of the byte after those in the buffer.
    next: u64,
    buffer: Vec<u8>,
    /// The bytes in the buffer that were read and not used.
    ahead: Range<usize>,
}

impl<'b, 'g, 'a, M: ReadPhys> Stream<'b, 'g, 'a, M> {
    fn new(
        memory: VirtualMemory<'a, M>,
        start: u64,
        budget: &'b mut Budget<'g>,
    ) -> Result<Self, Error> {
        let buffer = zeros(TOGETHER + LENGTH + MOST_NAME)?;
        budget.begin();
        Ok(Self { memory, run: Run::default(), budget, next: start, buffer, ahead: 0..0 })
    }

    /// Reads until `count` bytes are ahead. False if the budget is used up.
    fn fill(&mut self, count: usize) -> Result<bool, Error> {
        while self.ahead.len() < count {
            self.buffer.copy_within(self.ahead.clone(), 0);
            self.ahead = 0..self.ahead.len();
            // To the end of a page: the one after it may not be there.
            let more = TOGETHER - (self.next % TOGETHER as u64) as usize;
            let into = &mut self.buffer[self.ahead.end..][..more];
            if !self.budget.allows(more) {
                return Ok(false);
            }
            if !self.memory.read_run(&mut self.run, self.next, into)? {
                return Err(Error::Unmapped { at: self.next });
            }
            self.next = self.next.wrapping_add(more as u64);
            self.ahead.end += more;
        }
        Ok(true)
    }

    /// Goes past `count` bytes.
    fn skip(&mut self, count: usize) {
        let ahead = count.min(self.ahead.len());
        self.ahead.start += ahead;
        self.next = self.next.wrapping_add((count - ahead) as u64);
    }

    /// The length of the next name, and goes past it. [`None`] if the budget is used up.
    fn length(&mut self) -> Result<Option<usize>, Error> {
        if !self.fill(1)? {
            return Ok(None);
        }
        let low = self.buffer[self.ahead.start];
        if low & LONG == 0 {
            self.skip(1);
            return Ok(Some(low.into()));
        }
        if !self.fill(LENGTH)? {
            return Ok(None);
        }
        let high = usize::from(self.buffer[self.ahead.start + 1]);
        self.skip(LENGTH);
        Ok(Some(usize::from(low & !LONG) | high << 7))
    }

    /// The next `length` bytes, or the first of them. [`None`] if the budget is used up.
    fn name(&mut self, length: usize) -> Result<Option<&[u8]>, Error> {
        let length = length.min(MOST_NAME);
        let is_there = self.fill(length)?;
        Ok(is_there.then(|| &self.buffer[self.ahead.start..][..length]))
    }
}

/// The names of all symbols.
#[derive(Debug)]
pub(super) struct NameTable<'a, M> {
    pub(super) memory: VirtualMemory<'a, M>,
    /// Address of the first name.
    pub(super) start: u64,
    /// Number of names.
    pub(super) count: u32,
    pub(super) tokens: Tokens,
}

impl<M: ReadPhys> NameTable<'_, M> {
    /// Visits the names of these symbols, in ascending order, in one pass over all lengths before
    /// them. False if the budget did not suffice for all.
    pub(super) fn each_name(
        &self,
        indices: impl IntoIterator<Item = u32>,
        budget: &mut Budget<'_>,
        visit: &mut impl FnMut(u32, Compressed<'_>) -> Result<(), Error>,
    ) -> Result<bool, Error> {
        let mut stream = Stream::new(self.memory, self.start, budget)?;
        let mut next = 0;
        for index in indices {
            while next <= index && next < self.count {
                let Some(length) = stream.length()? else { return Ok(false) };
                if next == index {
                    let Some(name) = stream.name(length)? else { return Ok(false) };
                    visit(index, Compressed::new(&self.tokens, name))?;
                }
                stream.skip(length);
                next += 1;
            }
        }
        Ok(true)
    }
}
