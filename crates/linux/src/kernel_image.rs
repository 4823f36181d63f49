//! The dead kernel's own image in a vmcore: it leaves the machine first if there is no room for
//! all.

use core::ops::Range;

use vmcore::{
    CoreHeader, DumpOffset, ElfCoreHdr, Error, PhysAddr, PhysRange, ReadPhys, Segment, SegmentKind,
    View, Vmcore, What, notes, vmcoreinfo_get,
};

/// The most bytes of an image that are looked for.
pub const MOST_IMAGE: u64 = 64 << 20;

/// The dead kernel's image, at most [`MOST_IMAGE`] bytes of it (physical): the PT_LOAD that is a
/// part of another one, which x86_64 kernels have for it, or the memory from the symbol `_stext` of
/// VMCOREINFO on, to the end of the image if the loader added that, and else as much as there can
/// be. [`None`] if neither is there.
pub fn kernel_image(vmcore: &Vmcore) -> Option<PhysRange> {
    let head = Head(vmcore);
    let loads = || {
        let header = CoreHeader::read(&head, FRONT).ok()?;
        let segments = header.segments(&head).filter_map(Result::ok);
        Some(segments.filter(|segment| segment.kind == SegmentKind::Load))
    };
    let is_part_of = |part: &Segment, whole: &Segment| {
        part.filesz < whole.filesz && inside(part.source.get(), whole.source, whole.filesz)
    };
    // Few PT_LOADs have an address in the upper 2 GiB, where x86_64 kernels are linked.
    let linked = loads()?.filter(|load| load.vaddr >= LINKED_AT).take(FEW);
    let mut nested = linked.filter(|load| {
        loads().is_some_and(|mut loads| loads.any(|whole| is_part_of(load, &whole)))
    });
    nested.next().and_then(|load| image(&load, 0)).or_else(|| {
        let text = notes(vmcore.notes()).filter_map(Result::ok).find(|note| note.is_vmcoreinfo());
        let text = text?.desc;
        let symbol = |key| u64::from_str_radix(vmcoreinfo_get(text, key)?, 16).ok();
        let start = symbol("SYMBOL(_stext)")?;
        let load = loads()?.find(|load| inside(start, PhysAddr::new(load.vaddr), load.filesz))?;
        let length =
            symbol(END).and_then(|end| end.checked_sub(start)).filter(|length| *length > 0);
        let image = image(&load, start - load.vaddr)?;
        let length = length.map_or(image.length(), |length| length.min(image.length()));
        PhysRange::new(image.start(), length).ok()
    })
}

/// Gives `each` the offsets in `vmcore` of the parts of `memory` (physical, of the first kernel)
/// that it has, PT_LOAD by PT_LOAD.
pub fn in_file(vmcore: &Vmcore, memory: PhysRange, each: &mut dyn FnMut(Range<u64>)) {
    let head = Head(vmcore);
    let Ok(header) = CoreHeader::read(&head, FRONT) else { return };
    for load in header.segments(&head).filter_map(Result::ok) {
        let whole = PhysRange::new(load.paddr, load.filesz).ok();
        let part = whole.filter(|_| load.kind == SegmentKind::Load);
        let Some(part) = part.and_then(|whole| whole.intersect(memory)) else { continue };
        let start = load.source.checked_add(part.start().get() - load.paddr.get());
        let end = start.and_then(|start| start.checked_add(part.length()));
        if let Some((start, end)) = start.zip(end) {
            each(start.get()..end.get());
        }
    }
}

/// Lowest address that an x86_64 kernel is linked at (`__START_KERNEL_map` of Linux).
const LINKED_AT: u64 = 0xffff_ffff_8000_0000;
/// Number of PT_LOADs above that which are looked at.
const FEW: usize = 4;
/// The end of the image's last part, its bss.
const END: &str = "SYMBOL(__bss_stop)";
/// The headers are at the front of the file.
const FRONT: ElfCoreHdr = ElfCoreHdr { addr: PhysAddr::new(0), size: None };

fn inside(at: u64, start: PhysAddr, length: u64) -> bool {
    at.checked_sub(start.get()).is_some_and(|offset| offset < length)
}

/// The image that begins `skip` bytes after the start of `load`.
fn image(load: &Segment, skip: u64) -> Option<PhysRange> {
    let length = load.filesz.checked_sub(skip)?.min(MOST_IMAGE);
    PhysRange::new(load.paddr.checked_add(skip)?, length).ok()
}

/// The headers of the file, by their offsets.
struct Head<'v>(&'v Vmcore);

