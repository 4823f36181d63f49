//! Mappings of an x86_64 kernel, from the program headers of `/proc/kcore`, and one line of its
//! VMCOREINFO, from the notes there.
//!
//! Source: Linux `fs/proc/kcore.c`. Virtual addresses are random on most kernels (KASLR), and this
//! file has them.

use goblin::container::{Container, Ctx, Endian};
use goblin::elf::program_header::{PT_LOAD, PT_NOTE, ProgramHeader};
use goblin::elf64::header::{EI_CLASS, ELFCLASS64, ELFMAG, Header, SELFMAG, SIZEOF_EHDR};
use goblin::elf64::program_header::SIZEOF_PHDR;
use vmcore::{Note, PhysAddr, PhysRange, notes, vmcoreinfo_get};

/// Length of the ELF header in bytes.
pub(crate) const HEADER: u64 = SIZEOF_EHDR as u64;
/// The most that is read of the file, in bytes: the headers come first, and their count has 16
/// bits.
const MOST: u64 = 4 << 20;
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

/// The length of `/proc/kcore` up to the end of its program headers, by the file's ELF header:
/// there is one for each range of RAM, and memory follows them.
pub(crate) fn head_length(header: &[u8]) -> u64 {
    let Some(header) = header.first_chunk().map(Header::from_bytes) else { return 0 };
    let table = u64::from(header.e_phnum) * SIZEOF_PHDR as u64;
    header.e_phoff.saturating_add(table).min(MOST)
}

/// The same up to the end of the notes, which follow the program headers; `table` is the file up to
/// there.
pub(crate) fn notes_end(table: &[u8]) -> u64 {
    let notes = program_headers(table).into_iter().flatten().filter(is_note);
    let ends = notes.map(|header| header.p_offset.saturating_add(header.p_filesz));
    ends.max().unwrap_or(0).clamp(table.len() as u64, MOST)
}

impl Kcore {
    /// Reads the head of an ELF64 `/proc/kcore`, notes included. Parts that are absent or make no
    /// sense are `None`.
    pub(crate) fn parse(head: &[u8]) -> Self {
        let mut kcore = Self { sme_mask: sme_mask(head), ..Self::default() };
        for header in program_headers(head).unwrap_or_default() {
            if header.p_type == PT_LOAD && header.p_paddr != NO_PADDR {
                kcore.take(&header);
            }
        }
        kcore
    }

    fn take(&mut self, header: &ProgramHeader) {
        let ProgramHeader { p_vaddr: vaddr, p_paddr: paddr, p_memsz: length, .. } = *header;
        if vaddr >= KERNEL_MAP {
            let range = PhysRange::new(PhysAddr::new(paddr), length).ok();
            self.image = self.image.or(range.map(|range| KernelMap { vaddr, range }));
        } else {
            let offset = vaddr.checked_sub(paddr).filter(|offset| is_page_offset(*offset));
            self.page_offset = self.page_offset.or(offset);
        }
    }
}

/// From the VMCOREINFO note.
///
/// Source: Linux, `arch/x86/kernel/machine_kexec_64.c`, `arch_crash_save_vmcoreinfo`.
fn sme_mask(head: &[u8]) -> Option<u64> {
    let headers = program_headers(head)?;
    let mut areas = headers.iter().filter(|header| is_note(header)).filter_map(|header| {
        let start = usize::try_from(header.p_offset).ok()?;
        let length = usize::try_from(header.p_filesz).ok()?;
        head.get(start..start.checked_add(length)?)
    });
    areas.find_map(|area| {
        let text = notes(area).filter_map(Result::ok).find(Note::is_vmcoreinfo)?.desc;
        // The kernel prints a signed number: the bit may be the uppermost.
        let number: i64 = vmcoreinfo_get(text, "NUMBER(sme_mask)")?.parse().ok()?;
        Some(number as u64)
    })
}

fn is_note(header: &ProgramHeader) -> bool {
    header.p_type == PT_NOTE
}

