//! The ELF core header block: the loader leaves it in the slot, and the capture kernel reads it
//! (paper, section 4.2; `elfcorehdr=`).
//!
//! ELF32 and ELF64 differ in the width of their fields only. goblin's header types hold both, so
//! that everything below is written once; [`Class`] decides how these are laid out in bytes.

use alloc::vec::Vec;
use core::ops::Range;

use goblin::container::{Container, Ctx, Endian};
use goblin::elf::header::{
    EI_CLASS, EI_DATA, EI_VERSION, ELFCLASS32, ELFCLASS64, ELFDATA2LSB, ELFMAG, EM_386, EM_X86_64,
    ET_CORE, EV_CURRENT, Header, SELFMAG, SIZEOF_IDENT, header32, header64,
};
use goblin::elf::program_header::{PT_LOAD, PT_NOTE, ProgramHeader};
use goblin::{elf32, elf64};
use scroll::{Pread, Pwrite};

use crate::error::MAX_SEGMENTS;
use crate::text::zeros;
use crate::{Error, PhysAddr, PhysRange, RangeError, ReadPhys};

/// Number of program headers that are read at once. Each read through the capture kernel's window
/// costs a mapping. This many fit on a small stack.
const AT_ONCE: u16 = 16;

/// `elfcorehdr=[SIZE@]ADDRESS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ElfCoreHdr {
    /// Physical address of the ELF header.
    pub addr: PhysAddr,
    /// Length of the block that holds ELF header and program headers, in bytes.
    pub size: Option<u64>,
}

/// The width of the headers' fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// 32 bits: gdb needs them for an i386 kernel without PAE.
    Elf32,
    /// 64 bits: needed if there is RAM above 4 GiB.
    Elf64,
}

/// Contents of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentKind {
    /// `PT_LOAD`: memory.
    Load,
    /// `PT_NOTE`: notes, one area for each CPU and one for VMCOREINFO.
    Note,
}

/// A program header of the core header block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Memory or notes.
    pub kind: SegmentKind,
    /// `p_offset`: the present physical address of the bytes. Not `paddr` for the backup region.
    pub source: PhysAddr,
    /// `p_vaddr`: the first kernel's virtual address, or zero or all ones where it has none.
    pub vaddr: u64,
    /// `p_paddr`: the physical address where the first kernel had the bytes.
    pub paddr: PhysAddr,
    /// `p_filesz`: how many bytes there are.
    pub filesz: u64,
    /// `p_memsz`: how many bytes of memory they stand for.
    pub memsz: u64,
    /// `p_flags`.
    pub flags: u32,
}

/// An ELF core header that passed the checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoreHeader {
    /// The width of its fields.
    pub class: Class,
    /// `e_machine`: `EM_386` or `EM_X86_64`.
    pub machine: u16,
    /// `e_flags`.
    pub flags: u32,
    /// Number of program headers, of any type.
    pub segments: u16,
    table: PhysAddr,
}

impl Class {
    fn context(self) -> Ctx {
        let container = match self {
            Self::Elf32 => Container::Little,
            Self::Elf64 => Container::Big,
        };
        Ctx::new(container, Endian::Little)
    }

    /// Length of the ELF header in bytes.
    pub const fn header_size(self) -> usize {
        match self {
            Self::Elf32 => header32::SIZEOF_EHDR,
            Self::Elf64 => header64::SIZEOF_EHDR,
        }
    }

    /// Length of one program header in bytes.
    pub const fn entry_size(self) -> usize {
        match self {
            Self::Elf32 => elf32::program_header::SIZEOF_PHDR,
            Self::Elf64 => elf64::program_header::SIZEOF_PHDR,
        }
    }

    /// `None` when `into` is too short, as for [`Class::read_header`].
    fn write_header(self, header: Header, into: &mut [u8]) -> Option<usize> {
        let endian = Endian::Little;
        match self {
            Self::Elf32 => into.pwrite_with(header32::Header::from(header), 0, endian).ok(),
            Self::Elf64 => into.pwrite_with(header64::Header::from(header), 0, endian).ok(),
        }
    }

