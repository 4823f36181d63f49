//! Purgatory's ELF image: linked at 0 with `--emit-relocs`, moved to its place in the slot.

use std::ops::Range;

use goblin::elf::header::ET_EXEC;
use goblin::elf::reloc::{R_386_32, R_386_PC32, R_386_PLT32, Reloc, RelocSection};
use goblin::elf::section_header::{SHF_ALLOC, SHT_REL, SHT_RELA, SHT_SYMTAB, SectionHeader};
use goblin::elf::sym::{Sym, Symtab};
use handoff::PurgatoryParams;
use handoff::purgatory::{CONSTANT_SYMBOLS, ENTRY32_SYMBOL, ENTRY64_SYMBOL, PARAMS_SYMBOL};
use zerocopy::IntoBytes;

use crate::images::elf::{CONTEXT, Elf32};
use crate::images::error::ImageError;

/// Purgatory is a few pages; a larger one is not purgatory.
const MAX_SIZE: u64 = 1 << 20;

/// Length of the word that a relocation changes, in bytes.
const WORD: usize = 4;

/// A purgatory that can be linked to any base.
pub(crate) struct PurgatoryImage {
    /// The image in memory at base 0: file bytes and zeroed bss.
    image: Vec<u8>,
    /// Offsets of the words that the base is added to (R_386_32).
    absolute: Vec<usize>,
    /// Offset of the 32-bit entry point in `image`.
    pub(crate) entry32: u32,
    /// Offset of the 64-bit entry point in `image`.
    pub(crate) entry64: u32,
    /// Offset of the parameter block in `image`.
    pub(crate) params: usize,
    /// The bytes that purgatory checks in itself: text and rodata.
    pub(crate) constant: Range<usize>,
}

impl PurgatoryImage {
    /// Reads and checks the image.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, ImageError> {
        let elf = Elf32::parse(bytes)?;
        if elf.header.e_type != ET_EXEC {
            return Err(ImageError::WrongType { e_type: elf.header.e_type, wanted: "ET_EXEC" });
        }
        let image = memory_image(&elf)?;
        let sections = sections(&elf)?;
        let symbols = Symbols::parse(&elf, &sections)?;
        let absolute = absolute_words(&elf, &sections, &symbols, image.len())?;
        let entry32 = symbols.offset(ENTRY32_SYMBOL, image.len())? as u32;
        let entry64 = symbols.offset(ENTRY64_SYMBOL, image.len())? as u32;
        let constant = constant(&symbols, image.len())?;
        let params = params(&symbols, image.len(), &constant)?;
        Ok(Self { image, absolute, entry32, entry64, params, constant })
    }

    /// Amount of memory that it takes, in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.image.len() as u64
    }

    /// The bytes of the image at the physical address `base`, its parameter block as it was built.
    pub(crate) fn relocated(&self, base: u32) -> Vec<u8> {
        let mut bytes = self.image.clone();
        for at in &self.absolute {
            let word = &mut bytes[*at..*at + WORD];
            let value = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
            word.copy_from_slice(&value.wrapping_add(base).to_le_bytes());
        }
        bytes
    }

    /// Puts the parameter block into a relocated image.
    pub(crate) fn fill(&self, relocated: &mut [u8], params: &PurgatoryParams) {
        relocated[self.params..][..size_of::<PurgatoryParams>()].copy_from_slice(params.as_bytes());
    }
}

/// The PT_LOADs at their addresses.
fn memory_image(elf: &Elf32<'_>) -> Result<Vec<u8>, ImageError> {
    let loads = elf.loads()?;
    let ends = loads.iter().map(|load| u64::from(load.vaddr) + u64::from(load.memsz));
    let size = ends.max().ok_or(ImageError::NothingToLoad)?;
    if size > MAX_SIZE {
        return Err(ImageError::TooLarge { size, limit: MAX_SIZE });
    }
    let mut image = vec![0; size as usize];
    for load in &loads {
        image[load.vaddr as usize..][..load.bytes.len()].copy_from_slice(load.bytes);
    }
    Ok(image)
}

fn sections(elf: &Elf32<'_>) -> Result<Vec<SectionHeader>, ImageError> {
    let damaged = ImageError::Damaged { what: "section header table" };
    let (count, size) = (usize::from(elf.header.e_shnum), usize::from(elf.header.e_shentsize));
    if count == 0 {
        return Ok(Vec::new());
    }
    if size != SectionHeader::size(CONTEXT) {
        return Err(damaged);
    }
    let table = elf.slice(elf.header.e_shoff, (count * size) as u64, "section header table")?;
    SectionHeader::parse_from(table, 0, count, CONTEXT).map_err(|_| damaged)
}

/// The symbol table and its names.
struct Symbols<'a> {
    table: Symtab<'a>,
    names: &'a [u8],
}