fn is_page_offset(offset: u64) -> bool {
    (LOWEST_PAGE_OFFSET..KERNEL_MAP).contains(&offset) && offset.is_multiple_of(PAGE_OFFSET_ALIGN)
}

fn program_headers(head: &[u8]) -> Option<Vec<ProgramHeader>> {
    let ident = head.get(..SIZEOF_EHDR)?;
    if &ident[..SELFMAG] != ELFMAG || ident[EI_CLASS] != ELFCLASS64 {
        return None;
    }
    let header = Header::from_bytes(ident.first_chunk()?);
    let table = head.get(usize::try_from(header.e_phoff).ok()?..)?;
    let count = usize::from(header.e_phnum);
    let context = Ctx::new(Container::Big, Endian::Little);
    ProgramHeader::parse(table, 0, count, context).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One program header of ELF64: type, flags, offset, vaddr, paddr, filesz, memsz, align.
    fn load(vaddr: u64, paddr: u64, length: u64) -> [u64; 7] {
        [1 | 7 << 32, 0, vaddr, paddr, length, length, 4096]
    }

    fn kcore(loads: &[[u64; 7]]) -> Vec<u8> {
        let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
        bytes.resize(64, 0);
        bytes[32] = 64;
        bytes[54] = 56;
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
        let found = Kcore::parse(&kcore(&[TEXT, vmalloc, modules, memory, high]));
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
        assert_eq!(head_length(&file[..HEADER as usize]), file.len() as u64);
        assert!(Kcore::parse(&file).image.is_some_and(|image| image.vaddr == TEXT[2]));
    }

    /// A kcore with the notes that a kernel writes, VMCOREINFO the last: these lines.
    fn with_vmcoreinfo(text: &str) -> Vec<u8> {
        let other = vmcore::note_of_text(vmcore::NAME_CORE, &[0; 336]).expect("room");
        let info = vmcore::note_of_text(vmcore::NAME_VMCOREINFO, text.as_bytes());
        let notes = [other, info.expect("room")].concat();
        let start = HEADER + 2 * SIZEOF_PHDR as u64;
        let mut file = kcore(&[[4, start, 0, 0, notes.len() as u64, 0, 0], TEXT]);
        file.extend(notes);
        file
    }

    #[test]
    fn vmcoreinfo_tells_whether_memory_is_encrypted() {
        let mask = |text| {
            let file = with_vmcoreinfo(text);
            let table = head_length(&file[..HEADER as usize]);
            assert_eq!(notes_end(&file[..table as usize]), file.len() as u64);
            assert!(Kcore::parse(&file).image.is_some());
            Kcore::parse(&file).sme_mask
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
        for (offset, length) in [(u64::MAX, 8), (0, u64::MAX), (MOST, 64), (1 << 40, 1 << 40)] {
            file[72..80].copy_from_slice(&offset.to_le_bytes());
            file[96..104].copy_from_slice(&length.to_le_bytes());
            assert_eq!(Kcore::parse(&file).sme_mask, None);
            assert!(notes_end(&file) <= MOST);
        }
    }

    #[test]
    fn nonsense_is_unknown() {
        let odd = load(0xffff_9a3f_8000_2000, 0x1000, 0x1000);
        let user = load(0x40_0000, 0, 0x1000);
        let wraps = load(0xffff_ffff_8000_0000, u64::MAX - 1, 0x1000);
        assert_eq!(Kcore::parse(&kcore(&[odd, user, wraps])), Kcore::default());
        assert_eq!(Kcore::parse(b""), Kcore::default());
        let mut narrow = kcore(&[TEXT]);
        narrow[4] = 1;
        assert_eq!(Kcore::parse(&narrow), Kcore::default());
        let whole = kcore(&[TEXT]);
        for end in 0..whole.len() {
            assert_eq!(Kcore::parse(&whole[..end]), Kcore::default());
        }
    }
}
