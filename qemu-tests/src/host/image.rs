//! Reads from the ELF files that the harness gets: symbols, and bytes at addresses.

use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use goblin::elf::Elf;
use goblin::elf::program_header::{PF_X, PT_LOAD};

/// An ELF file with its symbols.
#[derive(Clone, Debug)]
pub struct Image {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Image {
    /// Reads the file.
    ///
    /// # Errors
    /// Fails if the file cannot be read or is no ELF file.
    pub fn open(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        let image = Self { path: path.to_path_buf(), bytes };
        image.elf()?;
        Ok(image)
    }

    /// The file as it is.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn elf(&self) -> Result<Elf<'_>> {
        Elf::parse(&self.bytes).with_context(|| format!("{} as ELF", self.path.display()))
    }

    /// From a symbol's address (virtual) over its size.
    ///
    /// # Errors
    /// Fails if the file has no such symbol, for instance because it was stripped.
    pub fn symbol(&self, name: &str) -> Result<Range<u64>> {
        let elf = self.elf()?;
        let mut symbols = elf.syms.iter();
        let symbol = symbols.find(|symbol| elf.strtab.get_at(symbol.st_name) == Some(name));
        let range = symbol
            .and_then(|found| Some(found.st_value..found.st_value.checked_add(found.st_size)?));
        range.with_context(|| format!("{} has no symbol {name}", self.path.display()))
    }

    /// The bytes that the file puts at virtual addresses.
    ///
    /// # Errors
    /// Fails if a byte of the range is in no loaded part of the file.
    pub fn bytes_at(&self, range: &Range<u64>) -> Result<&[u8]> {
        let elf = self.elf()?;
        let bytes =
            elf.program_headers.iter().filter(|part| part.p_type == PT_LOAD).find_map(|part| {
                let from = range.start.checked_sub(part.p_vaddr)?;
                let to = range.end.checked_sub(part.p_vaddr).filter(|to| *to <= part.p_filesz)?;
                let at = |offset: u64| usize::try_from(part.p_offset.checked_add(offset)?).ok();
                self.bytes.get(at(from)?..at(to)?)
            });
        let path = self.path.display();
        bytes.with_context(|| format!("{path} has no bytes at {:#x}-{:#x}", range.start, range.end))
    }

    /// From the first to the last executable byte (virtual addresses).
    ///
    /// # Errors
    /// Fails if nothing is executable.
    pub fn text(&self) -> Result<Range<u64>> {
        let elf = self.elf()?;
        let code =
            |part: &&goblin::elf::ProgramHeader| part.p_type == PT_LOAD && part.p_flags & PF_X != 0;
        let parts = || elf.program_headers.iter().filter(code);
        let start = parts().map(|part| part.p_vaddr).min();
        let end = parts().map(|part| part.p_vaddr.saturating_add(part.p_memsz)).max();
        let range = start.zip(end).map(|(start, end)| start..end);
        range.with_context(|| format!("{} has no executable part", self.path.display()))
    }
}