    fn read_header(self, bytes: &[u8]) -> Option<Header> {
        let endian = Endian::Little;
        match self {
            Self::Elf32 => bytes.pread_with::<header32::Header>(0, endian).ok().map(Header::from),
            Self::Elf64 => bytes.pread_with::<header64::Header>(0, endian).ok().map(Header::from),
        }
    }
}

impl Segment {
    /// The memory that holds the bytes now.
    ///
    /// # Errors
    /// [`RangeError::Wraps`] when that does not end within 64 bits.
    pub fn source_range(&self) -> Result<PhysRange, Error> {
        Ok(PhysRange::new(self.source, self.filesz)?)
    }

    /// The memory that the segment stands for.
    ///
    /// # Errors
    /// [`RangeError::Wraps`] when that does not end within 64 bits.
    pub fn memory_range(&self) -> Result<PhysRange, Error> {
        Ok(PhysRange::new(self.paddr, self.memsz)?)
    }

    fn from_program_header(header: &ProgramHeader) -> Option<Self> {
        let kind = match header.p_type {
            PT_LOAD => SegmentKind::Load,
            PT_NOTE => SegmentKind::Note,
            _ => return None,
        };
        Some(Self {
            kind,
            source: PhysAddr::new(header.p_offset),
            vaddr: header.p_vaddr,
            paddr: PhysAddr::new(header.p_paddr),
            filesz: header.p_filesz,
            memsz: header.p_memsz,
            flags: header.p_flags,
        })
    }

    /// The program header of this segment, with `offset` as its `p_offset`.
    pub(crate) fn program_header(&self, offset: u64) -> ProgramHeader {
        ProgramHeader {
            p_type: match self.kind {
                SegmentKind::Load => PT_LOAD,
                SegmentKind::Note => PT_NOTE,
            },
            p_flags: self.flags,
            p_offset: offset,
            p_vaddr: self.vaddr,
            p_paddr: self.paddr.get(),
            p_filesz: self.filesz,
            p_memsz: self.memsz,
            p_align: 0,
        }
    }
}

impl CoreHeader {
    /// Reads and checks the ELF header that `elfcorehdr=` names. The program headers are not looked
    /// at yet.
    ///
    /// # Errors
    /// The first check that failed: the memory cannot be read, no ELF magic, a field that no core
    /// header of an x86 kernel has, or program headers outside the block.
    pub fn read(mem: &impl ReadPhys, elfcorehdr: ElfCoreHdr) -> Result<Self, Error> {
        let mut bytes = [0; header64::SIZEOF_EHDR];
        mem.read_phys(elfcorehdr.addr, &mut bytes[..SIZEOF_IDENT])?;
        let class = check_ident(&bytes, elfcorehdr.addr)?;
        mem.read_phys(elfcorehdr.addr, &mut bytes[..class.header_size()])?;
        let header = class.read_header(&bytes).ok_or(Error::NotElf { at: elfcorehdr.addr })?;
        check_fields(&header, class)?;
        let table = check_table(&header, class, elfcorehdr)?;
        Ok(Self {
            class,
            machine: header.e_machine,
            flags: header.e_flags,
            segments: header.e_phnum,
            table,
        })
    }

    /// The dead kernel's architecture: `i386` or `x86_64`.
    pub const fn machine_name(&self) -> &'static str {
        if self.machine == EM_386 { "i386" } else { "x86_64" }
    }

    /// Reads the program headers, a few at a time and without a heap. Types other than PT_LOAD and
    /// PT_NOTE are skipped. The numbers in them are not checked: `vmcore()` does that.
    pub fn segments<'m, M: ReadPhys>(
        &self,
        mem: &'m M,
    ) -> impl Iterator<Item = Result<Segment, Error>> + use<'m, M> {
        let mut table = Table::new(*self);
        (0..self.segments).filter_map(move |index| table.segment(mem, index).transpose())
    }

    /// Checks that every PT_LOAD has valid ranges for its bytes and for the memory that they
    /// describe. The other checks are those of `vmcore()`, which needs a heap; this does not, and
    /// comes before there is one. A PT_NOTE may be anywhere: `vmcore()` leaves out and reports
    /// areas that cannot be read.
    ///
    /// # Errors
    /// [`RangeError::Wraps`], or the error of reading a program header.
    pub fn check_ranges(&self, mem: &impl ReadPhys) -> Result<(), Error> {
        self.segments(mem).try_for_each(|segment| match segment? {
            load if load.kind == SegmentKind::Load => {
                load.source_range().and(load.memory_range()).map(drop)
            }
            _ => Ok(()),
        })
    }
}

