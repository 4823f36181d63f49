//! What both images have in common: 32-bit little-endian ELF files for i386.
//!
//! The files come from a build of ours or from anybody's: every number in them is checked here.

use goblin::container::{Container, Ctx, Endian};
use goblin::elf::header::{EI_CLASS, EI_DATA, ELFCLASS32, ELFDATA2LSB, ELFMAG, EM_386, Header};
use goblin::elf::program_header::{PT_LOAD, ProgramHeader};

/// Why an image cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// No ELF magic.
    #[error("it is neither an ELF file nor a bzImage: is it compressed, or cut short?")]
    NotElf,
    /// A bzImage that does not say how much memory it takes, or runs below 1 MiB.
    #[error(
        "it is a bzImage of boot protocol {}.{:02}, or one that runs in low memory: give an image of \
         protocol 2.10 (Linux 2.6.31) or later",
        version >> 8,
        version & 0xff
    )]
    OldBzImage {
        /// Major number in the high byte.
        version: u16,
    },
    /// An ELF file for another machine.
    #[error(
        "it is not an i386 ELF file (ELF class {class}, machine {machine}; i386 is class 1, \
         machine 3): build it for i386"
    )]
    NotI386 {
        /// `EI_CLASS`: 1 is 32 bits, 2 is 64 bits.
        class: u8,
        /// `e_machine`.
        machine: u16,
    },
    /// Neither executable nor shared object, or not the one that is wanted.
    #[error("its ELF type is {e_type}, but {wanted} is needed: is it a linked image?")]
    WrongType {
        /// `e_type`.
        e_type: u16,
        /// What would be right.
        wanted: &'static str,
    },
    /// A header or table does not lie within the file, or makes no sense.
    #[error("its {what} is damaged: copy or build the image anew")]
    Damaged {
        /// Which part of the file.
        what: &'static str,
    },
    /// No PT_LOAD with memory in it.
    #[error("it has nothing to load (no PT_LOAD): is it a linked image?")]
    NothingToLoad,
    /// More PT_LOADs than one kexec_load call takes.
    #[error("it has {count} PT_LOADs, at most {limit} can be loaded: link it with fewer sections")]
    TooManySegments {
        /// How many there are.
        count: usize,
        /// How many are possible.
        limit: usize,
    },
    /// Two PT_LOADs that share a page.
    #[error("its PT_LOADs at {first:#x} and {second:#x} share a page: align them to 4 KiB")]
    SegmentsShareAPage {
        /// Address of the lower one.
        first: u32,
        /// Address of the higher one.
        second: u32,
    },
    /// The entry point is not in what is loaded.
    #[error("its entry point {entry:#x} lies in no PT_LOAD: e_entry must be a physical address")]
    EntryOutside {
        /// `e_entry`.
        entry: u32,
    },
    /// More memory than such an image has any use for.
    #[error("it takes {size:#x} bytes of memory, at most {limit:#x} are accepted")]
    TooLarge {
        /// How many bytes it wants.
        size: u64,
        /// How many it may have.
        limit: u64,
    },
    /// A symbol that the loader needs.
    #[error("it has no symbol {name}: is it the purgatory of this version, not stripped?")]
    NoSymbol {
        /// Its name.
        name: &'static str,
    },
    /// A symbol whose value is no place in the image.
    #[error("its symbol {name} lies outside the image: build it anew")]
    SymbolOutside {
        /// Its name.
        name: &'static str,
    },
    /// The parameter block has another size than ours.
    #[error("its parameter block has {found} bytes, this loader's has {wanted}: versions differ")]
    OtherParams {
        /// Bytes there.
        found: u32,
        /// Bytes of ours.
        wanted: u32,
    },
    /// The parameter block lies in what is taken for constant.
    #[error("its parameter block lies among the constant bytes: the linker script is wrong")]
    ParamsAreConstant,
    /// Nothing says what to change when it is moved.
    #[error("it has no relocations: link it with --emit-relocs and do not strip it")]
    NoRelocations,
    /// A relocation that the loader does not know.
    #[error(
        "its relocation at {offset:#x} has type {kind}: only R_386_32 and R_386_PC32 can be moved"
    )]
    RelocationType {
        /// Where.
        offset: u32,
        /// Its type.
        kind: u32,
    },
    /// A relocation that changes or names something outside the image.
    #[error("its relocation at {offset:#x} leads outside the image: everything must be linked in")]
    RelocationOutside {
        /// Where.
        offset: u32,
    },
}

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

/// How goblin is to read an ELF32 file.
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