impl<'a> Symbols<'a> {
    fn parse(elf: &Elf32<'a>, sections: &[SectionHeader]) -> Result<Self, ImageError> {
        let damaged = ImageError::Damaged { what: "symbol table" };
        let table = sections.iter().find(|section| section.sh_type == SHT_SYMTAB);
        let Some(table) = table else {
            return Err(ImageError::NoSymbol { name: PARAMS_SYMBOL });
        };
        let names = sections.get(table.sh_link as usize).ok_or(damaged.clone())?;
        let names = elf.slice(names.sh_offset, names.sh_size, "symbol table")?;
        let bytes = elf.slice(table.sh_offset, table.sh_size, "symbol table")?;
        let count = bytes.len() / Sym::size(CONTEXT.container);
        let table = Symtab::parse(bytes, 0, count, CONTEXT).map_err(|_| damaged)?;
        Ok(Self { table, names })
    }

    /// The symbol `name`, which must be defined.
    fn find(&self, name: &'static str) -> Result<Sym, ImageError> {
        let named = |symbol: &Sym| {
            let text = self
                .names
                .get(symbol.st_name..)
                .and_then(|rest| rest.strip_prefix(name.as_bytes()));
            text.is_some_and(|rest| rest.first() == Some(&0)) && is_defined(symbol)
        };
        self.table.iter().find(named).ok_or(ImageError::NoSymbol { name })
    }

    /// The offset in the image that the symbol `name` stands for; one past the last byte is one.
    fn offset(&self, name: &'static str, size: usize) -> Result<usize, ImageError> {
        let value = usize::try_from(self.find(name)?.st_value).ok();
        value.filter(|value| *value <= size).ok_or(ImageError::SymbolOutside { name })
    }
}

fn is_defined(symbol: &Sym) -> bool {
    symbol.st_shndx != goblin::elf::section_header::SHN_UNDEF as usize
}

/// The bytes between the two symbols around the constant part.
fn constant(symbols: &Symbols<'_>, size: usize) -> Result<Range<usize>, ImageError> {
    let (start, end) = CONSTANT_SYMBOLS;
    let range = symbols.offset(start, size)?..symbols.offset(end, size)?;
    if range.is_empty() {
        return Err(ImageError::SymbolOutside { name: end });
    }
    Ok(range)
}

/// The offset of the parameter block, all of which must be in the image and may change.
fn params(
    symbols: &Symbols<'_>,
    size: usize,
    constant: &Range<usize>,
) -> Result<usize, ImageError> {
    let (found, wanted) = (symbols.find(PARAMS_SYMBOL)?.st_size, size_of::<PurgatoryParams>());
    if found != wanted as u64 {
        return Err(ImageError::OtherParams { found: found as u32, wanted: wanted as u32 });
    }
    let start = symbols.offset(PARAMS_SYMBOL, size)?;
    let end = start + wanted;
    if end > size {
        return Err(ImageError::SymbolOutside { name: PARAMS_SYMBOL });
    }
    if start < constant.end && constant.start < end {
        return Err(ImageError::ParamsAreConstant);
    }
    Ok(start)
}

/// The words that hold addresses, from the relocations of everything that is loaded.
fn absolute_words(
    elf: &Elf32<'_>,
    sections: &[SectionHeader],
    symbols: &Symbols<'_>,
    size: usize,
) -> Result<Vec<usize>, ImageError> {
    let mut absolute = Vec::new();
    let mut seen = false;
    for section in sections.iter().filter(|section| relocates_loaded(section, sections)) {
        if section.sh_type == SHT_RELA {
            return Err(ImageError::Damaged { what: "relocation table (i386 has no SHT_RELA)" });
        }
        let bytes = elf.slice(section.sh_offset, section.sh_size, "relocation table")?;
        let damaged = ImageError::Damaged { what: "relocation table" };
        let table = RelocSection::parse(bytes, 0, bytes.len(), false, CONTEXT);
        for reloc in table.map_err(|_| damaged)?.iter() {
            seen = true;
            absolute.extend(absolute_word(&reloc, symbols, size)?);
        }
    }
    seen.then_some(absolute).ok_or(ImageError::NoRelocations)
}

/// True if the section holds relocations of a section that is in memory at run time.
fn relocates_loaded(section: &SectionHeader, sections: &[SectionHeader]) -> bool {
    let target = sections.get(section.sh_info as usize);
    matches!(section.sh_type, SHT_REL | SHT_RELA)
        && target.is_some_and(|target| target.sh_flags & u64::from(SHF_ALLOC) != 0)
}

/// Checks one relocation. Only R_386_32 changes anything: relative values stay right if the image
/// moves as a whole.
fn absolute_word(
    reloc: &Reloc,
    symbols: &Symbols<'_>,
    size: usize,
) -> Result<Option<usize>, ImageError> {
    let offset = reloc.r_offset as u32;
    let at = offset as usize;
    let symbol = symbols.table.get(reloc.r_sym).filter(is_defined);
    let inside = symbol.is_some_and(|symbol| symbol.st_value <= size as u64);
    if at.checked_add(WORD).is_none_or(|end| end > size) || !inside {
        return Err(ImageError::RelocationOutside { offset });
    }
    match reloc.r_type {
        R_386_32 => Ok(Some(at)),
        R_386_PC32 | R_386_PLT32 => Ok(None),
        kind => Err(ImageError::RelocationType { offset, kind }),
    }
}