/// The program headers of a core header, with a cache of the last few that were read.
struct Table {
    header: CoreHeader,
    bytes: [u8; AT_ONCE as usize * elf64::program_header::SIZEOF_PHDR],
    /// Indexes of the cached headers.
    held: Range<u16>,
}

impl Table {
    const fn new(header: CoreHeader) -> Self {
        Self {
            header,
            bytes: [0; AT_ONCE as usize * elf64::program_header::SIZEOF_PHDR],
            held: 0..0,
        }
    }

    fn segment(&mut self, mem: &impl ReadPhys, index: u16) -> Result<Option<Segment>, Error> {
        if !self.held.contains(&index) {
            let end = self.header.segments.min(index.saturating_add(AT_ONCE));
            // An unreadable header does not hide its neighbours.
            self.read(mem, index..end).or_else(|_| self.read(mem, index..index + 1))?;
        }
        let size = self.header.class.entry_size();
        let at = usize::from(index - self.held.start) * size;
        let header = self.bytes.get(at..at + size).unwrap_or_default();
        let header = header.pread_with(0, self.header.class.context());
        Ok(header.ok().and_then(|header| Segment::from_program_header(&header)))
    }

    fn read(&mut self, mem: &impl ReadPhys, which: Range<u16>) -> Result<(), Error> {
        let size = self.header.class.entry_size();
        let offset = u64::from(which.start) * size as u64;
        let wraps = RangeError::Wraps { start: self.header.table, length: offset };
        let at = self.header.table.checked_add(offset).ok_or(wraps)?;
        self.held = 0..0;
        mem.read_phys(at, &mut self.bytes[..which.len() * size])?;
        self.held = which;
        Ok(())
    }
}

fn check_ident(bytes: &[u8], at: PhysAddr) -> Result<Class, Error> {
    if &bytes[..SELFMAG] != ELFMAG {
        return Err(Error::NotElf { at });
    }
    check("EI_DATA", bytes[EI_DATA].into(), &[ELFDATA2LSB.into()])?;
    check("EI_VERSION", bytes[EI_VERSION].into(), &[EV_CURRENT.into()])?;
    match bytes[EI_CLASS] {
        ELFCLASS32 => Ok(Class::Elf32),
        ELFCLASS64 => Ok(Class::Elf64),
        other => Err(Error::BadField { field: "EI_CLASS", value: other.into() }),
    }
}

fn check_fields(header: &Header, class: Class) -> Result<(), Error> {
    check("e_type", header.e_type.into(), &[ET_CORE.into()])?;
    check("e_machine", header.e_machine.into(), &[EM_386.into(), EM_X86_64.into()])?;
    check("e_version", header.e_version.into(), &[EV_CURRENT.into()])?;
    // QEMU up to 7.2 stores the length of a pointer there. Nothing depends on it.
    check("e_ehsize", header.e_ehsize.into(), &[class.header_size() as u64, 8, 4])?;
    check("e_phentsize", header.e_phentsize.into(), &[class.entry_size() as u64])?;
    match header.e_phnum {
        1..=MAX_SEGMENTS => Ok(()),
        count => Err(Error::BadField { field: "e_phnum", value: count.into() }),
    }
}

fn check(field: &'static str, value: u64, right: &[u64]) -> Result<(), Error> {
    if right.contains(&value) { Ok(()) } else { Err(Error::BadField { field, value }) }
}

/// The physical address of the program headers, which must be after the ELF header and, if its
/// length is known, within the block.
fn check_table(header: &Header, class: Class, block: ElfCoreHdr) -> Result<PhysAddr, Error> {
    let length = u64::from(header.e_phnum) * class.entry_size() as u64;
    let offset = header.e_phoff;
    let outside = Error::TableOutside { offset, length };
    let end = offset.checked_add(length).ok_or(outside)?;
    let fits = block.size.is_none_or(|size| end <= size) && block.addr.checked_add(end).is_some();
    if offset < class.header_size() as u64 || !fits {
        return Err(outside);
    }
    block.addr.checked_add(offset).ok_or(outside)
}

