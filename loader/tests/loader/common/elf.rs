//! ELF32 files written out field by field, after the ELF specification 1.2.

use handoff::PurgatoryParams;

pub(crate) const ET_EXEC: u16 = 2;
pub(crate) const ET_DYN: u16 = 3;
pub(crate) const R_386_32: u8 = 1;
pub(crate) const R_386_PC32: u8 = 2;
pub(crate) const R_386_PLT32: u8 = 4;

const EHDR: usize = 52;
const PHDR: usize = 32;
const SHDR: usize = 40;

/// A PT_LOAD: address (virtual and physical), bytes, length in memory.
pub(crate) struct Load {
    pub(crate) addr: u32,
    pub(crate) bytes: Vec<u8>,
    pub(crate) memsz: u32,
}

/// A section: type, flags, address, bytes, link, info.
#[derive(Default)]
struct Section {
    kind: u32,
    flags: u32,
    addr: u32,
    bytes: Vec<u8>,
    link: u32,
    info: u32,
}

fn words(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn file(e_type: u16, entry: u32, loads: &[Load], sections: &[Section]) -> Vec<u8> {
    let mut body = Vec::new();
    let body_at = (EHDR + PHDR * loads.len()) as u32;
    let mut phdrs = Vec::new();
    for load in loads {
        let (offset, filesz) = (body_at + body.len() as u32, load.bytes.len() as u32);
        phdrs.extend(words(&[1, offset, load.addr, load.addr, filesz, load.memsz, 7, 4096]));
        body.extend_from_slice(&load.bytes);
    }
    let mut shdrs = Vec::new();
    for section in sections {
        let (offset, size) = (body_at + body.len() as u32, section.bytes.len() as u32);
        let Section { kind, flags, addr, link, info, .. } = *section;
        shdrs.extend(words(&[0, kind, flags, addr, offset, size, link, info, 4, 0]));
        body.extend_from_slice(&section.bytes);
    }
    let shoff = if sections.is_empty() { 0 } else { body_at + body.len() as u32 };
    let mut bytes = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    bytes.extend([e_type.to_le_bytes(), 3u16.to_le_bytes()].concat());
    bytes.extend(words(&[1, entry, EHDR as u32, shoff, 0]));
    let halves = [EHDR, PHDR, loads.len(), SHDR, sections.len(), 0];
    bytes.extend(halves.iter().flat_map(|value| (*value as u16).to_le_bytes()));
    [bytes, phdrs, body, shdrs].concat()
}

/// A capture kernel from these PT_LOADs.
pub(crate) fn kernel_from(e_type: u16, entry: u32, loads: &[Load]) -> Vec<u8> {
    file(e_type, entry, loads, &[])
}

/// The usual capture kernel, linked at 16 MiB: one page of zeros, then 5 bytes, followed by bss
/// that starts in the middle of a page. Three pages.
pub(crate) fn kernel_of_type(e_type: u16) -> Vec<u8> {
    let loads = [
        Load { addr: 0x100_0000, bytes: vec![0; 4096], memsz: 4096 },
        Load { addr: 0x100_1010, bytes: b"12345".to_vec(), memsz: 0x1800 },
    ];
    kernel_from(e_type, 0x100_0020, &loads)
}

/// The usual capture kernel, movable.
pub(crate) fn kernel() -> Vec<u8> {
    kernel_of_type(ET_DYN)
}

/// A symbol: name, value, size, section index.
pub(crate) type Symbol = (&'static str, u32, u32, u16);
/// A relocation: place, type, index of the symbol (0 is none).
pub(crate) type Relocation = (u32, u8, u32);

/// A purgatory that can be spoiled before it is written.
///
/// | offset | what |
/// |---|---|
/// | 0x000 | constant: code, the entries at 0x10 and 0x18, relocated words at 0x20, 0x24 and 0x28 |
/// | 0x100 | data: one relocated word |
/// | 0x200 | the parameter block |
/// | 0x660 | bss up to 0x1800 |
pub(crate) struct Purgatory {
    pub(crate) e_type: u16,
    pub(crate) symbols: Vec<Symbol>,
    pub(crate) relocations: Vec<Relocation>,
    pub(crate) memsz: u32,
    /// SHT_REL, or another type that a test wants.
    pub(crate) relocation_section: u32,
}

pub(crate) const PARAMS_AT: usize = 0x200;
pub(crate) const IMAGE_SIZE: u32 = 0x1800;

impl Default for Purgatory {
    fn default() -> Self {
        let params = size_of::<PurgatoryParams>() as u32;
        Self {
            e_type: ET_EXEC,
            symbols: vec![
                ("__purgatory_start", 0, 0, 1),
                ("__purgatory_constant_end", 0x100, 0, 1),
                ("purgatory_entry32", 0x10, 0, 1),
                ("PURGATORY_PARAMS", PARAMS_AT as u32, params, 1),
                ("stack_top", IMAGE_SIZE, 0, 1),
                ("purgatory_entry64", 0x18, 0, 1),
            ],
            relocations: vec![
                (0x20, R_386_32, 4),
                (0x24, R_386_PC32, 3),
                (0x28, R_386_PLT32, 3),
                (0x100, R_386_32, 5),
            ],
            memsz: IMAGE_SIZE,
            relocation_section: 9,
        }
    }
}

impl Purgatory {
    pub(crate) fn build(&self) -> Vec<u8> {
        let mut image = vec![0x90; 0x100];
        image.resize(PARAMS_AT + size_of::<PurgatoryParams>(), 0);
        for (at, value) in
            [(0x20, 0x200u32), (0x24, 0xffff_ffe8), (0x28, 0xffff_ffe4), (0x100, 0x1800)]
        {
            image[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        let load = Load { addr: 0, bytes: image, memsz: self.memsz };
        file(self.e_type, 0x10, &[load], &self.sections())
    }

    /// Null, loaded, relocations, symbols, names; the last is a section that is not loaded.
    fn sections(&self) -> Vec<Section> {
        let (mut names, mut table) = (vec![0], words(&[0, 0, 0, 0]));
        for (name, value, size, section) in &self.symbols {
            table.extend(words(&[names.len() as u32, *value, *size]));
            table.extend([[0x10, 0], section.to_le_bytes()].concat());
            names.extend(name.bytes().chain([0]));
        }
        let relocations = self.relocations.iter();
        let relocations = relocations
            .flat_map(|(at, kind, symbol)| words(&[*at, symbol << 8 | u32::from(*kind)]));
        let section =
            |kind, bytes, link, info| Section { kind, bytes, link, info, ..Section::default() };
        let mut loaded = section(1, Vec::new(), 0, 0);
        loaded.flags = 2;
        vec![
            Section::default(),
            loaded,
            section(self.relocation_section, relocations.collect(), 3, 1),
            section(2, table, 4, 1),
            section(3, names, 0, 0),
            section(1, Vec::new(), 0, 0),
            // Relocations of a section that is not loaded, of an unknown type: they must be
            // ignored.
            section(9, words(&[0x7fff_ffff, 0xff]), 3, 5),
        ]
    }
}

/// The usual purgatory.
pub(crate) fn purgatory() -> Vec<u8> {
    Purgatory::default().build()
}
