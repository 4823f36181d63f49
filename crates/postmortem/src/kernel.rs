//! A dead or running kernel: its symbols, types, objects and CPUs.

mod describe;

use std::cell::OnceCell;
use std::collections::HashMap;

use collector::VmcoreFile;
use linux::{Budget, Cpus, DeadKernel, Effort, Kallsyms, KernelMemory, Symbol, VirtualMemory};
use vmcore::EM_386;

use crate::symbols::SymbolTable;
use crate::types::{TypeSource, Types};
use crate::{Dump, Error};

/// Most CPUs that a Linux/x86 can have (`CONFIG_NR_CPUS`).
const MOST_CPUS: u64 = 8192;

/// Everything that is known of a kernel.
#[derive(Debug)]
pub struct Kernel<'d> {
    dump: &'d Dump,
    dead: DeadKernel<'d, Dump>,
    symbols: SymbolTable,
    /// Lines `SYMBOL(name)=` of VMCOREINFO: a kernel without data symbols has only these.
    lines: HashMap<String, u64>,
    types: Types,
    /// The reason why there are no types.
    no_types: Option<String>,
    per_cpu: OnceCell<Vec<u64>>,
}

impl<'d> Kernel<'d> {
    /// Finds what there is. Missing parts are reported (`log`), one line each.
    ///
    /// # Errors
    /// [`Error::Dump`]: there is no VMCOREINFO.
    pub fn open(dump: &'d Dump) -> Result<Self, Error> {
        Self::with_sources(dump, Vec::new(), SymbolTable::default())
    }

    /// The same with more types and symbols: those of a debug vmlinux.
    ///
    /// # Errors
    /// [`Error::Dump`]: there is no VMCOREINFO.
    pub fn with_sources(
        dump: &'d Dump,
        more: Vec<Box<dyn TypeSource>>,
        more_symbols: SymbolTable,
    ) -> Result<Self, Error> {
        let vmcoreinfo = dump.vmcore().vmcoreinfo()?;
        let machine = dump.vmcore().machine;
        let memory = VirtualMemory::new(KernelMemory::new(dump, dump.map()), vmcoreinfo);
        let kallsyms = Kallsyms::find(memory, vmcoreinfo);
        let kallsyms = kallsyms.or_else(|_| Kallsyms::search(memory, vmcoreinfo));
        let mut symbols = more_symbols;
        match kallsyms.as_ref().map_err(|error| Error::from(*error)).map(SymbolTable::of) {
            Ok(Ok(own)) => symbols = own.with(symbols),
            Ok(Err(error)) | Err(error) => log::warn!("symbols: {error}"),
        }
        let lines = describe::symbol_lines(vmcoreinfo);
        let mut sources = more;
        let get = |name| lines.get(name).copied().or_else(|| symbols.get(name));
        let no_types =
            match describe::btf(memory, get(Symbol::Btf.name()), get(Symbol::BtfEnd.name())) {
                Ok(btf) => {
                    sources.insert(0, Box::new(btf));
                    None
                }
                Err(Error::NoTypes(why)) if sources.is_empty() => Some(why),
                Err(_) => None,
            };
        let word = if machine == EM_386 { 4 } else { 8 };
        let types = Types::new(word, sources);
        let text = dump.described(|| describe::lines(vmcoreinfo, &types, &get));
        let go_on = &mut || true;
        let dead = DeadKernel::find(memory, machine, text, Effort::Search, &mut Budget::new(go_on));
        let per_cpu = OnceCell::new();
        Ok(Self { dump, dead, symbols, lines, types, no_types, per_cpu })
    }

