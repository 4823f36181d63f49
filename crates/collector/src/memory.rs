//! The memory of a vmcore by physical addresses, whatever format it is in.

use std::cmp::Reverse;

use dumpfile::LeftRanges;
use dumpfile::kdump_file::{BLOCK, KdumpError, MOST_PAGES, PageBitmap};
use vmcore::{Level, PageClass, PhysAddr, ReadPhys, Segment, SegmentKind};

use crate::{Error, VmcoreFile};

/// Bytes of a page.
pub(crate) const PAGE: u64 = BLOCK;

/// Consecutive memory of one PT_LOAD, and the place of its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// First physical address.
    pub(crate) start: u64,
    /// One past the last one.
    pub(crate) end: u64,
    /// One past the last one whose byte is in the vmcore; the others read as zero.
    pub(crate) stored: u64,
    source: u64,
}

/// Pages that the vmcore lacks and that were left out for a known reason: start and end (page
/// frames), and the reason.
pub(crate) type LeftPages = (u64, u64, PageClass);

/// Memory by physical addresses.
pub(crate) struct Memory<'a> {
    pub(crate) vmcore: &'a VmcoreFile,
    /// Ascending, without overlaps.
    pub(crate) pieces: Vec<Piece>,
    /// One past the highest page frame.
    pub(crate) end: u64,
    /// Page frames that are RAM, at least in part.
    pub(crate) ram: PageBitmap,
    /// Page frames whose bytes are in the vmcore.
    pub(crate) there: PageBitmap,
    /// Reasons for the others, as far as they are known, ascending.
    pub(crate) left: Vec<LeftPages>,
    /// Level that the vmcore was made at.
    pub(crate) level: Level,
}

impl<'a> Memory<'a> {
    /// Lists the memory of `vmcore`.
    ///
    /// # Errors
    /// [`Error::Kdump`] for more memory than a file can name, [`Error::Io`].
    pub(crate) fn new(vmcore: &'a VmcoreFile) -> Result<Self, Error> {
        let error = |source| Error::Kdump { path: vmcore.path().to_owned(), source };
        let pieces = pieces(&vmcore.segments);
        let end = pieces.last().map_or(0, |piece| piece.end.div_ceil(PAGE));
        if end > MOST_PAGES {
            return Err(error(KdumpError::Field { field: "p_paddr", value: end * PAGE }));
        }
        let mut ram = PageBitmap::new(end).map_err(error)?;
        let mut there = PageBitmap::new(end).map_err(error)?;
        for piece in &pieces {
            ram.insert_range(piece.start / PAGE, piece.end.div_ceil(PAGE));
            there.insert_range(piece.start / PAGE, piece.stored.div_ceil(PAGE));
        }
        let (left, level) = vmcore.left_out()?;
        let mut memory = Self { vmcore, pieces, end, ram, there, left: Vec::new(), level };
        if let Some(pages) = vmcore.pages() {
            memory.there = pages.stored.clone();
        }
        memory.leave_out(&left);
        memory.ram.count_pages().map_err(error)?;
        memory.there.count_pages().map_err(error)?;
        Ok(memory)
    }

    /// Takes out the pages that are in `left` as a whole; offsets there are those of the vmcore.
    fn leave_out(&mut self, left: &LeftRanges) {
        for piece in &self.pieces {
            let end = piece.source + (piece.stored - piece.start);
            for range in left.iter().filter(|range| range.start < end && range.end > piece.source) {
                let address = |at: u64| piece.start + (at.clamp(piece.source, end) - piece.source);
                let first = address(range.start).div_ceil(PAGE);
                let whole = address(range.end) / PAGE;
                // Bytes after a zero page are zeros: nothing is lost.
                if first < whole && range.class != PageClass::Zero {
                    self.left.push((first, whole, range.class));
                }
            }
        }
        self.left.sort_unstable_by_key(|(start, ..)| *start);
        for (start, end, _) in &self.left {
            self.there.remove_range(*start, *end);
        }
    }

