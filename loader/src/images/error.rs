//! The reasons to refuse an image.

/// The reason why an image cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// No ELF magic.
    #[error("it is neither an ELF file nor a bzImage: is it compressed, or cut short?")]
    NotElf,
    /// A bzImage that does not say how much memory it takes, or runs below 1 MiB.
    #[error(
        "it is a bzImage of boot protocol {}.{:02}, or one that runs in low memory: give an image \
         of protocol 2.10 (Linux 2.6.31) or later",
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
        /// The right value.
        wanted: &'static str,
    },
    /// A header or table is not within the file, or makes no sense.
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
        /// Their number.
        count: usize,
        /// The highest number that is possible.
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
    /// The entry point is not in a loaded segment.
    #[error("its entry point {entry:#x} is in no PT_LOAD: e_entry must be a physical address")]
    EntryOutside {
        /// `e_entry`.
        entry: u32,
    },
    /// More memory than such an image has any use for.
    #[error("it takes {size:#x} bytes of memory, at most {limit:#x} are accepted")]
    TooLarge {
        /// Number of bytes that it wants.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// A symbol that the loader needs.
    #[error("it has no symbol {name}: is it the purgatory of this version, not stripped?")]
    NoSymbol {
        /// Its name.
        name: &'static str,
    },
    /// A symbol whose value is no place in the image.
    #[error("its symbol {name} is outside the image: build it anew")]
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
    /// The parameter block overlaps the bytes that purgatory checks (text and rodata), so it cannot
    /// be filled in.
    #[error("its parameter block is among the constant bytes: the linker script is wrong")]
    ParamsAreConstant,
    /// The file has no relocations, so the image cannot be moved.
    #[error("it has no relocations: link it with --emit-relocs and do not strip it")]
    NoRelocations,
    /// A relocation that the loader does not know.
    #[error(
        "its relocation at {offset:#x} has type {kind}: only R_386_32 and R_386_PC32 can be moved"
    )]
    RelocationType {
        /// The address.
        offset: u32,
        /// Its type.
        kind: u32,
    },
    /// A relocation that changes or names something outside the image.
    #[error("its relocation at {offset:#x} leads outside the image: everything must be linked in")]
    RelocationOutside {
        /// The address.
        offset: u32,
    },
}