/// The core header block that the loader puts into the slot: ELF header and program headers, in the
/// order of `segments`.
///
/// # Errors
/// [`Error::TooManySegments`], or [`Error::TooLargeForElf32`] when a value does not fit.
pub fn build(machine: u16, class: Class, segments: &[Segment]) -> Result<Vec<u8>, Error> {
    let entries = segments.iter().map(|segment| segment.program_header(segment.source.get()));
    encode(machine, 0, class, segments.len(), entries, 0)
}

/// Bytes of an ELF header, directly followed by these `count` program headers, and zeros up to
/// `length` bytes.
pub(crate) fn encode(
    machine: u16,
    flags: u32,
    class: Class,
    count: usize,
    entries: impl Iterator<Item = ProgramHeader>,
    length: usize,
) -> Result<Vec<u8>, Error> {
    let too_many = Error::TooManySegments { count };
    let e_phnum = u16::try_from(count).ok().filter(|n| *n <= MAX_SEGMENTS).ok_or(too_many)?;
    let mut header = Header::new(class.context());
    header.e_type = ET_CORE;
    header.e_machine = machine;
    header.e_flags = flags;
    header.e_phoff = class.header_size() as u64;
    header.e_shentsize = 0;
    header.e_phnum = e_phnum;
    let table_end = class.header_size() + count * class.entry_size();
    let mut bytes = zeros(table_end.max(length))?;
    let (front, table) = bytes.split_at_mut(class.header_size());
    class.write_header(header, front).ok_or(Error::NoMemory)?;
    for (entry, into) in entries.zip(table.chunks_exact_mut(class.entry_size())) {
        check_width(&entry, class)?;
        into.pwrite_with(entry, 0, class.context()).map_err(|_| Error::NoMemory)?;
    }
    Ok(bytes)
}

