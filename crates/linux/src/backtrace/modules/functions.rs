//! Names of functions in a module's own ELF symbol table, as the kernel looks them up (Linux,
//! `kernel/module/kallsyms.c`).

use super::super::kallsyms::Budget;
use super::string::string;
use super::{Module, ModuleSymbol, Modules};
use crate::virtual_memory::Run;
use crate::{Error, VirtualMemory};
use vmcore::{ReadPhys, zeros};

/// The most symbols of a module.
const MOST_SYMBOLS: u64 = 1 << 17;
/// Symbols that are read at once.
const TOGETHER: u64 = 64;
/// The most bytes of a symbol.
const MOST_SYMBOL: usize = 24;
/// The most bytes of a function's name, with its NUL (`KSYM_NAME_LEN`).
const MOST_NAME: usize = 512;

/// A symbol table.
struct Table {
    symtab: u64,
    strtab: u64,
    count: u64,
    /// Length of an address.
    word: usize,
}

/// An entry of it.
#[derive(Clone, Copy)]
struct Entry {
    name: u32,
    section: u16,
    value: u64,
}

impl Modules {
    /// The symbol that the address `at` of a module's text is in: the last one at or before it.
    /// [`None`] if there is none, or the budget did not suffice.
    ///
    /// # Errors
    /// Memory that cannot be read; [`Error::NoLine`] when VMCOREINFO does not describe the table;
    /// [`Error::BadSymbols`] for a table of impossible length; [`Error::NO_MEMORY`].
    pub fn locate<M: ReadPhys>(
        &self,
        memory: VirtualMemory<'_, M>,
        module: &Module,
        at: u64,
        budget: &mut Budget<'_>,
    ) -> Result<Option<ModuleSymbol>, Error> {
        let Some(text) = module.text(at) else { return Ok(None) };
        let table = self.table(memory, module)?;
        let (mut best, mut end) = (None::<Entry>, text.end);
        let is_complete = table.each(memory, budget, &mut |entry| {
            let is_better = entry.value > best.map_or(0, |best| best.value);
            if entry.value <= at && is_better && table.has_name(memory, entry)? {
                best = Some(entry);
            }
            if at < entry.value && entry.value < end && table.has_name(memory, entry)? {
                end = entry.value;
            }
            Ok(())
        })?;
        let Some(best) = best.filter(|_| is_complete) else { return Ok(None) };
        let name = string(memory, table.name(best), MOST_NAME)?;
        Ok(Some(ModuleSymbol { name, start: best.value, size: end - best.value }))
    }

    /// The symbol table of a module.
    fn table<M: ReadPhys>(
        &self,
        memory: VirtualMemory<'_, M>,
        module: &Module,
    ) -> Result<Table, Error> {
        let key = "OFFSET(module.kallsyms)";
        let layout = self.layout.kallsyms.ok_or(Error::NoLine { key })?;
        let word = self.layout.word;
        let table = memory.value(module.at.wrapping_add(layout.pointer), word)?;
        let value = |offset, length| memory.value(table.wrapping_add(offset), length);
        let count = value(layout.count, 4)?;
        if count > MOST_SYMBOLS {
            return Err(Error::BadSymbols { at: table });
        }
        let (symtab, strtab) = (value(layout.symtab, word)?, value(layout.strtab, word)?);
        Ok(Table { symtab, strtab, count, word })
    }
}

impl Table {
    /// Visits all entries but the first, which is none, and those without a section. False if the
    /// budget did not suffice.
    fn each<M: ReadPhys>(
        &self,
        memory: VirtualMemory<'_, M>,
        budget: &mut Budget<'_>,
        visit: &mut dyn FnMut(Entry) -> Result<(), Error>,
    ) -> Result<bool, Error> {
        let length = if self.word == 4 { 16 } else { 24 };
        let mut buffer = zeros(TOGETHER as usize * MOST_SYMBOL)?;
        let (mut run, mut next) = (Run::default(), 1);
        budget.begin();
        while next < self.count {
            let count = (self.count - next).min(TOGETHER);
            let at = self.symtab.wrapping_add(next * length as u64);
            let bytes = &mut buffer[..count as usize * length];
            if !budget.allows(bytes.len()) {
                return Ok(false);
            }
            if !memory.read_run(&mut run, at, bytes)? {
                return Err(Error::Unmapped { at });
            }
            let entries = bytes.chunks_exact(length).map(|bytes| self.entry(bytes));
            for entry in entries.filter(|entry| entry.section != 0) {
                visit(entry)?;
            }
            next += count;
        }
        Ok(true)
    }

    /// An entry of the table (ELF specification 1.2; System V ABI for AMD64).
    fn entry(&self, bytes: &[u8]) -> Entry {
        let number = |at: usize, length: usize| {
            let bytes = bytes.iter().skip(at).take(length).rev();
            bytes.fold(0, |number, byte| number << 8 | u64::from(*byte))
        };
        let (section, value) = if self.word == 4 { (14, 4) } else { (6, 8) };
        Entry {
            name: number(0, 4) as u32,
            section: number(section, 2) as u16,
            value: number(value, self.word),
        }
    }

    /// Address of an entry's name.
    const fn name(&self, entry: Entry) -> u64 {
        self.strtab.wrapping_add(entry.name as u64)
    }

    /// False for a symbol without a name, and for the marks of compilers and assemblers.
    fn has_name<M: ReadPhys>(
        &self,
        memory: VirtualMemory<'_, M>,
        entry: Entry,
    ) -> Result<bool, Error> {
        let mut first = [0; 2];
        memory.read(self.name(entry), &mut first)?;
        Ok(!matches!(first, [0 | b'$', _] | [b'.', b'L'] | [b'L', b'0']))
    }
}
