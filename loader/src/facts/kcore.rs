//! `/proc/kcore`, the running kernel as an ELF core file: the mappings of an x86_64 kernel, which
//! are random on most (KASLR), VMCOREINFO, and memory by its virtual addresses.
//!
//! Source: Linux `fs/proc/kcore.c`.

use std::fs::File;
use std::os::unix::fs::FileExt;

use vmcore::{
    Class, CoreHeader, ElfCoreHdr, Error, Note, PhysAddr, PhysRange, ReadPhys, Segment,
    SegmentKind, notes, vmcoreinfo_get,
};

/// Most bytes of notes that are read.
const MOST_NOTES: u64 = 1 << 20;
/// Address from which the kernel's own image is mapped, and not all of memory
/// (`__START_KERNEL_map`).
pub(crate) const KERNEL_MAP: u64 = 0xffff_ffff_8000_0000;
/// The lowest start of the mapping of all memory: that of 5-level page tables.
const LOWEST_PAGE_OFFSET: u64 = 0xff11_0000_0000_0000;
/// That start is a multiple of this: a page upper directory's entry, 1 GiB.
const PAGE_OFFSET_ALIGN: u64 = 1 << 30;
/// `p_paddr` of memory that is mapped page by page (vmalloc, modules).
const NO_PADDR: u64 = u64::MAX;

/// The mappings of an x86_64 kernel, and whether it encrypts memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kcore {
    /// Virtual minus physical address of the mapping of all memory (`page_offset_base`).
    pub page_offset: Option<u64>,
    /// The kernel's own image.
    pub image: Option<KernelMap>,
    /// `NUMBER(sme_mask)`: the bit of a page table's entry that marks memory as encrypted, zero if
    /// the kernel encrypts none. Unknown before Linux 4.19, whose notes have no VMCOREINFO.
    pub sme_mask: Option<u64>,
}

/// The mapping of the kernel's own image, `_text` to `_end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelMap {
    /// The first virtual address.
    pub vaddr: u64,
    /// Its physical memory.
    pub range: PhysRange,
}

/// A file whose offsets stand for physical addresses.
#[derive(Debug)]
pub(crate) struct Offsets(pub(crate) File);

impl ReadPhys for Offsets {
    fn read_phys(&self, at: PhysAddr, into: &mut [u8]) -> Result<(), Error> {
        self.0.read_exact_at(into, at.get()).map_err(|_| Error::Unreadable { at })
    }
}

/// The file, or the front of a copy.
#[derive(Debug)]
pub(crate) struct KcoreFile<M> {
    pub(crate) mem: M,
    class: Class,
    /// The PT_LOADs and PT_NOTEs. Their `source` is an offset in the file.
    pub(crate) segments: Vec<Segment>,
}

impl<M: ReadPhys> KcoreFile<M> {
    /// Reads the headers.
    ///
    /// # Errors
    /// They cannot be read, or are not those of an x86 kernel.
    pub(crate) fn read(mem: M) -> Result<Self, Error> {
        let header = CoreHeader::read(&mem, ElfCoreHdr { addr: PhysAddr::new(0), size: None })?;
        let segments = header.segments(&mem).collect::<Result<_, _>>()?;
        Ok(Self { mem, class: header.class, segments })
    }

    /// The text of the VMCOREINFO note.
    pub(crate) fn vmcoreinfo(&self) -> Option<Vec<u8>> {
        let areas = self.segments.iter().filter(|segment| segment.kind == SegmentKind::Note);
        areas.filter(|area| area.filesz <= MOST_NOTES).find_map(|area| {
            let mut bytes = vec![0; area.filesz as usize];
            self.mem.read_phys(area.source, &mut bytes).ok()?;
            vmcoreinfo_in(&bytes)
        })
    }

    /// The mappings, if the kernel is an x86_64 one. Parts that are absent or make no sense are
    /// `None`.
    pub(crate) fn mappings(&self) -> Kcore {
        if self.class == Class::Elf32 {
            return Kcore::default();
        }
        let mut kcore = Kcore { sme_mask: self.sme_mask(), ..Kcore::default() };
        let loads = self.segments.iter().filter(|segment| segment.kind == SegmentKind::Load);
        loads.filter(|load| load.paddr.get() != NO_PADDR).for_each(|load| kcore.take(load));
        kcore
    }

    /// From the VMCOREINFO note.
    ///
    /// Source: Linux, `arch/x86/kernel/machine_kexec_64.c`, `arch_crash_save_vmcoreinfo`.
    fn sme_mask(&self) -> Option<u64> {
        // The kernel prints a signed number: the bit may be the uppermost.
        let text = self.vmcoreinfo()?;
        let number: i64 = vmcoreinfo_get(&text, "NUMBER(sme_mask)")?.parse().ok()?;
        Some(number as u64)
    }
}

/// The text of VMCOREINFO in an area of notes.
pub(crate) fn vmcoreinfo_in(area: &[u8]) -> Option<Vec<u8>> {
    Some(notes(area).filter_map(Result::ok).find(Note::is_vmcoreinfo)?.desc.to_vec())
}

impl Kcore {
    fn take(&mut self, load: &Segment) {
        let (vaddr, paddr) = (load.vaddr, load.paddr.get());
        if vaddr >= KERNEL_MAP {
            let range = PhysRange::new(load.paddr, load.memsz).ok();
            self.image = self.image.or(range.map(|range| KernelMap { vaddr, range }));
        } else {
            let offset = vaddr.checked_sub(paddr).filter(|offset| is_page_offset(*offset));
            self.page_offset = self.page_offset.or(offset);
        }
    }
}

