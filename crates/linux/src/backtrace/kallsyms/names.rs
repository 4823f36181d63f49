//! Names of symbols: one pass over their lengths.

use alloc::vec::Vec;
use core::ops::Range;

use super::{Kallsyms, KallsymsTables};
use crate::virtual_memory::Run;
use crate::{Error, VirtualMemory};
use vmcore::{ReadPhys, zeros};

/// The most names of one pass.
pub const MOST_NAMES: usize = 512;
/// The longest name that the kernel prints, in bytes (`KSYM_NAME_LEN`, with the NUL).
pub const MOST_NAME: usize = 512;
/// The most bytes of names that passes read. Linux 7.2 of Debian has 2.9 MB.
const MOST_BYTES: u64 = 4 << 20;

/// Number of tokens.
const TOKENS: usize = 256;
/// The most bytes of all tokens. Debian's kernels have 1 KiB.
const MOST_TOKENS: u64 = 4 << 10;

/// Bytes that are read at once.
const TOGETHER: usize = 4 << 10;
/// Bytes of a name's length: one or two.
const LENGTH: usize = 2;
/// A length of two bytes: the first has the lower seven bits.
const LONG: u8 = 1 << 7;

/// Bounds of passes over names.
pub struct Budget<'g> {
    /// Bytes that may still be read.
    bytes: u64,
    /// False if the time is over.
    go_on: &'g mut dyn FnMut() -> bool,
}

impl<'g> Budget<'g> {
    /// 4 MiB of names. `go_on` is asked every 4 KiB and ends a pass with false.
    pub const fn new(go_on: &'g mut dyn FnMut() -> bool) -> Self {
        Self { bytes: MOST_BYTES, go_on }
    }

    /// True if there is time left.
    pub fn has_time(&mut self) -> bool {
        (self.go_on)()
    }

    /// True if another `count` bytes may be read.
    fn allows(&mut self, count: usize) -> bool {
        let left = self.bytes.checked_sub(count as u64);
        self.bytes = left.unwrap_or(0);
        left.is_some() && self.has_time()
    }
}

/// The strings that names are made of.
#[derive(Debug)]
pub(super) struct Tokens {
    /// The strings, each with a NUL.
    text: Vec<u8>,
    /// For each token, its place in the text (u16, little-endian).
    places: Vec<u8>,
}

impl Tokens {
    /// Reads them.
    pub(super) fn read<M: ReadPhys>(
        memory: VirtualMemory<'_, M>,
        tables: &KallsymsTables,
    ) -> Result<Self, Error> {
        // The index follows the tokens.
        let length = tables.token_index.checked_sub(tables.token_table);
        let length = length.filter(|length| *length <= MOST_TOKENS);
        let length = length.ok_or(Error::BadSymbols { at: tables.token_table })?;
        let (mut text, mut places) = (zeros(length as usize)?, zeros(2 * TOKENS)?);
        memory.read(tables.token_table, &mut text)?;
        memory.read(tables.token_index, &mut places)?;
        Ok(Self { text, places })
    }

    /// The text of a token; nothing if its place is wrong.
    fn get(&self, token: u8) -> &[u8] {
        let place = self.places.get(2 * usize::from(token)..);
        let place =
            place.and_then(|places| places.first_chunk()).map(|place| u16::from_le_bytes(*place));
        let text = place.and_then(|place| self.text.get(usize::from(place)..)).unwrap_or_default();
        let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
        &text[..end]
    }
}

/// A name as the table has it.
#[derive(Clone, Copy)]
pub(super) struct Compressed<'n> {
    tokens: &'n Tokens,
    name: &'n [u8],
}

impl<'n> Compressed<'n> {
    /// Its bytes. The first character is the symbol's type, and is no part of the name.
    fn bytes(self) -> impl Iterator<Item = u8> {
        let all = self.name.iter().flat_map(move |token| self.tokens.get(*token));
        all.copied().skip(1).take(MOST_NAME - 1)
    }

    /// True if the name is `wanted`.
    pub(super) fn matches(self, wanted: &[u8]) -> bool {
        self.bytes().eq(wanted.iter().copied())
    }

    /// Appends the name to `text`.
    ///
    /// # Errors
    /// [`Error::NO_MEMORY`].
    fn append(self, text: &mut Vec<u8>) -> Result<(), Error> {
        text.try_reserve(self.bytes().count()).map_err(|_| Error::NO_MEMORY)?;
        text.extend(self.bytes());
        Ok(())
    }
}

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

impl<M: ReadPhys> Kallsyms<'_, M> {
    /// Visits the names of these symbols, in ascending order, in one pass over all lengths before
    /// them. False if the budget did not suffice for all.
    pub(super) fn each_name(
        &self,
        indices: impl IntoIterator<Item = u32>,
        budget: &mut Budget<'_>,
        visit: &mut impl FnMut(u32, Compressed<'_>) -> Result<(), Error>,
    ) -> Result<bool, Error> {
        let mut stream = Stream::new(self.memory, self.tables.names, budget)?;
        let mut next = 0;
        for index in indices {
            while next <= index && next < self.count {
                let Some(length) = stream.length()? else { return Ok(false) };
                if next == index {
                    let Some(name) = stream.name(length)? else { return Ok(false) };
                    visit(index, Compressed { tokens: &self.tokens, name })?;
                }
                stream.skip(length);
                next += 1;
            }
        }
        Ok(true)
    }

    /// Visits the names of these symbols, in ascending order, at most [`MOST_NAMES`]: the number
    /// of each and its name of at most [`MOST_NAME`] bytes. False if the budget did not suffice
    /// for all.
    ///
    /// # Errors
    /// Names that cannot be read; [`Error::NO_MEMORY`].
    pub fn names(
        &self,
        indices: &[u32],
        budget: &mut Budget<'_>,
        each: &mut dyn FnMut(u32, &[u8]),
    ) -> Result<bool, Error> {
        let mut text = Vec::new();
        let few = indices.iter().copied().take(MOST_NAMES);
        let is_complete = self.each_name(few, budget, &mut |index, name| {
            text.clear();
            name.append(&mut text)?;
            each(index, &text);
            Ok(())
        })?;
        Ok(is_complete && indices.len() <= MOST_NAMES)
    }

    /// The addresses of the symbols with these names, found in one pass. [`None`] for names that
    /// are not there, and for those after the end of the budget. Of several symbols with one name
    /// it is the one with the lowest address, as the kernel's own search has it.
    ///
    /// # Errors
    /// Names that cannot be read; [`Error::NO_MEMORY`].
    pub fn addresses_of<const N: usize>(
        &self,
        names: [&str; N],
        budget: &mut Budget<'_>,
    ) -> Result<[Option<u64>; N], Error> {
        let mut found = [None; N];
        self.each_name(0..self.count, budget, &mut |index, name| {
            let Some(first) = name.bytes().next() else { return Ok(()) };
            for (wanted, index_of) in names.iter().zip(&mut found) {
                let is_likely = wanted.as_bytes().first() == Some(&first) && index_of.is_none();
                if is_likely && name.matches(wanted.as_bytes()) {
                    *index_of = Some(index);
                }
            }
            Ok(())
        })?;
        let mut addresses = [None; N];
        for (address, index) in addresses.iter_mut().zip(found) {
            *address = index.map(|index| self.address(index)).transpose()?;
        }
        Ok(addresses)
    }
}
