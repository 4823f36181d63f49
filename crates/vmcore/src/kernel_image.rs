//! The dead kernel's own image in a vmcore: what leaves the machine first where there is no room
//! for all.

use core::ops::Range;

use crate::{
    CoreHeader, DumpOffset, ElfCoreHdr, Error, Extent, PhysAddr, PhysRange, ReadPhys, Segment,
    SegmentKind, View, Vmcore, notes, vmcoreinfo_get,
};

/// The most bytes of an image that are looked for.
pub const MOST_IMAGE: u64 = 64 << 20;

/// Place of the dead kernel's image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelImage {
    /// Its physical addresses.
    pub memory: PhysRange,
    /// Its offsets in the vmcore.
    pub file: Range<u64>,
}

impl Vmcore {
    /// The length of headers and notes, which are the beginning of the file, in bytes.
    pub fn head(&self) -> u64 {
        match self.view.extents().first() {
            Some(Extent::Bytes(head)) => head.len() as u64,
            _ => 0,
        }
    }

    /// The dead kernel's image, at most [`MOST_IMAGE`] bytes of it: the PT_LOAD that is a part of another
    /// one, which x86_64 kernels have for it, or what follows the symbol `_stext` of VMCOREINFO.
    /// [`None`] if neither is there.
    pub fn kernel_image(&self) -> Option<KernelImage> {
        let head = Head(self);
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
            let text = notes(self.notes()).filter_map(Result::ok).find(|note| note.is_vmcoreinfo());
            let start =
                u64::from_str_radix(vmcoreinfo_get(text?.desc, "SYMBOL(_stext)")?, 16).ok()?;
            let load =
                loads()?.find(|load| inside(start, PhysAddr::new(load.vaddr), load.filesz))?;
            image(&load, start - load.vaddr)
        })
    }
}

/// Lowest address that an x86_64 kernel is linked at (`__START_KERNEL_map` of Linux).
const LINKED_AT: u64 = 0xffff_ffff_8000_0000;
/// Number of PT_LOADs above that which are looked at.
const FEW: usize = 4;
/// The headers are at the front of the file.
const FRONT: ElfCoreHdr = ElfCoreHdr { addr: PhysAddr::new(0), size: None };

fn inside(at: u64, start: PhysAddr, length: u64) -> bool {
    at.checked_sub(start.get()).is_some_and(|offset| offset < length)
}

/// The image that begins `skip` bytes after the start of `load`.
fn image(load: &Segment, skip: u64) -> Option<KernelImage> {
    let length = load.filesz.checked_sub(skip)?.min(MOST_IMAGE);
    let start = load.source.get().checked_add(skip)?;
    let memory = PhysRange::new(load.paddr.checked_add(skip)?, length).ok()?;
    Some(KernelImage { memory, file: start..start.checked_add(length)? })
}

/// The headers of the file, by their offsets.
struct Head<'v>(&'v Vmcore);

impl ReadPhys for Head<'_> {
    fn read_phys(&self, at: PhysAddr, into: &mut [u8]) -> Result<(), Error> {
        let piece = self.0.view.piece(DumpOffset::new(at.get()), into.len() as u64);
        match piece.map(|piece| piece.what) {
            Some(crate::What::Bytes(bytes)) if bytes.len() == into.len() => {
                into.copy_from_slice(bytes);
                Ok(())
            }
            _ => Err(Error::Unreadable { at }),
        }
    }
}