    /// The dump that it is in.
    pub const fn dump(&self) -> &'d Dump {
        self.dump
    }

    /// Headers and notes of the dump.
    pub const fn vmcore(&self) -> &'d VmcoreFile {
        self.dump.vmcore()
    }

    /// Stacks, tasks and modules, as the crate `linux` finds them.
    pub const fn dead(&self) -> &DeadKernel<'d, Dump> {
        &self.dead
    }

    /// The text of VMCOREINFO, with lines that its types added.
    pub const fn vmcoreinfo(&self) -> &'d [u8] {
        self.dead.vmcoreinfo
    }

    /// True for a 32-bit kernel.
    pub const fn is_i386(&self) -> bool {
        self.dead.machine == EM_386
    }

    /// Its types.
    pub const fn types(&self) -> &Types {
        &self.types
    }

    /// All symbols of its image.
    pub const fn symbols(&self) -> &SymbolTable {
        &self.symbols
    }

    /// # Errors
    /// [`Error::NoTypes`]: neither BTF nor a debug vmlinux is there.
    pub fn check_types(&self) -> Result<(), Error> {
        self.no_types.clone().map_or(Ok(()), |why| Err(Error::NoTypes(why)))
    }

    /// Reads `into.len()` bytes from a virtual address on.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn read(&self, at: u64, into: &mut [u8]) -> Result<(), Error> {
        self.dead.memory.read(at, into).map_err(|source| Error::Memory { at, source })
    }

    /// Reads a little-endian number of `length` bytes, at most eight.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn number(&self, at: u64, length: usize) -> Result<u64, Error> {
        self.dead.memory.value(at, length).map_err(|source| Error::Memory { at, source })
    }

    /// Reads a pointer, or an `unsigned long`.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn word(&self, at: u64) -> Result<u64, Error> {
        self.number(at, self.types.word as usize)
    }

    /// Virtual address of a symbol.
    ///
    /// # Errors
    /// [`Error::NoSymbol`].
    pub fn symbol(&self, name: &str) -> Result<u64, Error> {
        let found = self.lines.get(name).copied().or_else(|| self.symbols.get(name));
        found.ok_or_else(|| Error::NoSymbol(name.to_owned()))
    }

    /// True if it has this symbol.
    pub fn has_symbol(&self, name: &str) -> bool {
        self.symbol(name).is_ok()
    }

    /// The address on a CPU of a per-CPU address.
    ///
    /// # Errors
    /// [`Error::Missing`] for a CPU that there is not.
    pub fn per_cpu_at(&self, at: u64, cpu: u32) -> Result<u64, Error> {
        let distances = self.per_cpu.get_or_init(|| self.distances());
        let distance = distances.get(cpu as usize);
        let distance = distance.ok_or_else(|| Error::Missing(format!("there is no CPU {cpu}")))?;
        let at = at.wrapping_add(*distance);
        Ok(if self.is_i386() { at & u64::from(u32::MAX) } else { at })
    }

    /// Distances of the variables of each CPU that there may be.
    fn distances(&self) -> Vec<u64> {
        let Ok(table) = self.symbol("__per_cpu_offset") else { return vec![0] };
        let count = self.symbol("nr_cpu_ids").and_then(|at| self.number(at, 4));
        let count = count.unwrap_or(MOST_CPUS).min(MOST_CPUS);
        let entry = |cpu| self.word(table.wrapping_add(self.types.word * cpu)).ok();
        (0..count).map_while(entry).collect()
    }

    /// Numbers of the CPUs in a mask of this name: `__cpu_online_mask`, `__cpu_possible_mask`.
    ///
    /// # Errors
    /// [`Error::NoSymbol`], [`Error::Memory`].
    pub fn cpu_mask(&self, name: &str) -> Result<Vec<u32>, Error> {
        let mask = self.symbol(name)?;
        let distances = self.per_cpu.get_or_init(|| self.distances());
        let mut cpus = Vec::new();
        for byte in 0..distances.len().div_ceil(8) as u64 {
            let bits = self.number(mask.wrapping_add(byte), 1)?;
            let set = (0..8).filter(|bit| bits >> bit & 1 != 0);
            cpus.extend(set.map(|bit| (8 * byte + bit) as u32));
        }
        Ok(cpus)
    }

    /// The CPUs that were online.
    ///
    /// # Errors
    /// As for [`Self::cpu_mask`].
    pub fn online_cpus(&self) -> Result<Vec<u32>, Error> {
        self.cpu_mask("__cpu_online_mask")
    }

    /// The CPUs that may be there.
    ///
    /// # Errors
    /// As for [`Self::cpu_mask`].
    pub fn possible_cpus(&self) -> Result<Vec<u32>, Error> {
        self.cpu_mask("__cpu_possible_mask")
    }

    /// The CPUs that saved their registers.
    ///
    /// # Errors
    /// [`Error::Linux`].
    pub fn saved_cpus(&self) -> Result<Cpus, Error> {
        Ok(Cpus::of_notes(self.dead.machine, self.vmcore().notes())?)
    }

    /// A symbol and an offset as Linux writes them, or the address.
    pub fn symbolized(&self, at: u64) -> String {
        match self.symbols.find(at) {
            Some(symbol) if symbol.at == at => symbol.name.to_owned(),
            Some(symbol) => format!("{}+{:#x}", symbol.name, at - symbol.at),
            None => self.in_module(at).unwrap_or_else(|| format!("{at:#x}")),
        }
    }

    /// The function of a module that an address is in.
    fn in_module(&self, at: u64) -> Option<String> {
        let module = self.dead.modules.find(at)?;
        let go_on = &mut || true;
        let budget = &mut Budget::new(go_on);
        let symbol = self.dead.modules.locate(self.dead.memory, module, at, budget).ok()??;
        let name = String::from_utf8_lossy(&symbol.name);
        let offset = at.saturating_sub(symbol.start);
        Some(if offset == 0 { name.into_owned() } else { format!("{name}+{offset:#x}") })
    }
}
