//! The debug vmlinux of a kernel: its DWARF and its symbols.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;

use object::{
    Architecture, Object, ObjectSection, ObjectSymbol, ReadCache, SectionKind, SymbolKind,
    SymbolSection,
};
use vmcore::{EM_386, vmcoreinfo_get};

use crate::types::{DwarfTypes, TypeSource};
use crate::{Dump, Error, SymbolTable};

/// Start of the map of an x86_64 kernel's image (Linux, `__START_KERNEL_map`). KASLR moves the
/// symbols above it; those below are per-CPU or constants.
const IMAGE: u64 = 0xffff_ffff_8000_0000;
/// Most bytes of the kernel's banner, `Linux version …`.
const BANNER: usize = 256;

/// An ELF file that is read where it is asked for.
type Elf<'f> = object::File<'f, &'f ReadCache<BufReader<File>>>;

/// Types and symbols that a debug vmlinux adds to a dump.
#[derive(Debug)]
pub struct Vmlinux {
    /// Its types.
    pub types: DwarfTypes,
    /// Its symbols, where the dead kernel had them.
    pub symbols: SymbolTable,
}

impl Vmlinux {
    /// Opens the debug vmlinux of the kernel in a dump. Of the debug information only the small
    /// parts are read.
    ///
    /// # Errors
    /// [`Error::Vmlinux`]: it cannot be read, is of another kernel, or has no debug information;
    /// [`Error::Dump`]: the dump has no VMCOREINFO.
    pub fn open(path: &Path, dump: &Dump) -> Result<Self, Error> {
        let wrong = |why: String| Error::Vmlinux { path: path.to_owned(), why };
        let vmcoreinfo = dump.vmcore().vmcoreinfo()?;
        let file = File::open(path).map_err(|error| wrong(error.to_string()))?;
        let copy = file.try_clone().map_err(|error| wrong(error.to_string()))?;
        let cache = ReadCache::new(BufReader::new(copy));
        let elf =
            Elf::parse(&cache).map_err(|error| wrong(format!("it is no vmlinux: {error}")))?;
        check(&elf, dump.vmcore().machine, vmcoreinfo).map_err(wrong)?;
        if elf.section_by_name(".debug_info").is_none() {
            return Err(wrong(format!(
                "it has no debug information. Next step: install the kernel's debug package, or \
                 debuginfod-find debuginfo {}",
                vmcoreinfo_get(vmcoreinfo, "BUILD-ID").unwrap_or("BUILD-ID")
            )));
        }
        let types = DwarfTypes::new(&Arc::new(file), &elf);
        let types = types.map_err(|error| wrong(format!("its debug information: {error}")))?;
        let symbols = symbols(&elf, dump.vmcore().machine, vmcoreinfo);
        Ok(Self { types, symbols })
    }

    /// The sources of a kernel: its types and symbols.
    pub fn into_sources(self) -> (Vec<Box<dyn TypeSource>>, SymbolTable) {
        (vec![Box::new(self.types)], self.symbols)
    }
}

/// Checks that the file is of the kernel with this VMCOREINFO; else the reason why not.
fn check(elf: &Elf<'_>, machine: u16, vmcoreinfo: &[u8]) -> Result<(), String> {
    let (wanted, name) = match machine {
        EM_386 => (Architecture::I386, "i386"),
        _ => (Architecture::X86_64, "x86_64"),
    };
    if elf.architecture() != wanted || !elf.is_little_endian() {
        return Err(format!("it is no program for {name}, the dump's architecture"));
    }
    let text = |key| vmcoreinfo_get(vmcoreinfo, key);
    let own_id = elf.build_id().ok().flatten().map(hex);
    let own = banner(elf).unwrap_or_default();
    let release = text("OSRELEASE").unwrap_or("?");
    let own_release = own.strip_prefix("Linux version ").and_then(|rest| rest.split(' ').next());
    let is_right = match (text("BUILD-ID"), &own_id) {
        (Some(id), Some(own)) => id == own,
        _ => own_release == Some(release),
    };
    if is_right {
        return Ok(());
    }
    let named = |release: &str, id: Option<&str>| match id {
        Some(id) => format!("{release} (build-id {id})"),
        None => release.to_owned(),
    };
    Err(format!(
        "it is of another kernel: {}; the dump is of {}",
        named(own_release.unwrap_or("a kernel without a name"), own_id.as_deref()),
        named(release, text("BUILD-ID"))
    ))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The kernel's `linux_banner`.
fn banner(elf: &Elf<'_>) -> Option<String> {
    let symbol = elf.symbols().find(|symbol| symbol.name_bytes() == Ok(b"linux_banner"))?;
    let section = elf.section_by_index(symbol.section_index()?).ok()?;
    let end = section.address().checked_add(section.size())?;
    let length = end.checked_sub(symbol.address())?.min(BANNER as u64);
    let bytes = section.data_range(symbol.address(), length).ok()??;
    Some(String::from_utf8_lossy(bytes).split(['\n', '\0']).next()?.to_owned())
}

/// Symbols at their addresses in the dead kernel.
fn symbols(elf: &Elf<'_>, machine: u16, vmcoreinfo: &[u8]) -> SymbolTable {
    let moved = distance(elf, vmcoreinfo);
    let mut table = SymbolTable::default();
    let letters: Vec<_> =
        elf.sections().map(|section| (section.index().0, letter(&section))).collect();
    for symbol in elf.symbols() {
        let letter = match symbol.section() {
            SymbolSection::Absolute => 'a',
            SymbolSection::Section(index) => letter_of(&letters, index.0),
            _ => continue,
        };
        let is_named = !matches!(symbol.kind(), SymbolKind::Section | SymbolKind::File);
        let Ok(name @ [_, ..]) = symbol.name_bytes() else { continue };
        if !is_named || name.starts_with(b"__crc_") {
            continue;
        }
        let letter = if symbol.is_global() { letter.to_ascii_uppercase() } else { letter };
        let at = match machine {
            _ if letter.eq_ignore_ascii_case(&'a') => symbol.address(),
            EM_386 => u64::from((symbol.address() as u32).wrapping_add(moved as u32)),
            _ if symbol.address() < IMAGE => symbol.address(),
            _ => symbol.address().wrapping_add(moved),
        };
        table.add(at, symbol.size(), letter as u8, name);
    }
    table.arrange();
    table
}

/// The way from the file's addresses to those of the dead kernel.
fn distance(elf: &Elf<'_>, vmcoreinfo: &[u8]) -> u64 {
    let number = |key| u64::from_str_radix(vmcoreinfo_get(vmcoreinfo, key)?, 16).ok();
    let own = elf.symbols().find(|symbol| symbol.name_bytes() == Ok(b"_stext"));
    match (number("SYMBOL(_stext)"), own) {
        (Some(there), Some(own)) => there.wrapping_sub(own.address()),
        _ => number("KERNELOFFSET").unwrap_or(0),
    }
}

fn letter_of(letters: &[(usize, char)], index: usize) -> char {
    let place = letters.partition_point(|(other, _)| *other < index);
    letters.get(place).filter(|(other, _)| *other == index).map_or('n', |(_, letter)| *letter)
}

/// The letter of nm(1) for the local symbols of a section.
fn letter<'f>(section: &impl ObjectSection<'f>) -> char {
    match section.kind() {
        SectionKind::Text => 't',
        SectionKind::Data => 'd',
        SectionKind::UninitializedData => 'b',
        SectionKind::ReadOnlyData | SectionKind::ReadOnlyString => 'r',
        _ => 'n',
    }
}

#[cfg(test)]
mod tests;
