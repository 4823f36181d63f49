//! The ELF core header, and the vmcore that it describes.

use goblin::container::Ctx;
use goblin::elf::program_header::{PT_LOAD, PT_NOTE};
use goblin::elf::{Elf, ProgramHeader};
use vmcore::{CoreHeader, DumpOffset, ElfCoreHdr, Extent, PhysAddr, View, Vmcore};

use crate::memory::{AT, END, Memory};

/// Takes the bytes for an ELF core header and makes its vmcore.
///
/// # Panics
/// Panics if an accepted header gives a file that another ELF reader does not read, or one with
/// memory in it that does not exist.
pub fn elfcorehdr(bytes: &[u8]) {
    let memory = Memory(bytes);
    for size in [None, Some(bytes.len() as u64)] {
        let place = ElfCoreHdr { addr: PhysAddr::new(AT), size };
        let Ok(header) = CoreHeader::read(&memory, place) else { continue };
        let checked = header.check_ranges(&memory);
        let made = vmcore::vmcore(&header, &memory, END, &vmcore::Holes::new(), &mut |area| {
            assert!(!area.to_string().is_empty());
        });
        if let Ok(vmcore) = made {
            assert_eq!(checked, Ok(()), "a header with bad ranges gave a vmcore");
            check(&vmcore, &memory);
            check_small_views(&header, &vmcore, &memory);
        }
    }
}

fn check_small_views(header: &CoreHeader, vmcore: &Vmcore, memory: &Memory<'_>) {
    let (first, later) = linux::first_views(header, vmcore, memory);
    let backtraces =
        later.backtraces(memory, &mut || true).expect("memory").whole(linux::MOST_WHOLE);
    for view in first.into_iter().chain(later.read(memory, backtraces)) {
        assert!((1..=vmcore::MAX_NOTES).contains(&view.view.len()), "{}", view.name);
    }
}

fn check(vmcore: &Vmcore, memory: &Memory<'_>) {
    let view = &vmcore.view;
    assert!(view.len().is_multiple_of(4096), "a length of {} bytes", view.len());
    for extent in view.extents() {
        if let Extent::Phys(range) = extent {
            assert!(range.end().get() <= END, "{range} is beyond memory");
        }
    }
    let head = |length: usize| {
        let mut bytes = vec![0; length];
        let read = view.read_at(DumpOffset::new(0), &mut bytes, memory).expect("all can be read");
        bytes.truncate(read);
        bytes
    };
    let header = Elf::parse_header(&head(64)).expect("an ELF header");
    let table = usize::from(header.e_phnum) * usize::from(header.e_phentsize);
    let headers = head(header.e_phoff as usize + table);
    let context =
        Ctx::new(header.container().expect("a class"), header.endianness().expect("a byte order"));
    let (start, count) = (header.e_phoff as usize, header.e_phnum.into());
    let entries = ProgramHeader::parse(&headers, start, count, context);
    for entry in entries.expect("program headers") {
        assert!([PT_LOAD, PT_NOTE].contains(&entry.p_type), "a segment of type {}", entry.p_type);
        let end = entry.p_offset.checked_add(entry.p_filesz).expect("no wrap");
        assert!(end <= view.len(), "a segment ends at {end:#x}, behind the file");
    }
}
