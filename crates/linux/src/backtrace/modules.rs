//! Loaded modules: their text, their unwind tables, their own symbol tables.
//!
//! The kernel's debug information has the layout of its structs; our loader sends it as lines of
//! VMCOREINFO, with the names of Linux:
//!
//! | line | kernels | needed for |
//! |---|---|---|
//! | `SYMBOL(modules)` | all | all |
//! | `OFFSET(module.list)`, `OFFSET(module.name)` | all | all |
//! | `OFFSET(module.core_layout)`, `OFFSET(module.init_layout)` | before 6.4 | all |
//! | `OFFSET(module_layout.base)`, `OFFSET(module_layout.text_size)` | before 6.4 | all |
//! | `OFFSET(module.mem)`, `SIZE(module_memory)` | 6.4 and later | all |
//! | `OFFSET(module_memory.base)`, `OFFSET(module_memory.size)` | 6.4 and later | all |
//! | `OFFSET(module.kallsyms)` | all | names of functions |
//! | `OFFSET(mod_kallsyms.symtab)`, `OFFSET(mod_kallsyms.num_symtab)` | all | names of functions |
//! | `OFFSET(mod_kallsyms.strtab)` | all | names of functions |
//! | `OFFSET(module.arch)`, `OFFSET(mod_arch_specific.num_orcs)` | x86_64 | unwinding |
//! | `OFFSET(mod_arch_specific.orc_unwind_ip)` | x86_64 | unwinding |
//! | `OFFSET(mod_arch_specific.orc_unwind)` | x86_64 | unwinding |
//!
//! A module's struct is read again when it is asked for, so that a list of all takes little memory.

mod functions;
mod layout;
mod string;

use alloc::vec::Vec;
use core::ops::Range;

use self::layout::Layout;
use super::symbols::{Symbol, Symbols};
use crate::{Error, VirtualMemory};
use vmcore::ReadPhys;

/// The most modules. Distributions load some 200 on large machines.
pub const MOST_MODULES: usize = 512;
/// The most bytes of a module's name, with its NUL: that of 32-bit kernels is the longest.
pub const MOST_MODULE_NAME: usize = 64;
/// The most ORC entries of a module.
const MOST_ORCS: u64 = 1 << 20;

/// The modules that were loaded.
#[derive(Debug, Default)]
pub struct Modules {
    layout: Layout,
    list: Vec<Module>,
}

/// A module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Module {
    /// Virtual address of its struct.
    at: u64,
    /// Start and length of its text, and of the text of its start-up, which is freed after that.
    text: [(u64, u32); 2],
}

/// The ORC entries of a module, as those of the kernel's image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModuleOrc {
    /// Virtual address of the entries' addresses.
    pub ip: u64,
    /// Virtual address of the entries.
    pub entries: u64,
    /// Number of entries.
    pub count: u64,
}

/// A symbol of a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleSymbol {
    /// Its name, printable.
    pub name: Vec<u8>,
    /// Its virtual address.
    pub start: u64,
    /// Number of bytes to the next symbol, or to the end of the text.
    pub size: u64,
}

impl Module {
    /// The text that has the address `at`.
    pub fn text(&self, at: u64) -> Option<Range<u64>> {
        let texts = self.text.iter().map(|(start, length)| *start..start + u64::from(*length));
        texts.into_iter().find(|text| text.contains(&at))
    }
}

impl Modules {
    /// Keys that describe a module, besides its symbols; a kernel has some of them.
    pub const KEYS: [&str; 19] = [
        "OFFSET(module.state)",
        "OFFSET(module.list)",
        "OFFSET(module.name)",
        "OFFSET(module.core_layout)",
        "OFFSET(module.init_layout)",
        "OFFSET(module_layout.base)",
        "OFFSET(module_layout.text_size)",
        "OFFSET(module.mem)",
        "OFFSET(module_memory.base)",
        "OFFSET(module_memory.size)",
        "SIZE(module_memory)",
        "OFFSET(module.kallsyms)",
        "OFFSET(mod_kallsyms.symtab)",
        "OFFSET(mod_kallsyms.num_symtab)",
        "OFFSET(mod_kallsyms.strtab)",
        "OFFSET(module.arch)",
        "OFFSET(mod_arch_specific.num_orcs)",
        "OFFSET(mod_arch_specific.orc_unwind_ip)",
        "OFFSET(mod_arch_specific.orc_unwind)",
    ];

    /// Reads the list of modules, at most [`MOST_MODULES`] of it. A list that is damaged ends
    /// there.
    ///
    /// # Errors
    /// [`Error::NoLine`] or [`Error::BadKey`] when VMCOREINFO does not describe a module;
    /// [`Error::NO_MEMORY`].
    pub fn read<M: ReadPhys>(
        memory: VirtualMemory<'_, M>,
        vmcoreinfo: &[u8],
        symbols: &Symbols,
    ) -> Result<Self, Error> {
        let layout = Layout::parse(vmcoreinfo)?;
        let head = symbols.get(Symbol::Modules);
        let head = head.ok_or(Error::NoLine { key: "SYMBOL(modules)" })?;
        let mut modules = Self { layout, list: Vec::new() };
        let mut node = head;
        for _ in 0..MOST_MODULES {
            match memory.value(node, layout.word) {
                Ok(next) if next != head => node = next,
                Ok(_) => return Ok(modules),
                Err(error) => {
                    log::warn!("modules: the list ends early: {error}");
                    return Ok(modules);
                }
            }
            let at = node.wrapping_sub(layout.list);
            if let Ok(text) = layout.text(memory, at) {
                modules.list.try_reserve(1).map_err(|_| Error::NO_MEMORY)?;
                modules.list.push(Module { at, text });
            }
        }
        log::warn!("modules: the first {MOST_MODULES} of the list, which is longer or damaged");
        Ok(modules)
    }

    /// The module whose text has the address `at`.
    pub fn find(&self, at: u64) -> Option<&Module> {
        self.list.iter().find(|module| module.text(at).is_some())
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Module> {
        self.list.iter()
    }

    /// The name of a module: without the bytes that are not printable.
    ///
    /// # Errors
    /// Memory that cannot be read; [`Error::NO_MEMORY`].
    pub fn name<M: ReadPhys>(
        &self,
        memory: VirtualMemory<'_, M>,
        module: &Module,
    ) -> Result<Vec<u8>, Error> {
        string::string(memory, module.at.wrapping_add(self.layout.name), MOST_MODULE_NAME)
    }

    /// The ORC entries of a module, if it has some.
    ///
    /// # Errors
    /// Memory that cannot be read; [`Error::NoLine`] when VMCOREINFO does not describe them.
    pub fn orc<M: ReadPhys>(
        &self,
        memory: VirtualMemory<'_, M>,
        module: &Module,
    ) -> Result<Option<ModuleOrc>, Error> {
        let key = "OFFSET(mod_arch_specific.orc_unwind)";
        let place = self.layout.orc.ok_or(Error::NoLine { key })?;
        let word = self.layout.word;
        let count = memory.value(module.at.wrapping_add(place.count), 4)?;
        let ip = memory.value(module.at.wrapping_add(place.ip), word)?;
        let entries = memory.value(module.at.wrapping_add(place.entries), word)?;
        let is_there = (1..=MOST_ORCS).contains(&count);
        Ok(is_there.then_some(ModuleOrc { ip, entries, count }))
    }
}

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;