impl ReadPhys for Head<'_> {
    fn read_phys(&self, at: PhysAddr, into: &mut [u8]) -> Result<(), Error> {
        let piece = self.0.view.piece(DumpOffset::new(at.get()), into.len() as u64);
        match piece.map(|piece| piece.what) {
            Some(What::Bytes(bytes)) if bytes.len() == into.len() => {
                into.copy_from_slice(bytes);
                Ok(())
            }
            _ => Err(Error::Unreadable { at }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::vec::Vec;
    use vmcore::fake::{FakeMemory, note, range};
    use vmcore::{Class, EM_X86_64, Holes, build, vmcore};

    const BLOCK: u64 = 0x2ff_c000;

    fn segment(kind: SegmentKind, source: u64, vaddr: u64, filesz: u64) -> Segment {
        let source = PhysAddr::new(source);
        Segment { kind, source, vaddr, paddr: source, filesz, memsz: filesz, flags: 7 }
    }

    fn load(at: u64, vaddr: u64, size: u64) -> Segment {
        segment(SegmentKind::Load, at, vaddr, size)
    }

    fn note_area(at: u64, size: u64) -> Segment {
        segment(SegmentKind::Note, at, 0, size)
    }

    /// Memory in two PT_LOADs, whose bytes are one after the other in the file.
    #[test]
    fn memory_has_offsets_in_the_file() {
        let loads = [load(0x10_0000, 0, 0x3000), load(0x20_0000, 0, 0x2000)];
        let vmcore = made(&loads, FakeMemory::default());
        let offsets = |from, to| {
            let mut all = Vec::new();
            in_file(&vmcore, range(from, to), &mut |part| all.push(part));
            all
        };
        let one = core::iter::once(0x2000..0x3000);
        assert_eq!(offsets(0x10_1000, 0x10_2000), one.collect::<Vec<_>>());
        assert_eq!(offsets(0x10_2800, 0x20_0010), [0x3800..0x4000, 0x4000..0x4010]);
        assert_eq!(offsets(0x30_0000, 0x40_0000), []);
    }

    fn made(segments: &[Segment], memory: FakeMemory) -> Vmcore {
        let block = build(EM_X86_64, Class::Elf64, segments).expect("a header");
        let memory = memory.and(BLOCK, block);
        let place = ElfCoreHdr { addr: PhysAddr::new(BLOCK), size: None };
        let header = CoreHeader::read(&memory, place).expect("a header");
        let vmcore = vmcore(&header, &memory, 1 << 46, &Holes::new(), &mut |_| ());
        vmcore.expect("a good machine")
    }

    fn found(segments: &[Segment], memory: FakeMemory) -> Option<PhysRange> {
        kernel_image(&made(segments, memory))
    }

    /// The PT_LOAD that x86_64 kernels have for their image; without one, the memory from `_stext`
    /// on.
    #[test]
    fn the_kernel_image_is_found() {
        let whole = load(0x10_0000, 0xffff_8880_0010_0000, 0x800_0000);
        let image = load(0x10_2000, 0xffff_ffff_8100_0000, 0x3000);
        let expected = Some(range(0x10_2000, 0x10_5000));
        assert_eq!(found(&[whole, image], FakeMemory::default()), expected);
        assert_eq!(found(&[image, whole], FakeMemory::default()), expected);
        assert_eq!(found(&[whole], FakeMemory::default()), None);
        // A module's memory, which no other PT_LOAD has, is no image.
        let alone = load(0x4000_0000, 0xffff_ffff_a000_0000, 0x3000);
        assert_eq!(found(&[whole, alone], FakeMemory::default()), None);
        let from_text = |end: &str, load| {
            let text = format!("OSRELEASE=6.1.0\nSYMBOL(_stext)=ffff888000101000\n{end}\0");
            let info = note(b"VMCOREINFO\0", 0, text.as_bytes());
            let area = note_area(0x9000_0000, info.len() as u64);
            found(&[area, load], FakeMemory::with(0x9000_0000, info))
        };
        let most = Some(range(0x10_1000, 0x10_1000 + MOST_IMAGE));
        assert_eq!(from_text("", whole), most, "64 MiB at most");
        assert_eq!(from_text("", alone), None);
        let to = |end| Some(range(0x10_1000, end));
        let bss = |end: u64| format!("SYMBOL(__bss_stop)={end:x}\n");
        assert_eq!(from_text(&bss(0xffff_8880_0134_5000), whole), to(0x134_5000));
        let nonsense = [0, 0xffff_8880_0010_1000, u64::MAX];
        assert!(nonsense.iter().all(|end| from_text(&bss(*end), whole) == most));
    }
}