fn check_width(entry: &ProgramHeader, class: Class) -> Result<(), Error> {
    let fields = [
        ("p_offset", entry.p_offset),
        ("p_vaddr", entry.p_vaddr),
        ("p_paddr", entry.p_paddr),
        ("p_filesz", entry.p_filesz),
        ("p_memsz", entry.p_memsz),
    ];
    let too_large = |(_, value): &(_, u64)| u32::try_from(*value).is_err();
    match fields.into_iter().find(too_large) {
        Some((field, value)) if class == Class::Elf32 => {
            Err(Error::TooLargeForElf32 { field, value })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::FakeMemory;
    use alloc::vec;
    use proptest::prelude::*;

    /// Address of the block in these tests.
    const AT: u64 = 0x2f5_d000;

    /// ELF header and first program header of ELF32, written out from the ELF specification 1.2.
    const ELF32: [u8; 84] = [
        0x7f, b'E', b'L', b'F', 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, // e_ident
        4, 0, 3, 0, 1, 0, 0, 0, // ET_CORE, EM_386, EV_CURRENT
        0, 0, 0, 0, 52, 0, 0, 0, 0, 0, 0, 0, // e_entry, e_phoff, e_shoff
        0, 0, 0, 0, 52, 0, 32, 0, 1, 0, 0, 0, 0, 0, 0, 0, // e_flags ... e_shstrndx
        1, 0, 0, 0, 0, 0, 0xe0, 2, 0, 0, 0, 0xc0, 0, 0, 0, 0, // PT_LOAD, offset, vaddr, paddr
        0, 0, 0xa, 0, 0, 0, 0xa, 0, 7, 0, 0, 0, 0, 0, 0, 0, // filesz, memsz, flags, align
    ];

    /// The same of ELF64, from the ELF-64 object file format 1.5.
    const ELF64: [u8; 120] = [
        0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, // e_ident
        4, 0, 62, 0, 1, 0, 0, 0, // ET_CORE, EM_X86_64, EV_CURRENT
        0, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0, 0, 0, 0, 0, 0, // e_entry, e_phoff
        0, 0, 0, 0, 0, 0, 0, 0, // e_shoff
        0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 0, 0, 0, 0, 0, 0, // e_flags ... e_shstrndx
        1, 0, 0, 0, 7, 0, 0, 0, // PT_LOAD, flags
        0, 0, 0xe0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0x80, 0x88, 0xff, 0xff, // offset, vaddr
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xa, 0, 0, 0, 0, 0, // paddr, filesz
        0, 0, 0xa, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // memsz, align
    ];

    fn backup(vaddr: u64) -> Segment {
        Segment {
            kind: SegmentKind::Load,
            source: PhysAddr::new(0x2e0_0000),
            vaddr,
            paddr: PhysAddr::new(0),
            filesz: 0xa_0000,
            memsz: 0xa_0000,
            flags: 7,
        }
    }

    fn read(bytes: &[u8], size: Option<u64>) -> Result<(CoreHeader, Vec<Segment>), Error> {
        let mem = FakeMemory::with(AT, bytes);
        let header = CoreHeader::read(&mem, ElfCoreHdr { addr: PhysAddr::new(AT), size })?;
        let segments = header.segments(&mem).collect::<Result<Vec<_>, _>>()?;
        Ok((header, segments))
    }

    #[test]
    fn build_writes_what_the_specifications_say() {
        let (low, high) = (backup(0xc000_0000), backup(0xffff_8880_0000_0000));
        assert_eq!(build(EM_386, Class::Elf32, &[low]).as_deref(), Ok(&ELF32[..]));
        assert_eq!(build(EM_X86_64, Class::Elf64, &[high]).as_deref(), Ok(&ELF64[..]));
    }

    #[test]
    fn both_classes_become_the_same_segment() {
        let (header, segments) = read(&ELF32, Some(84)).expect("a good header");
        assert_eq!((header.class, header.machine), (Class::Elf32, EM_386));
        assert_eq!(segments, [backup(0xc000_0000)]);
        let (header, segments) = read(&ELF64, None).expect("a good header");
        assert_eq!((header.class, header.machine), (Class::Elf64, EM_X86_64));
        assert_eq!(segments, [backup(0xffff_8880_0000_0000)]);
    }

    #[test]
    fn each_damaged_field_is_named() {
        let cases = [
            (4, 3, "EI_CLASS"),
            (5, 2, "EI_DATA"),
            (6, 0, "EI_VERSION"),
            (16, 2, "e_type"),
            (18, 40, "e_machine"),
            (20, 0, "e_version"),
            (40, 64, "e_ehsize"),
            (42, 56, "e_phentsize"),
            (44, 0, "e_phnum"),
        ];
        for (offset, value, name) in cases {
            let mut bytes = ELF32;
            bytes[offset] = value;
            let Err(Error::BadField { field, .. }) = read(&bytes, None) else {
                panic!("{name} at {offset} was accepted")
            };
            assert_eq!(field, name);
        }
        let mut bytes = ELF32;
        bytes[44..46].fill(0xff);
        let extended = Error::BadField { field: "e_phnum", value: 0xffff };
        assert_eq!(read(&bytes, None), Err(extended), "PN_XNUM");
        let mut bytes = ELF32;
        bytes[0] = 0;
        assert_eq!(read(&bytes, None), Err(Error::NotElf { at: PhysAddr::new(AT) }));
    }

    /// `p_offset` with `p_filesz`, and `p_paddr` with `p_memsz`, each one past the last address.
    #[test]
    fn segments_past_64_bits_are_seen_without_a_heap() {
        let top = PhysAddr::new(u64::MAX - 0xfff);
        let check = |segment: Segment| {
            let bytes = build(EM_386, Class::Elf64, &[backup(0), segment]).expect("fits");
            let memory = FakeMemory::with(AT, bytes);
            let block = ElfCoreHdr { addr: PhysAddr::new(AT), size: None };
            CoreHeader::read(&memory, block).and_then(|header| header.check_ranges(&memory))
        };
        let wraps = Err(RangeError::Wraps { start: top, length: 0x1001 }.into());
        assert_eq!(check(backup(0)), Ok(()));
        assert_eq!(check(Segment { source: top, filesz: 0x1001, ..backup(0) }), wraps);
        assert_eq!(check(Segment { paddr: top, memsz: 0x1001, ..backup(0) }), wraps);
    }

    #[test]
    fn the_program_headers_lie_within_the_block() {
        let outside = |result| matches!(result, Err(Error::TableOutside { .. }));
        assert!(outside(read(&ELF32, Some(83))));
        for phoff in [0u32, 51, 53, u32::MAX] {
            let mut bytes = ELF32;
            bytes[28..32].copy_from_slice(&phoff.to_le_bytes());
            assert!(outside(read(&bytes, Some(84))), "e_phoff {phoff}");
        }
        let mut bytes = ELF64;
        bytes[32..40].copy_from_slice(&(u64::MAX - 55).to_le_bytes());
        assert!(outside(read(&bytes, None)));
        let unreadable = PhysAddr::new(AT + 52);
        assert_eq!(read(&ELF32[..52], None), Err(Error::Unreadable { at: unreadable }));
    }

    /// A table that is broken in the middle, as by a machine check.
    #[test]
    fn what_cannot_be_read_does_not_hide_what_can() {
        let mut block = build(EM_386, Class::Elf32, &[backup(0); 40]).expect("fits");
        let rest = block.split_off(52 + 20 * 32);
        let memory = FakeMemory::with(AT, block).and(AT + 52 + 21 * 32, &rest[32..]);
        let place = ElfCoreHdr { addr: PhysAddr::new(AT), size: None };
        let header = CoreHeader::read(&memory, place).expect("a good header");
        let found: Vec<_> = header.segments(&memory).collect();
        let at = PhysAddr::new(AT + 52 + 20 * 32);
        assert_eq!((found.len(), found[20]), (40, Err(Error::Unreadable { at })));
        assert_eq!(found.iter().filter(|segment| **segment == Ok(backup(0))).count(), 39);
    }

    #[test]
    fn other_types_of_program_headers_are_passed_over() {
        let mut bytes = ELF32;
        bytes[52..56].copy_from_slice(&0x6474_e551u32.to_le_bytes());
        assert_eq!(read(&bytes, None).map(|(_, segments)| segments), Ok(vec![]));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let high = backup(1 << 32);
        let refused = Error::TooLargeForElf32 { field: "p_vaddr", value: 1 << 32 };
        assert_eq!(build(EM_386, Class::Elf32, &[high]), Err(refused));
        let many = vec![backup(0); usize::from(MAX_SEGMENTS) + 1];
        let count = many.len();
        assert_eq!(build(EM_386, Class::Elf64, &many), Err(Error::TooManySegments { count }));
        assert!(build(EM_386, Class::Elf64, &many[1..]).is_ok());
    }

    fn any_segment() -> impl Strategy<Value = Segment> {
        let kind = prop_oneof![Just(SegmentKind::Load), Just(SegmentKind::Note)];
        let word = any::<u32>;
        (kind, word(), word(), word(), word(), word(), word()).prop_map(
            |(kind, source, vaddr, paddr, filesz, memsz, flags)| Segment {
                kind,
                source: PhysAddr::new(source.into()),
                vaddr: vaddr.into(),
                paddr: PhysAddr::new(paddr.into()),
                filesz: filesz.into(),
                memsz: memsz.into(),
                flags,
            },
        )
    }

    proptest! {
        #[test]
        fn what_was_built_is_read(segments in prop::collection::vec(any_segment(), 1..20)) {
            for class in [Class::Elf32, Class::Elf64] {
                let bytes = build(EM_386, class, &segments).expect("all values have 32 bits");
                let (header, again) = read(&bytes, Some(bytes.len() as u64)).expect("our own");
                prop_assert_eq!(header.class, class);
                prop_assert_eq!(&again, &segments);
            }
        }

        #[test]
        fn arbitrary_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..300), wide: bool) {
            let mut block = if wide { ELF64.to_vec() } else { ELF32.to_vec() };
            block.extend(&bytes);
            let _ = read(&bytes, None);
            let _ = read(&block, Some(block.len() as u64));
        }

        #[test]
        fn mutated_headers_do_no_harm(wide: bool, changes in prop::collection::vec((0usize..120, any::<u8>()), 1..6)) {
            let mut block = if wide { ELF64.to_vec() } else { ELF32.to_vec() };
            for (offset, value) in changes {
                let length = block.len();
                block[offset % length] = value;
            }
            let _ = read(&block, None);
        }
    }
}
