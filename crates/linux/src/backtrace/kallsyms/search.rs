//! A search for the tables of a kernel before 6.0, which does not name them.
//!
//! The tables follow each other in the kernel's read-only data, each aligned to the length of an
//! address (Linux 4.6 to 5.19, `scripts/kallsyms.c`):
//!
//! ```text
//! offsets │ relative_base │ num_syms │ names │ markers │ token_table │ token_index
//! ```
//!
//! Digits are always tokens of their own, which gives the search its start; each table then has to
//! agree with the next, and in the end `_stext` has to be where VMCOREINFO says. Later kernels have
//! other tables between these.

use super::{Kallsyms, KallsymsTables, MOST_SYMBOLS, tables};
use crate::{Error, MOST_IMAGE, VirtualMemory};
use handoff::layout::PAGE_SIZE;
use vmcore::{ReadPhys, zeros};

/// The tokens of the digits, one after the other.
const DIGITS: &[u8] = b"0\x001\x002\x003\x004\x005\x006\x007\x008\x009\0";
/// Number of the token of the first digit.
const FIRST_DIGIT: usize = b'0' as usize;
/// Number of tokens.
const TOKENS: usize = 256;
/// The most bytes of all tokens.
const MOST_TOKENS: u64 = 4 << 10;
/// Symbols from one marker to the next.
const MARKED: u64 = 256;
/// The most places of digits that are looked at.
const MOST_PLACES: usize = 32;
/// The fewest and the most bytes of a name: its length, and as many tokens.
const LEAST_NAME: u64 = 2;
const MOST_NAME: u64 = 256;

impl<'a, M: ReadPhys> Kallsyms<'a, M> {
    /// Searches the image for the tables. This reads all of it, 64 MiB at most.
    ///
    /// # Errors
    /// [`Error::BadSymbols`] when they are not there; else as [`Self::new`].
    pub fn search(memory: VirtualMemory<'a, M>, vmcoreinfo: &[u8]) -> Result<Self, Error> {
        let (start, word) = (tables::text(vmcoreinfo)?, tables::word(vmcoreinfo)? as u64);
        let search = Search { memory, word };
        let mut buffer = zeros(PAGE_SIZE as usize + DIGITS.len() - 1)?;
        let mut left = MOST_PLACES;
        for offset in (0..MOST_IMAGE).step_by(PAGE_SIZE as usize) {
            let Some(at) = start.checked_add(offset) else { break };
            // Pages may be missing, and a page may be the last.
            let page = &mut buffer[..PAGE_SIZE as usize];
            if memory.read(at, page).is_err() {
                continue;
            }
            let after = &mut buffer[PAGE_SIZE as usize..];
            if memory.read(at.wrapping_add(PAGE_SIZE), after).is_err() {
                after.fill(0xff);
            }
            let windows = buffer.windows(DIGITS.len()).enumerate();
            let has_digits = |window: &[u8]| window[0] == DIGITS[0] && window == DIGITS;
            for (place, _) in windows.filter(|(_, window)| has_digits(window)).take(left) {
                left -= 1;
                let found = search.around(at.wrapping_add(place as u64));
                let kallsyms = found.and_then(|tables| Self::new(memory, vmcoreinfo, tables).ok());
                if let Some(kallsyms) = kallsyms {
                    return Ok(kallsyms);
                }
            }
        }
        Err(Error::BadSymbols { at: start })
    }
}

/// A search around one place.
struct Search<'a, M> {
    memory: VirtualMemory<'a, M>,
    /// Length of an address.
    word: u64,
}

/// The markers: for each 256th symbol, the place of its name.
struct Markers {
    at: u64,
    count: u64,
    second: u64,
    last: u64,
}

