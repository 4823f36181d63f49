//! The dead kernel's own symbol table, read in place (Linux, `kernel/kallsyms.c` and
//! `scripts/kallsyms.c`).
//!
//! Symbols are sorted by address. An array of 32-bit offsets has the addresses, in one of three
//! encodings; a stream of compressed names has a length before each name, so that a name is found
//! by a pass over all lengths before it. Nothing is copied but the tokens of the compression.

mod addresses;
mod budget;
mod names;
mod search;
mod tables;
mod tokens;

use alloc::vec::Vec;

pub use self::addresses::Located;
use self::addresses::{Addresses, Encoding, TOGETHER};
pub use self::budget::Budget;
use self::names::NameTable;
pub use self::tables::KallsymsTables;
pub use self::tokens::MOST_NAME;
use self::tokens::Tokens;
use crate::{Error, VirtualMemory};
use vmcore::ReadPhys;

/// The most symbols that are believed. Linux 7.2 of Debian has 199,097.
const MOST_SYMBOLS: u64 = 1 << 21;
/// The most names of one pass.
pub const MOST_NAMES: usize = 512;
/// The most symbols at the address of `_stext`.
const MOST_ALIASES: u32 = 64;

/// The symbols of the dead kernel's image.
#[derive(Debug)]
pub struct Kallsyms<'a, M> {
    tables: KallsymsTables,
    addresses: Addresses<'a, M>,
    names: NameTable<'a, M>,
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
        let count = count.ok_or(bad)?;
        let addresses = Addresses {
            memory,
            start: tables.offsets,
            count,
            encoding: Encoding::Relative,
            text: tables::text(vmcoreinfo)?,
            mask: if word == 4 { u32::MAX.into() } else { u64::MAX },
        };
        let tokens = Tokens::read(memory, &tables)?;
        let names = NameTable { memory, start: tables.names, count, tokens };
        let mut kallsyms = Self { tables, addresses, names };
        // The last is that of an i386 kernel that cannot be moved, from 7.0 on.
        let encodings = [
            base.map(|base| Encoding::Signed { base }),
            base.map(|base| Encoding::Unsigned { base }),
            Some(Encoding::Relative),
            Some(Encoding::Unsigned { base: 0 }),
        ];
        for encoding in encodings.into_iter().flatten() {
            kallsyms.addresses.encoding = encoding;
            if kallsyms.has_text()? {
                return Ok(kallsyms);
            }
        }
        Err(Error::BadSymbols { at: tables.offsets })
    }

    /// True if `_stext` is where it should be.
    fn has_text(&self) -> Result<bool, Error> {
        let aliases = self.addresses.aliases(self.addresses.text)?;
        let end = aliases.end.min(aliases.start.saturating_add(MOST_ALIASES));
        let mut is_there = false;
        let mut go_on = || true;
        let mut budget = Budget::new(&mut go_on);
        self.names.each_name(aliases.start..end, &mut budget, &mut |_, name| {
            is_there |= name.matches(b"_stext");
            Ok(())
        })?;
        Ok(is_there)
    }

    /// The places of the tables.
    pub const fn tables(&self) -> &KallsymsTables {
        &self.tables
    }

    /// The symbol that the address `at` is in, as the kernel itself finds it (Linux,
    /// `get_symbol_pos`): the first of several with the same address. [`None`] below the image's
    /// text, and from the last symbol on, which marks an end.
    ///
    /// # Errors
    /// Tables that cannot be read.
    pub fn locate(&self, at: u64) -> Result<Option<Located>, Error> {
        self.addresses.locate(at)
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
        let is_complete = self.names.each_name(few, budget, &mut |index, name| {
            text.clear();
            name.append(&mut text)?;
            each(index, &text);
            Ok(())
        })?;
        Ok(is_complete && indices.len() <= MOST_NAMES)
    }

    /// Visits all symbols, in ascending order of their addresses: the address, the type (`T`, `d`,
    /// …) and the name. False if the budget did not suffice for all.
    ///
    /// # Errors
    /// Tables that cannot be read; [`Error::NO_MEMORY`].
    pub fn each(
        &self,
        budget: &mut Budget<'_>,
        visit: &mut dyn FnMut(u64, u8, &[u8]),
    ) -> Result<bool, Error> {
        let mut text = Vec::new();
        let (mut addresses, mut first) = ([0; TOGETHER], 0);
        let mut count = 0;
        self.names.each_name(0..self.names.count, budget, &mut |index, name| {
            if index >= first + count {
                first = index;
                count = self.addresses.some(first, &mut addresses)?;
            }
            text.clear();
            name.append(&mut text)?;
            let address = addresses.get((index - first) as usize).copied().unwrap_or_default();
            visit(address, name.kind(), &text);
            Ok(())
        })
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
        self.names.each_name(0..self.names.count, budget, &mut |index, name| {
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
            *address = index.map(|index| self.addresses.address(index)).transpose()?;
        }
        Ok(addresses)
    }
}

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;