fn is_page_offset(offset: u64) -> bool {
    (LOWEST_PAGE_OFFSET..KERNEL_MAP).contains(&offset) && offset.is_multiple_of(PAGE_OFFSET_ALIGN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use vmcore::fake::FakeMemory;

    /// Length of the headers of ELF64 in bytes.
    const HEADER: u64 = 64;
    const SIZEOF_PHDR: u64 = 56;

    fn parse(file: &[u8]) -> Kcore {
        let file = KcoreFile::read(FakeMemory::with(0, file));
        file.map(|file| file.mappings()).unwrap_or_default()
    }

    /// One program header of ELF64: type, flags, offset, vaddr, paddr, filesz, memsz, align.
    fn load(vaddr: u64, paddr: u64, length: u64) -> [u64; 7] {
        [1 | 7 << 32, 0, vaddr, paddr, length, length, 4096]
    }

    fn kcore(loads: &[[u64; 7]]) -> Vec<u8> {
        let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
        bytes.resize(64, 0);
        // A core file of an x86_64 machine, version 1.
        (bytes[16], bytes[18], bytes[20]) = (4, 62, 1);
        (bytes[32], bytes[52], bytes[54]) = (64, 64, 56);
        bytes[56..58].copy_from_slice(&(loads.len() as u16).to_le_bytes());
        bytes.extend(loads.iter().flatten().flat_map(|word| word.to_le_bytes()));
        bytes
    }

    const TEXT: [u64; 7] = [1, 0, 0xffff_ffff_9a00_0000, 0x1_1a00_0000, 0, 0x280_0000, 0];

    #[test]
    fn the_image_and_the_mapping_of_all_memory_are_found() {
        let vmalloc = load(0xffff_a6c0_0000_0000, NO_PADDR, 1 << 45);
        let modules = load(0xffff_ffff_c000_0000, NO_PADDR, 0x3f00_0000);
        let memory = load(0xffff_9a3f_8000_1000, 0x1000, 0x9_e000);
        let high = load(0xffff_9a40_8000_0000, 0x1_0000_0000, 1 << 31);
        let found = parse(&kcore(&[TEXT, vmalloc, modules, memory, high]));
        assert_eq!(found.page_offset, Some(0xffff_9a3f_8000_0000));
        let range = PhysRange::new(PhysAddr::new(0x1_1a00_0000), 0x280_0000).expect("a range");
        assert_eq!(found.image, Some(KernelMap { vaddr: TEXT[2], range }));
    }

    /// As on a machine with memory that comes and goes. The image comes last in this one.
    #[test]
    fn thousands_of_ranges_hide_nothing() {
        let page = |n: u64| load(0xffff_9a3f_8000_0000 + 0x2000 * n, 0x2000 * n, 0x1000);
        let loads: Vec<_> = (0..20_000).map(page).chain([TEXT]).collect();
        let file = kcore(&loads);
        assert!(parse(&file).image.is_some_and(|image| image.vaddr == TEXT[2]));
    }

    /// A kcore with the notes that a kernel writes, VMCOREINFO the last: these lines.
    fn with_vmcoreinfo(text: &str) -> Vec<u8> {
        let other = vmcore::note_of_text(vmcore::NAME_CORE, &[0; 336]).expect("room");
        let info = vmcore::note_of_text(vmcore::NAME_VMCOREINFO, text.as_bytes());
        let notes = [other, info.expect("room")].concat();
        let start = HEADER + 2 * SIZEOF_PHDR;
        let mut file = kcore(&[[4, start, 0, 0, notes.len() as u64, 0, 0], TEXT]);
        file.extend(notes);
        file
    }

    #[test]
    fn vmcoreinfo_tells_whether_memory_is_encrypted() {
        let mask = |text| {
            let file = with_vmcoreinfo(text);
            assert!(parse(&file).image.is_some());
            parse(&file).sme_mask
        };
        assert_eq!(mask("OSRELEASE=6.1.0\nNUMBER(sme_mask)=0\nX=1\n"), Some(0));
        // Bit 47, as on an EPYC with `mem_encrypt=on`.
        assert_eq!(mask("NUMBER(sme_mask)=140737488355328\n"), Some(1 << 47));
        assert_eq!(mask("NUMBER(sme_mask)=-9223372036854775808\n"), Some(1 << 63));
        assert_eq!(mask("OSRELEASE=4.13.0\n"), None);
        assert_eq!(mask("NUMBER(sme_mask)=x\n"), None);
    }

    #[test]
    fn notes_that_lie_elsewhere_are_unknown() {
        let mut file = with_vmcoreinfo("NUMBER(sme_mask)=1\n");
        for (offset, length) in
            [(u64::MAX, 8), (0, u64::MAX), (64, MOST_NOTES + 1), (1 << 40, 1 << 40)]
        {
            file[72..80].copy_from_slice(&offset.to_le_bytes());
            file[96..104].copy_from_slice(&length.to_le_bytes());
            assert_eq!(parse(&file).sme_mask, None);
        }
    }

    #[test]
    fn nonsense_is_unknown() {
        let odd = load(0xffff_9a3f_8000_2000, 0x1000, 0x1000);
        let user = load(0x40_0000, 0, 0x1000);
        let wraps = load(0xffff_ffff_8000_0000, u64::MAX - 1, 0x1000);
        assert_eq!(parse(&kcore(&[odd, user, wraps])), Kcore::default());
        assert_eq!(parse(b""), Kcore::default());
        let mut narrow = kcore(&[TEXT]);
        narrow[4] = 1;
        assert_eq!(parse(&narrow), Kcore::default());
        let whole = kcore(&[TEXT]);
        for end in 0..whole.len() {
            assert_eq!(parse(&whole[..end]), Kcore::default());
        }
    }
}
