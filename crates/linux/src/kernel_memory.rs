//! The dead kernel's memory by virtual or physical address, as far as PT_LOADs name them.

use alloc::vec::Vec;
use core::cmp::Reverse;

use crate::Error;
use vmcore::{PhysAddr, ReadPhys, Segment, SegmentKind};

/// `p_vaddr` of a segment whose virtual address is not known.
const UNKNOWN: [u64; 3] = [0, u32::MAX as u64, u64::MAX];

/// Places of the bytes of PT_LOADs, by virtual and by physical address. A dump may have thousands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SegmentMap {
    by_vaddr: Vec<Piece>,
    by_paddr: Vec<Piece>,
}

/// Consecutive addresses, and the place of their bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    at: u64,
    length: u64,
    source: PhysAddr,
}

impl SegmentMap {
    /// A map of the PT_LOADs among `segments`. Of two with the same address, the one that reaches
    /// further counts. A physical address of all ones is none.
    ///
    /// # Errors
    /// The first error in `segments`, or [`Error::NO_MEMORY`].
    pub fn new(
        segments: impl IntoIterator<Item = Result<Segment, vmcore::Error>>,
    ) -> Result<Self, Error> {
        let mut map = Self::default();
        for segment in segments {
            let load = segment?;
            if load.kind != SegmentKind::Load {
                continue;
            }
            let piece = |at| Piece { at, length: load.filesz, source: load.source };
            // Memory that is mapped page by page, in `/proc/kcore`.
            if load.paddr.get() != u64::MAX {
                push(&mut map.by_paddr, piece(load.paddr.get()))?;
            }
            if !UNKNOWN.contains(&load.vaddr) {
                push(&mut map.by_vaddr, piece(load.vaddr))?;
            }
        }
        arrange(&mut map.by_vaddr);
        arrange(&mut map.by_paddr);
        Ok(map)
    }

    /// The lowest physical address from `at` on that a PT_LOAD has.
    pub(crate) fn next_physical(&self, at: u64) -> Option<u64> {
        let next = self.by_paddr.partition_point(|piece| piece.end() <= at);
        Some(self.by_paddr.get(next)?.at.max(at))
    }

    /// The physical address of the byte whose source is `source`.
    pub(crate) fn paddr_of(&self, source: PhysAddr) -> Option<u64> {
        self.by_paddr.iter().find_map(|piece| {
            let offset = source.get().checked_sub(piece.source.get())?;
            (offset < piece.length).then(|| piece.at + offset)
        })
    }
}

fn push(list: &mut Vec<Piece>, piece: Piece) -> Result<(), Error> {
    list.try_reserve(1).map_err(|_| Error::NO_MEMORY)?;
    list.push(piece);
    Ok(())
}

/// Sorts the pieces, and drops those that are contained in another. Then each piece begins and ends
/// after its predecessor.
fn arrange(pieces: &mut Vec<Piece>) {
    pieces.sort_unstable_by_key(|piece| (piece.at, Reverse(piece.length)));
    pieces.dedup_by(|next, last| next.end() <= last.end());
}

/// The piece that has the byte at `at`, and the offset of the byte in it.
fn find(pieces: &[Piece], at: u64) -> Option<(&Piece, u64)> {
    let before = pieces.partition_point(|piece| piece.at <= at).checked_sub(1)?;
    let piece = pieces.get(before)?;
    Some((piece, at - piece.at))
}

/// Source of the byte at `at`, and the number of bytes from there to the end of its piece.
fn source(pieces: &[Piece], at: u64) -> Option<(PhysAddr, u64)> {
    let (piece, offset) = find(pieces, at)?;
    let left = piece.length.checked_sub(offset).filter(|left| *left > 0)?;
    Some((piece.source.checked_add(offset)?, left))
}

impl Piece {
    const fn end(&self) -> u64 {
        self.at.saturating_add(self.length)
    }
}

/// Memory by the dead kernel's virtual addresses: the direct map, and for x86_64 also the map of
/// the kernel's image, as `p_vaddr` of the PT_LOADs has them. There is no walk over page tables:
/// other mappings of the kernel (vmalloc, modules, highmem) are not found.
///
/// It works over the ELF core header and over a vmcore file alike. `p_offset` of the one is a
/// physical address, of the other an offset in the file, and `mem` reads at either.
#[derive(Debug)]
pub struct KernelMemory<'a, M> {
    mem: &'a M,
    segments: &'a SegmentMap,
}

impl<M> Clone for KernelMemory<'_, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for KernelMemory<'_, M> {}

impl<'a, M: ReadPhys> KernelMemory<'a, M> {
    /// The memory that `segments` describe and `mem` has.
    pub const fn new(mem: &'a M, segments: &'a SegmentMap) -> Self {
        Self { mem, segments }
    }