    /// Class of a page that is not there; [`None`] if the reason is not known.
    pub(crate) fn class_of(&self, page: u64) -> Option<PageClass> {
        let after = self.left.partition_point(|(start, ..)| *start <= page);
        let (_, end, class) = self.left.get(after.checked_sub(1)?)?;
        (page < *end).then_some(*class)
    }

    /// Reads from the physical address `at` on; addresses that the vmcore does not have are zero.
    ///
    /// # Errors
    /// [`vmcore::Error::Unreadable`].
    pub(crate) fn read(&self, at: u64, into: &mut [u8]) -> Result<(), vmcore::Error> {
        let end = at + into.len() as u64;
        let first = self.pieces.partition_point(|piece| piece.end <= at);
        let mut done = at;
        for piece in self.pieces[first..].iter().take_while(|piece| piece.start < end) {
            let (from, to) = (piece.start.max(done), piece.stored.min(end));
            if from >= to {
                continue;
            }
            into[(done - at) as usize..(from - at) as usize].fill(0);
            let source = PhysAddr::new(piece.source + (from - piece.start));
            let part = &mut into[(from - at) as usize..(to - at) as usize];
            self.vmcore.bytes().read_phys(source, part)?;
            done = to;
        }
        into[(done - at) as usize..].fill(0);
        Ok(())
    }
}

/// The memory of the PT_LOADs. Of two that overlap, the one that begins first counts, or the
/// longer one.
fn pieces(segments: &[Segment]) -> Vec<Piece> {
    let is_load = |segment: &&Segment| segment.kind == SegmentKind::Load;
    let mut loads: Vec<_> = segments.iter().filter(is_load).collect();
    loads.sort_by_key(|load| (load.paddr, Reverse(load.memsz.max(load.filesz))));
    let mut pieces: Vec<Piece> = Vec::new();
    for load in loads {
        let (start, source) = (load.paddr.get(), load.source.get());
        let end = |length| start.checked_add(length);
        let Some((end, stored)) = end(load.memsz.max(load.filesz)).zip(end(load.filesz)) else {
            continue;
        };
        let from = pieces.last().map_or(start, |last| last.end.max(start));
        if let (true, Some(source)) = (from < end, source.checked_add(from - start)) {
            pieces.push(Piece { start: from, end, stored: stored.max(from), source });
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(paddr: u64, filesz: u64, memsz: u64, source: u64) -> Segment {
        Segment {
            kind: SegmentKind::Load,
            source: PhysAddr::new(source),
            vaddr: 0,
            paddr: PhysAddr::new(paddr),
            filesz,
            memsz,
            flags: 7,
        }
    }

    /// Start, stored, end, source of each piece.
    fn made(segments: &[Segment]) -> Vec<[u64; 4]> {
        let all = pieces(segments);
        all.iter().map(|piece| [piece.start, piece.stored, piece.end, piece.source]).collect()
    }

    #[test]
    fn each_address_has_one_place() {
        let kernel = load(0x3000, 0x1000, 0x1000, 0x9000);
        let low = load(0x1000, 0x4000, 0x4000, 0x2000);
        assert_eq!(made(&[kernel, low]), [[0x1000, 0x5000, 0x5000, 0x2000]], "a part of another");
        let next = load(0x4000, 0x3000, 0x8000, 0x50_0000);
        let expected = [[0x1000, 0x5000, 0x5000, 0x2000], [0x5000, 0x7000, 0xc000, 0x50_1000]];
        assert_eq!(made(&[next, low]), expected, "it goes on after the other");
        let mut note = load(0, 100, 100, 0);
        note.kind = SegmentKind::Note;
        let wraps = load(u64::MAX - 1, 8, 8, 0);
        assert_eq!(made(&[note, wraps, load(0x1000, 0, 0, 0)]), [[0; 4]; 0]);
        assert_eq!(made(&[load(0x1000, 8, 0, 0)]), [[0x1000, 0x1008, 0x1008, 0]], "p_memsz");
    }
}