impl<M: ReadPhys> Search<'_, M> {
    /// The tables, if the token of the digit 0 is at `digits`.
    fn around(&self, digits: u64) -> Option<KallsymsTables> {
        let token_table = self.token_table(digits)?;
        let token_index = self.token_index(token_table)?;
        let markers = self.markers(token_table)?;
        let names = self.names(&markers)?;
        let num_syms = names.checked_sub(self.word)?;
        let relative_base = num_syms.checked_sub(self.word)?;
        let length = (4 * self.number(num_syms)?).next_multiple_of(self.word);
        let offsets = relative_base.checked_sub(length)?;
        let relative_base = Some(relative_base);
        Some(KallsymsTables { names, num_syms, token_table, token_index, offsets, relative_base })
    }

    fn number(&self, at: u64) -> Option<u64> {
        self.memory.value(at, 4).ok()
    }

    /// The start of the tokens: the byte before them is a zero, the end of a small number.
    fn token_table(&self, digits: u64) -> Option<u64> {
        let mut ends = 0;
        let mut at = digits;
        while at > digits.saturating_sub(MOST_TOKENS) {
            ends += usize::from(self.memory.value(at - 1, 1).ok()? == 0);
            if ends > FIRST_DIGIT {
                return at.is_multiple_of(self.word).then_some(at);
            }
            at -= 1;
        }
        None
    }

    /// The start of the tokens' index, if it agrees with the tokens.
    fn token_index(&self, token_table: u64) -> Option<u64> {
        let mut text = zeros(MOST_TOKENS as usize).ok()?;
        self.memory.read(token_table, &mut text).ok()?;
        let mut places = [0_u16; TOKENS];
        let mut end = 0;
        for place in &mut places {
            *place = end as u16;
            end += 1 + text.get(end..)?.iter().position(|byte| *byte == 0)?;
        }
        let at = token_table.checked_add(end as u64)?.checked_next_multiple_of(self.word)?;
        let mut index = [0; 2 * TOKENS];
        self.memory.read(at, &mut index).ok()?;
        let index = index.as_chunks().0.iter().map(|place| u16::from_le_bytes(*place));
        index.eq(places).then_some(at)
    }

    /// The markers before the tokens: they fall to zero, seen from the end.
    fn markers(&self, token_table: u64) -> Option<Markers> {
        let mut at = token_table.checked_sub(4)?;
        // Between the two, there is room for one number.
        if self.number(at)? == 0 {
            at = at.checked_sub(4)?;
        }
        let last = self.number(at)?;
        let (mut count, mut second) = (1, last);
        while second > 0 && count <= MOST_SYMBOLS / MARKED {
            let before = self.number(at.checked_sub(4)?)?;
            let length = second.checked_sub(before)?;
            if !(LEAST_NAME * MARKED..=MOST_NAME * MARKED).contains(&length) {
                return None;
            }
            (at, count) = (at - 4, count + 1);
            if before == 0 {
                return Some(Markers { at, count, second, last });
            }
            second = before;
        }
        None
    }

    /// The start of the names, if they agree with the markers and with the number of symbols before
    /// them.
    fn names(&self, markers: &Markers) -> Option<u64> {
        let last = markers.at.checked_sub(markers.last)?;
        let highest = last - last % self.word;
        let fits = |names: &u64| {
            let count = self.number(names.checked_sub(self.word)?)?;
            // As many names come after the last marker.
            let rest = count.checked_sub(MARKED * (markers.count - 1))?;
            if !(1..=MARKED).contains(&rest)
                || self.after(*names, MARKED)? != names + markers.second
            {
                return None;
            }
            let end = self.after(names + markers.last, rest)?;
            (end.checked_next_multiple_of(self.word)? == markers.at).then_some(())
        };
        let count = MOST_NAME * MARKED / self.word;
        let starts = (0..count).map_while(|words| highest.checked_sub(words * self.word));
        starts.into_iter().find(|names| fits(names).is_some())
    }

    /// The place after `count` names from `at` on.
    fn after(&self, at: u64, count: u64) -> Option<u64> {
        (0..count).try_fold(at, |at, _| at.checked_add(1 + self.memory.value(at, 1).ok()?))
    }
}
