//! All symbols of the dead kernel's image, by name and by address.

use std::collections::HashMap;

use linux::{Budget, Kallsyms};
use vmcore::ReadPhys;

use crate::Error;

/// Most symbols.
const MOST: usize = 1 << 21;

/// Symbols by name and by address.
#[derive(Debug, Default)]
pub struct SymbolTable {
    /// By address.
    list: Vec<Entry>,
    /// All names, one after the other.
    text: Vec<u8>,
    by_name: HashMap<Box<[u8]>, u64>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    at: u64,
    /// Size in bytes; 0 if it is not known.
    size: u64,
    name: u32,
    length: u16,
    kind: u8,
}

/// A symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamedSymbol<'t> {
    /// Its name.
    pub name: &'t str,
    /// Its virtual address.
    pub at: u64,
    /// Number of bytes, to the next symbol where the symbol itself has none.
    pub size: u64,
    /// Its type, as nm(1) shows it.
    pub kind: char,
}

impl SymbolTable {
    /// Reads all of the kernel's own symbols.
    ///
    /// # Errors
    /// [`Error::Linux`]: tables that cannot be read.
    pub fn of<M: ReadPhys>(kallsyms: &Kallsyms<'_, M>) -> Result<Self, Error> {
        let mut table = Self::default();
        kallsyms.each(&mut Budget::new(&mut || true), &mut |at, kind, name| {
            table.add(at, 0, kind, name);
        })?;
        table.arrange();
        Ok(table)
    }

    /// Adds a symbol. Of several with one name the first counts.
    pub fn add(&mut self, at: u64, size: u64, kind: u8, name: &[u8]) {
        let fits = u16::try_from(name.len()).ok().zip(u32::try_from(self.text.len()).ok());
        let Some((length, place)) = fits.filter(|_| self.list.len() < MOST) else { return };
        self.list.push(Entry { at, size, name: place, length, kind });
        self.text.extend_from_slice(name);
        self.by_name.entry(name.into()).or_insert(at);
    }

    /// With the symbols of another table whose names this one does not have.
    pub fn with(mut self, other: Self) -> Self {
        for symbol in other.iter() {
            if self.get(symbol.name).is_some() {
                continue;
            }
            self.add(symbol.at, symbol.size, symbol.kind as u8, symbol.name.as_bytes());
        }
        self.arrange();
        self
    }

    /// Sorts the symbols, after the last one was added.
    pub fn arrange(&mut self) {
        self.list.sort_by_key(|entry| entry.at);
    }

    /// Number of symbols.
    pub fn count(&self) -> usize {
        self.list.len()
    }

    /// The address of the symbol with this name.
    pub fn get(&self, name: &str) -> Option<u64> {
        self.by_name.get(name.as_bytes()).copied()
    }

    /// All of them, by address.
    pub fn iter(&self) -> impl Iterator<Item = NamedSymbol<'_>> {
        (0..self.list.len()).filter_map(|index| self.symbol(index))
    }

    /// The symbol of the kernel's image that an address is in: no constant, and no per-CPU variable
    /// of a kernel that counts their addresses from zero.
    pub fn find(&self, at: u64) -> Option<NamedSymbol<'_>> {
        let last = self.list.partition_point(|entry| entry.at <= at).checked_sub(1)?;
        let start = self.list.get(last)?.at;
        let first = self.list[..last].partition_point(|entry| entry.at < start);
        let symbol = self.symbol(first)?;
        // The last one marks an end.
        let is_in = at - start < symbol.size && !symbol.kind.eq_ignore_ascii_case(&'a');
        is_in.then_some(symbol)
    }

    fn symbol(&self, index: usize) -> Option<NamedSymbol<'_>> {
        let entry = self.list.get(index)?;
        let place = entry.name as usize;
        let name = self.text.get(place..place + usize::from(entry.length))?;
        let next = || self.list[index..].iter().find(|other| other.at > entry.at);
        let size = match entry.size {
            0 => next().map_or(0, |next| next.at - entry.at),
            size => size,
        };
        let name = str::from_utf8(name).unwrap_or("?");
        Some(NamedSymbol { name, at: entry.at, size, kind: entry.kind.into() })
    }
}
