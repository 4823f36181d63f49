//! The dead kernel's own symbol table, read in place (Linux, `kernel/kallsyms.c` and
//! `scripts/kallsyms.c`).
//!
//! Symbols are sorted by address. An array of 32-bit offsets has the addresses, in one of three
//! encodings; a stream of compressed names has a length before each name, so that a name is found
//! by a pass over all lengths before it. Nothing is copied but the tokens of the compression.

mod names;
mod search;
mod tables;

use core::ops::Range;

use self::names::Tokens;
pub use self::names::{Budget, MOST_NAME, MOST_NAMES};
pub use self::tables::KallsymsTables;
use crate::{Error, VirtualMemory};
use vmcore::ReadPhys;

/// The most symbols that are believed. Linux 7.2 of Debian has 199,097.
const MOST_SYMBOLS: u64 = 1 << 21;
/// The most symbols at the address of `_stext`.
const MOST_ALIASES: u32 = 64;

/// The symbols of the dead kernel's image.
#[derive(Debug)]
pub struct Kallsyms<'a, M> {
    memory: VirtualMemory<'a, M>,
    tables: KallsymsTables,
    tokens: Tokens,
    /// Number of symbols.
    count: u32,
    encoding: Encoding,
    /// Address of `_stext`: lower ones are those of per-CPU variables.
    text: u64,
    /// Bits of an address.
    mask: u64,
}

/// The symbol that an address is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Located {
    /// The symbol's number, for its name.
    pub index: u32,
    /// Its virtual address.
    pub start: u64,
    /// Number of bytes to the next symbol with another address.
    pub size: u64,
}

/// Meaning of the offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    /// From zero on an address itself, below zero a distance (x86_64 before 6.15).
    Signed { base: u64 },
    /// A distance from a base (i386; x86_64 of 6.15 to 6.19).
    Unsigned { base: u64 },
    /// A distance from the offset's own place (7.0 and later).
    Relative,
}

impl Encoding {
    /// The address that the offset at `place` stands for.
    const fn address(self, offset: u32, place: u64) -> u64 {
        let signed = offset as i32 as i64 as u64;
        match self {
            Self::Signed { .. } if signed <= i32::MAX as u64 => signed,
            Self::Signed { base } => base.wrapping_sub(1).wrapping_sub(signed),
            Self::Unsigned { base } => base.wrapping_add(offset as u64),
            Self::Relative => place.wrapping_add(signed),
        }
    }
}

impl<'a, M: ReadPhys> Kallsyms<'a, M> {
    /// Finds the tables that VMCOREINFO names; for kernels before 6.0 the loader adds them.
    ///
    /// # Errors
    /// As [`KallsymsTables::of`] and [`Self::new`].
    pub fn find(memory: VirtualMemory<'a, M>, vmcoreinfo: &[u8]) -> Result<Self, Error> {
        Self::new(memory, vmcoreinfo, KallsymsTables::of(vmcoreinfo)?)
    }

    /// The symbols in `tables`. The encoding of the addresses is the one in which `_stext` is where
    /// VMCOREINFO says.
    ///
    /// # Errors
    /// [`Error::NoLine`] or [`Error::BadKey`] for a missing or bad line, [`Error::BadSymbols`]
    /// for tables that do not hold together, [`Error::Unmapped`] or [`Error::Dump`] for tables that
    /// cannot be read, [`Error::NO_MEMORY`].
    pub fn new(
        memory: VirtualMemory<'a, M>,
        vmcoreinfo: &[u8],
        tables: KallsymsTables,
    ) -> Result<Self, Error> {
        let word = tables::word(vmcoreinfo)?;
        let count = memory.value(tables.num_syms, 4)?;
        let bad = Error::BadSymbols { at: tables.num_syms };
        let count = u32::try_from(count).ok().filter(|count| u64::from(*count) <= MOST_SYMBOLS);
        let base = tables.relative_base.map(|at| memory.value(at, word)).transpose()?;
        let mut kallsyms = Self {
            memory,
            tables,
            tokens: Tokens::read(memory, &tables)?,
            count: count.ok_or(bad)?,
            encoding: Encoding::Relative,
            text: tables::text(vmcoreinfo)?,
            mask: if word == 4 { u32::MAX.into() } else { u64::MAX },
        };
        // The last is that of an i386 kernel that cannot be moved, from 7.0 on.
        let encodings = [
            base.map(|base| Encoding::Signed { base }),
            base.map(|base| Encoding::Unsigned { base }),
            Some(Encoding::Relative),
            Some(Encoding::Unsigned { base: 0 }),
        ];
        for encoding in encodings.into_iter().flatten() {
            kallsyms.encoding = encoding;
            if kallsyms.has_text()? {
                return Ok(kallsyms);
            }
        }
        Err(Error::BadSymbols { at: tables.offsets })
    }

    /// True if `_stext` is where it should be.
    fn has_text(&self) -> Result<bool, Error> {
        let aliases = self.aliases(self.text)?;
        let end = aliases.end.min(aliases.start.saturating_add(MOST_ALIASES));
        let mut is_there = false;
        let mut go_on = || true;
        let mut budget = Budget::new(&mut go_on);
        self.each_name(aliases.start..end, &mut budget, &mut |_, name| {
            is_there |= name.matches(b"_stext");
            Ok(())
        })?;
        Ok(is_there)
    }

    /// The symbol that the address `at` is in, as the kernel itself finds it (Linux,
    /// `get_symbol_pos`): the first of several with the same address. [`None`] below the image's
    /// text, and from the last symbol on, which marks an end.
    ///
    /// # Errors
    /// Tables that cannot be read.
    pub fn locate(&self, at: u64) -> Result<Option<Located>, Error> {
        let after = self.first_from(0..self.count, |address| address > at)?;
        let Some(last) = after.checked_sub(1) else { return Ok(None) };
        if after == self.count {
            return Ok(None);
        }
        let (start, end) = (self.address(last)?, self.address(after)?);
        let index = self.first_from(0..last, |address| address >= start)?;
        // Not so in a table that is not sorted.
        let is_inside = self.text <= start && start <= at && at < end;
        Ok(is_inside.then(|| Located { index, start, size: end - start }))
    }

    /// Numbers of the symbols with this address.
    fn aliases(&self, at: u64) -> Result<Range<u32>, Error> {
        let start = self.first_from(0..self.count, |address| address >= at)?;
        let end = self.first_from(start..self.count, |address| address > at)?;
        Ok(start..end)
    }

    /// The first symbol among `range` whose address `is_from` holds for; the end of the range if
    /// there is none.
    fn first_from(&self, range: Range<u32>, is_from: impl Fn(u64) -> bool) -> Result<u32, Error> {
        let Range { start: mut low, end: mut high } = range;
        while low < high {
            let middle = low + (high - low) / 2;
            if is_from(self.address(middle)?) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        Ok(low)
    }

    /// The address of a symbol.
    fn address(&self, index: u32) -> Result<u64, Error> {
        let place = self.tables.offsets.wrapping_add(4 * u64::from(index));
        let offset = self.memory.value(place, 4)? as u32;
        Ok(self.encoding.address(offset, place) & self.mask)
    }
}

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;
