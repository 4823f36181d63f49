//! Memory that holds a fuzzer's bytes and, elsewhere, a pattern.

use linux::SegmentMap;
use vmcore::{Error, PhysAddr, ReadPhys, Segment, SegmentKind};

/// Physical address of the bytes.
pub(crate) const AT: u64 = 0x200_0000;
/// One past the last byte of memory (physical).
pub(crate) const END: u64 = 1 << 36;

/// Virtual addresses of the bytes, for i386 and for x86_64.
pub(crate) const VADDRS: [u64; 2] = [0xc000_0000, 0xffff_8880_0000_0000];
/// Length of the memory that is mapped there, in bytes.
const LENGTH: u64 = 1 << 20;

/// A dead kernel: the text of VMCOREINFO, which ends at the first NUL of `bytes`, the bytes of
/// memory after it, and the map of that memory.
pub(crate) fn dead_kernel(bytes: &[u8]) -> (&[u8], &[u8], SegmentMap) {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let (text, rest) = bytes.split_at(end);
    let load = |vaddr| Segment {
        kind: SegmentKind::Load,
        source: PhysAddr::new(AT),
        vaddr,
        paddr: PhysAddr::new(AT),
        filesz: LENGTH,
        memsz: LENGTH,
        flags: 7,
    };
    let segments = SegmentMap::new(VADDRS.map(load).map(Ok)).expect("room for two");
    (text, rest.get(1..).unwrap_or_default(), segments)
}

/// All of memory up to [`END`] can be read; from [`AT`] on it holds these bytes.
pub(crate) struct Memory<'a>(pub(crate) &'a [u8]);

impl ReadPhys for Memory<'_> {
    fn read_phys(&self, at: PhysAddr, into: &mut [u8]) -> Result<(), Error> {
        let end = at.get().checked_add(into.len() as u64);
        if end.is_none_or(|end| end > END) {
            return Err(Error::Unreadable { at });
        }
        // Outside are zeros, as in most memory: a note area of zeros is an empty one.
        into.fill(0);
        let skip = AT.saturating_sub(at.get());
        let from = at.get().saturating_sub(AT);
        let place = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let bytes = self.0.get(place(from)..).unwrap_or_default();
        let into = into.get_mut(place(skip)..).unwrap_or_default();
        let count = bytes.len().min(into.len());
        into[..count].copy_from_slice(&bytes[..count]);
        Ok(())
    }
}
