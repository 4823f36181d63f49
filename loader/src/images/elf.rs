//! Parts that both images share: 32-bit little-endian ELF files for i386.
//!
//! The files come from a build of ours or from anybody's: every number in them is checked here.

use goblin::container::{Container, Ctx, Endian};
use goblin::elf::header::{EI_CLASS, EI_DATA, ELFCLASS32, ELFDATA2LSB, ELFMAG, EM_386, Header};
use goblin::elf::program_header::{PT_LOAD, ProgramHeader};

use crate::images::error::ImageError;

/// Headers that have been checked for class, machine and size.
pub(crate) struct Elf32<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) header: Header,
}

/// One PT_LOAD with memory in it; addresses and sizes do not wrap.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load<'a> {
    /// `p_vaddr`.
    pub(crate) vaddr: u32,
    /// `p_paddr`.
    pub(crate) paddr: u32,
    /// The part that is in the file.
    pub(crate) bytes: &'a [u8],
    /// Length in memory, in bytes; not less than that of the file part.
    pub(crate) memsz: u32,
}

/// goblin's context for an ELF32 file.
pub(crate) const CONTEXT: Ctx = Ctx { container: Container::Little, le: Endian::Little };

impl<'a> Elf32<'a> {
    /// Checks the ELF header.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, ImageError> {
        if !bytes.starts_with(ELFMAG) {
            return Err(ImageError::NotElf);
        }
        let damaged = ImageError::Damaged { what: "ELF header" };
        let header = goblin::elf::Elf::parse_header(bytes).map_err(|_| damaged)?;
        let class = header.e_ident[EI_CLASS];
        let little = header.e_ident[EI_DATA] == ELFDATA2LSB;
        if class != ELFCLASS32 || header.e_machine != EM_386 || !little {
            return Err(ImageError::NotI386 { class, machine: header.e_machine });
        }
        Ok(Self { bytes, header })
    }

    /// `length` bytes at `offset` of the file.
    pub(crate) fn slice(
        &self,
        offset: u64,
        length: u64,
        what: &'static str,
    ) -> Result<&'a [u8], ImageError> {
        let range = usize::try_from(offset).ok().zip(usize::try_from(length).ok());
        range
            .and_then(|(offset, length)| self.bytes.get(offset..offset.checked_add(length)?))
            .ok_or(ImageError::Damaged { what })
    }

    /// The PT_LOADs with memory in them, in the order of the file.
    pub(crate) fn loads(&self) -> Result<Vec<Load<'a>>, ImageError> {
        let damaged = ImageError::Damaged { what: "program header table" };
        let (offset, count) = (self.header.e_phoff, usize::from(self.header.e_phnum));
        if count > 0 && usize::from(self.header.e_phentsize) != ProgramHeader::size(CONTEXT) {
            return Err(damaged);
        }
        let offset = usize::try_from(offset).map_err(|_| damaged.clone())?;
        let headers = ProgramHeader::parse(self.bytes, offset, count, CONTEXT);
        let headers = headers.map_err(|_| damaged)?;
        let loads = headers.iter().filter(|header| header.p_type == PT_LOAD && header.p_memsz > 0);
        loads.map(|header| self.load(header)).collect()
    }

    fn load(&self, header: &ProgramHeader) -> Result<Load<'a>, ImageError> {
        let narrow = |value: u64| {
            u32::try_from(value).map_err(|_| ImageError::Damaged { what: "program header" })
        };
        let load = Load {
            vaddr: narrow(header.p_vaddr)?,
            paddr: narrow(header.p_paddr)?,
            bytes: self.slice(header.p_offset, header.p_filesz, "PT_LOAD")?,
            memsz: narrow(header.p_memsz)?,
        };
        let ends = [load.vaddr, load.paddr].map(|start| start.checked_add(load.memsz));
        if header.p_filesz > header.p_memsz || ends.contains(&None) {
            return Err(ImageError::Damaged { what: "program header" });
        }
        Ok(load)
    }
}