    /// Reads `into.len()` bytes from the virtual address `at` on, over as many PT_LOADs as it
    /// takes.
    ///
    /// # Errors
    /// [`Error::Unmapped`] with the first address that no PT_LOAD has, or [`Error::Dump`] from
    /// `mem`; `into` then holds nothing of use.
    pub fn read(&self, at: u64, into: &mut [u8]) -> Result<(), Error> {
        at.checked_add(into.len() as u64).ok_or(Error::Unmapped { at })?;
        let mut done = 0;
        while let Some(rest) = into.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let next = at + done as u64;
            let (source, length) = self.translate(next).ok_or(Error::Unmapped { at: next })?;
            let count = usize::try_from(length).unwrap_or(usize::MAX).min(rest.len());
            self.mem.read_phys(source, &mut rest[..count])?;
            done += count;
        }
        Ok(())
    }

    /// Reads `into.len()` bytes from the physical address on where the first kernel had them, out
    /// of one PT_LOAD.
    ///
    /// # Errors
    /// [`Error::Unmapped`] when no PT_LOAD has them all, or [`Error::Dump`] from `mem`.
    pub(crate) fn read_physical(&self, at: u64, into: &mut [u8]) -> Result<(), Error> {
        let place = self.physical(at).filter(|(_, left)| *left >= into.len() as u64);
        let (source, _) = place.ok_or(Error::Unmapped { at })?;
        self.read_source(source, into)
    }

    /// Reads bytes at their source.
    ///
    /// # Errors
    /// [`Error::Dump`].
    pub(crate) fn read_source(&self, source: PhysAddr, into: &mut [u8]) -> Result<(), Error> {
        Ok(self.mem.read_phys(source, into)?)
    }

    /// Source of the byte at the virtual address `at`, and the number of consecutive bytes from
    /// there on: at least one.
    pub(crate) fn translate(&self, at: u64) -> Option<(PhysAddr, u64)> {
        source(&self.segments.by_vaddr, at)
    }

    /// The same for the physical address `at` of the first kernel.
    pub(crate) fn physical(&self, at: u64) -> Option<(PhysAddr, u64)> {
        source(&self.segments.by_paddr, at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vmcore::fake::FakeMemory;

    fn load(source: u64, vaddr: u64, filesz: u64) -> Segment {
        Segment {
            kind: SegmentKind::Load,
            source: PhysAddr::new(source),
            vaddr,
            paddr: PhysAddr::new(source),
            filesz,
            memsz: filesz + 0x1000,
            flags: 7,
        }
    }

    fn read(segments: &[Segment], at: u64, length: usize) -> Result<[u8; 8], Error> {
        let mem = FakeMemory::with(0x1000, *b"abcdefgh").and(0x5000, *b"ijklmnop");
        let mut into = [b'-'; 8];
        let segments = SegmentMap::new(segments.iter().copied().map(Ok)).expect("room");
        KernelMemory::new(&mem, &segments).read(at, &mut into[..length]).map(|()| into)
    }

    #[test]
    fn addresses_are_those_of_the_headers() {
        let segments = [load(0x1000, 0xc000_1000, 8), load(0x5000, 0xc000_1008, 8)];
        assert_eq!(read(&segments, 0xc000_1003, 2), Ok(*b"de------"));
        assert_eq!(read(&segments, 0xc000_1006, 4), Ok(*b"ghij----"), "over two PT_LOADs");
        assert_eq!(read(&segments, 0xc000_1010, 0), Ok(*b"--------"));
        let at = 0xc000_1010;
        assert_eq!(read(&segments, 0xc000_100c, 8), Err(Error::Unmapped { at }), "p_memsz");
        assert_eq!(read(&segments, u64::MAX, 1), Err(Error::Unmapped { at: u64::MAX }));
    }

    #[test]
    fn a_kernel_image_may_have_addresses_of_its_own() {
        let segments =
            [load(0x1000, 0xffff_8880_0000_1000, 8), load(0x1004, 0xffff_ffff_8100_0000, 4)];
        assert_eq!(read(&segments, 0xffff_8880_0000_1004, 2), Ok(*b"ef------"));
        assert_eq!(read(&segments, 0xffff_ffff_8100_0000, 2), Ok(*b"ef------"));
    }

    /// Highmem: 4 GiB from "zero" on would hide all that comes after it.
    #[test]
    fn segments_without_an_address_and_notes_are_passed_over() {
        let mut note = load(0x5000, 0xc000_1000, 8);
        note.kind = SegmentKind::Note;
        for unknown in UNKNOWN {
            let highmem = load(0x5000, unknown, 4 << 30);
            let segments = [highmem, note, load(0x1000, 0xc000_1000, 8)];
            assert_eq!(read(&segments, 0xc000_1000, 2), Ok(*b"ab------"));
            assert_eq!(read(&segments, unknown, 1), Err(Error::Unmapped { at: unknown }));
        }
    }

    /// vmalloc in `/proc/kcore`.
    #[test]
    fn memory_without_a_physical_address_has_a_virtual_one() {
        let paddr = PhysAddr::new(u64::MAX);
        let vmalloc = Segment { paddr, ..load(0x1000, 0xc000_1000, 8) };
        assert_eq!(read(&[vmalloc], 0xc000_1000, 2), Ok(*b"ab------"));
        let map = SegmentMap::new([Ok(vmalloc)]).expect("room");
        assert_eq!(map.next_physical(0), None);
    }

    #[test]
    fn a_segment_that_wraps_is_none() {
        let mut wraps = load(u64::MAX - 1, 0xc000_0000, 8);
        assert_eq!(read(&[wraps], 0xc000_0004, 1), Err(Error::Unmapped { at: 0xc000_0004 }));
        wraps = load(0x1000, u64::MAX - 3, 8);
        assert_eq!(read(&[wraps], u64::MAX - 3, 8), Err(Error::Unmapped { at: u64::MAX - 3 }));
    }
}
