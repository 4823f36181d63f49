//! The vmcore: one ELF core file made of scattered parts of the dead kernel's memory (paper,
//! section 4.5.1; Linux, `fs/proc/vmcore.c`).
//!
//! ```text
//! ELF header | program headers | merged notes | pad to 4096 | PT_LOAD | gap | PT_LOAD | ... | pad
//! ```
//!
//! The first program header is the one PT_NOTE into which all note areas are merged, then comes one
//! PT_LOAD for each contiguous chunk of memory, in the order of the ELF core header. Holes between
//! chunks are not filled: a gap is less than a page and only there so that an offset in the file
//! and the `p_paddr` of the byte there are the same modulo 4096.
//!
//! A PT_LOAD that is a part of another one, such as the image of an x86_64 kernel at virtual
//! addresses of its own, is no chunk: its offset leads into the other's bytes, which go out once.

use alloc::vec::Vec;
use core::cmp::Reverse;
use core::ops::Range;
use core::{fmt, iter};

use goblin::elf::program_header::ProgramHeader;
use handoff::layout::PAGE_SIZE;

use crate::elfcore::encode;
use crate::nesting::wholes;
use crate::notes::note_of_text;
use crate::text::zeros;
use crate::view::{Extent, Extents, push};
use crate::vmcoreinfo::add_lines;
use crate::{
    Class, CoreHeader, DumpOffset, Error, Holes, NAME_ADDENDUM, NAME_VMCOREINFO, Note, PhysAddr,
    PhysRange, Piece, ReadPhys, Segment, SegmentKind, View, notes,
};

/// The longest note area that is looked at, in bytes. Linux' are 176 to 4132 bytes long.
pub const MAX_NOTE_AREA: usize = 64 << 10;
/// Most bytes of all notes together. Enough for 8192 CPUs, the most that Linux has on x86
/// (`NR_CPUS_RANGE_END`), with 368 bytes each, and for VMCOREINFO.
pub const MAX_NOTES: usize = 4 << 20;

/// Most heap that one PT_LOAD takes, in bytes. It covers `vmcore()`, `first_views()`, `oldmem()`
/// and `LaterViews::read()`, called in this order, with the memory that the first and the third
/// keep. A third is added for free pieces of the heap that are too small to use.
pub const HEAP_PER_LOAD: u64 = 400;

/// A vmcore, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vmcore {
    /// The file.
    pub view: Extents,
    /// The width of its ELF headers: that of the ELF core header.
    pub class: Class,
    /// `e_machine`.
    pub machine: u16,
    /// Number of PRSTATUS notes: one for each CPU that saved its registers.
    pub cpus: usize,
    /// Outcome of each PT_NOTE of the ELF core header.
    pub note_areas: Vec<NoteArea>,
    /// Memory of its PT_LOADs that is left out. It is zero in the file, and named in VMCOREINFO.
    pub left_out: Holes,
    /// Place of the merged notes in the headers.
    merged: Range<usize>,
    /// Memory that the file has a copy of, ascending: the copy, and the address in the first
    /// kernel.
    moved: Vec<(PhysRange, PhysAddr)>,
}

/// The file.
impl View for Vmcore {
    fn len(&self) -> u64 {
        self.view.len()
    }

    fn piece(&self, at: DumpOffset, most: u64) -> Option<Piece<'_>> {
        self.view.piece(at, most)
    }

    fn in_first_kernel(&self, at: PhysAddr) -> PhysAddr {
        let after = self.moved.partition_point(|(copy, _)| copy.start() <= at);
        let moved = after.checked_sub(1).and_then(|index| self.moved.get(index));
        match moved.filter(|(copy, _)| copy.contains(at)) {
            Some((copy, paddr)) => PhysAddr::new(paddr.get() + (at.get() - copy.start().get())),
            None => at,
        }
    }
}

impl Vmcore {
    /// The length of headers and notes, which are the beginning of the file, in bytes.
    pub fn head(&self) -> u64 {
        match self.view.extents().first() {
            Some(Extent::Bytes(head)) => head.len() as u64,
            _ => 0,
        }
    }

    /// The merged notes, as the file has them.
    pub fn notes(&self) -> &[u8] {
        match self.view.extents().first() {
            Some(Extent::Bytes(head)) => head.get(self.merged.clone()).unwrap_or_default(),
            _ => &[],
        }
    }
}

/// A PT_NOTE of the ELF core header and its outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoteArea {
    /// Physical address.
    pub source: PhysAddr,
    /// Length in bytes.
    pub length: u64,
    /// The outcome.
    pub outcome: NoteOutcome,
}

/// Outcome of a note area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoteOutcome {
    /// Its notes are in the vmcore.
    Kept {
        /// Number of its notes.
        notes: usize,
    },
    /// It holds no note: that CPU saved nothing.
    Empty,
    /// Its last note is damaged; those before it are in the vmcore.
    Broken {
        /// Number of those notes.
        notes: usize,
        /// The fault of the next note.
        error: Error,
    },
    /// It is not in memory that can be read.
    Unreadable(Error),
    /// The notes before it take up all the room there is.
    NoRoom,
    /// The heap has no room for the note.
    NoMemory,
}

/// Makes the vmcore that an ELF core header describes. `phys_limit` is one past the highest
/// physical address of this CPU. Memory in `holes` is left out. Incomplete note areas are reported
/// to `complain` and do not stop it.
///
/// # Errors
/// The first check that failed. PT_LOADs must neither wrap, nor be beyond `phys_limit`, nor have
/// more bytes in the file than in memory, nor overlap, neither at their source nor in the memory
/// that they describe, unless one is a part of the other and smaller.
pub fn vmcore(
    header: &CoreHeader,
    mem: &impl ReadPhys,
    phys_limit: u64,
    holes: &Holes,
    complain: &mut dyn FnMut(&NoteArea),
) -> Result<Vmcore, Error> {
    let is_load = |segment: &Result<Segment, _>| {
        matches!(segment, Ok(Segment { kind: SegmentKind::Load, .. }))
    };
    let mut loads = Vec::new();
    let count = header.segments(mem).filter(is_load).count();
    loads.try_reserve_exact(count).map_err(|_| Error::NoMemory)?;
    let mut notes = MergedNotes::default();
    for segment in header.segments(mem) {
        let segment = segment?;
        match segment.kind {
            SegmentKind::Load => {
                check_load(&segment, phys_limit)?;
                push(&mut loads, segment)?;
            }
            SegmentKind::Note => notes.merge(&segment, mem, phys_limit, complain)?,
        }
    }
    let left_out = left_out(&loads, holes)?;
    notes.finish(&left_out.lines()?)?;
    let view = lay_out(header, &notes.bytes, &loads)?.without(holes)?;
    let start = table_end(header.class, loads.len());
    let MergedNotes { cpus, areas: note_areas, bytes, .. } = notes;
    let merged = start..start + bytes.len();
    let (class, machine, moved) = (header.class, header.machine, moved(&loads)?);
    Ok(Vmcore { view, class, machine, cpus, note_areas, left_out, merged, moved })
}

/// The loads whose bytes are not at their address, in ascending order of their bytes. A part of
/// such a load is not listed: it has moved with it.
fn moved(loads: &[Segment]) -> Result<Vec<(PhysRange, PhysAddr)>, Error> {
    let mut moved = Vec::new();
    for load in loads.iter().filter(|load| load.source != load.paddr) {
        push(&mut moved, (load.source_range()?, load.paddr))?;
    }
    moved.sort_unstable_by_key(|(copy, _)| (copy.start(), Reverse(copy.length())));
    moved.dedup_by(|next, whole| whole.0.contains_range(next.0));
    Ok(moved)
}

/// The parts of `holes` in the memory of `loads`.
fn left_out(loads: &[Segment], holes: &Holes) -> Result<Holes, Error> {
    let mut left_out = Holes::new();
    for load in loads {
        for hole in holes.within(load.source_range()?) {
            left_out.add(hole.range, hole.reason)?;
        }
    }
    Ok(left_out)
}

/// Checks a PT_LOAD by itself.
fn check_load(load: &Segment, phys_limit: u64) -> Result<(), Error> {
    if load.filesz > load.memsz {
        let Segment { source: at, filesz, memsz, .. } = *load;
        return Err(Error::FileLarger { at, filesz, memsz });
    }
    below(load.source_range()?, phys_limit)?;
    below(load.memory_range()?, phys_limit)
}

fn below(range: PhysRange, limit: u64) -> Result<(), Error> {
    if range.end().get() > limit { Err(Error::BeyondLimit { range, limit }) } else { Ok(()) }
}

/// Notes gathered from the PT_NOTEs (`merge_note_headers` in Linux).
#[derive(Default)]
struct MergedNotes {
    bytes: Vec<u8>,
    areas: Vec<NoteArea>,
    cpus: usize,
    /// The dead kernel's VMCOREINFO.
    vmcoreinfo: Option<Vec<u8>>,
    /// Lines for it.
    added: Vec<u8>,
}

impl MergedNotes {
    fn merge(
        &mut self,
        segment: &Segment,
        mem: &impl ReadPhys,
        phys_limit: u64,
        complain: &mut dyn FnMut(&NoteArea),
    ) -> Result<(), Error> {
        let outcome = match read_area(segment, mem, phys_limit) {
            Ok(bytes) => self.append(&bytes)?,
            Err(Error::NoMemory) => return Err(Error::NoMemory),
            Err(error) => NoteOutcome::Unreadable(error),
        };
        let area = NoteArea { source: segment.source, length: segment.filesz, outcome };
        if !matches!(outcome, NoteOutcome::Kept { .. }) {
            complain(&area);
        }
        push(&mut self.areas, area)
    }

    /// Takes over the whole notes at the front of an area, byte for byte but for VMCOREINFO.
    fn append(&mut self, area: &[u8]) -> Result<NoteOutcome, Error> {
        let mut walk = notes(area);
        let (mut count, mut cpus, mut broken) = (0, 0, None);
        for note in walk.by_ref() {
            match note {
                Ok(note) => (count, cpus) = (count + 1, cpus + usize::from(note.is_prstatus())),
                Err(error) => broken = Some(error),
            }
        }
        let whole = area.get(..walk.offset()).unwrap_or_default();
        if self.length() + whole.len().next_multiple_of(4) > MAX_NOTES {
            return Ok(NoteOutcome::NoRoom);
        }
        // All of the area or nothing: a missing CPU is better than no dump.
        if self.bytes.try_reserve(whole.len() + 4).is_err() {
            return Ok(NoteOutcome::NoMemory);
        }
        let mut walk = notes(whole);
        while let (start, Some(Ok(note))) = (walk.offset(), walk.next()) {
            self.take(&note, whole.get(start..walk.offset()).unwrap_or_default())?;
        }
        self.cpus += cpus;
        Ok(match broken {
            Some(error) => NoteOutcome::Broken { notes: count, error },
            None if count == 0 => NoteOutcome::Empty,
            None => NoteOutcome::Kept { notes: count },
        })
    }

    /// Number of bytes so far, with those that wait for [`MergedNotes::finish`].
    fn length(&self) -> usize {
        self.bytes.len() + self.vmcoreinfo.as_ref().map_or(0, Vec::len) + self.added.len()
    }

    /// Takes one note, whose bytes are `raw`. A second VMCOREINFO can only add to the first:
    /// readers look at one of them.
    fn take(&mut self, note: &Note<'_>, raw: &[u8]) -> Result<(), Error> {
        match &mut self.vmcoreinfo {
            unknown @ None if note.is_vmcoreinfo() => append(unknown.insert(Vec::new()), note.desc),
            _ if note.is_vmcoreinfo() || note.is_addendum() => {
                append(&mut self.added, note.desc)?;
                append(&mut self.added, b"\n")
            }
            _ => {
                append(&mut self.bytes, raw)?;
                append(&mut self.bytes, &[0; 3][..raw.len().next_multiple_of(4) - raw.len()])
            }
        }
    }

    /// Puts the one VMCOREINFO after the other notes, with `lines` of our own. Without the dead
    /// kernel's VMCOREINFO, these lines are a note of their own.
    fn finish(&mut self, lines: &[u8]) -> Result<(), Error> {
        match self.vmcoreinfo.take() {
            Some(mut text) => {
                add_lines(&mut text, &self.added)?;
                add_lines(&mut text, lines)?;
                append(&mut self.bytes, &note_of_text(NAME_VMCOREINFO, &text)?)
            }
            None if lines.is_empty() => Ok(()),
            None => append(&mut self.bytes, &note_of_text(NAME_ADDENDUM, lines)?),
        }
    }
}

/// The bytes of a note area, or of the first [`MAX_NOTE_AREA`] bytes of it.
fn read_area(segment: &Segment, mem: &impl ReadPhys, phys_limit: u64) -> Result<Vec<u8>, Error> {
    below(segment.source_range()?, phys_limit)?;
    let length = usize::try_from(segment.filesz).unwrap_or(usize::MAX).min(MAX_NOTE_AREA);
    let mut bytes = zeros(length)?;
    mem.read_phys(segment.source, &mut bytes)?;
    Ok(bytes)
}

/// Finds a place in the file for everything.
fn lay_out(header: &CoreHeader, notes: &[u8], loads: &[Segment]) -> Result<Extents, Error> {
    let class = header.class;
    let table_end = table_end(class, loads.len());
    let head_length = (table_end + notes.len()).next_multiple_of(PAGE_SIZE as usize);
    let mut extents = Vec::new();
    extents.try_reserve_exact(loads.len() + 2).map_err(|_| Error::NoMemory)?;
    extents.push(Extent::Zero(0));
    let offsets = place(head_length as u64, loads, &mut extents)?;
    let entries = loads.iter().zip(offsets).map(|(load, offset)| load.program_header(offset));
    let entries = iter::once(note_header(table_end, notes.len())).chain(entries);
    let (machine, flags) = (header.machine, header.flags);
    let mut head = encode(machine, flags, class, loads.len() + 1, entries, head_length)?;
    if let Some(merged) = head.get_mut(table_end..table_end + notes.len()) {
        merged.copy_from_slice(notes);
    }
    extents[0] = Extent::Bytes(head);
    Extents::new(extents)
}

/// End of the program headers and start of the notes.
const fn table_end(class: Class, loads: usize) -> usize {
    class.header_size() + (loads + 1) * class.entry_size()
}

/// The extents of all loads from offset `end` on, and the offset of each load.
fn place(mut end: u64, loads: &[Segment], extents: &mut Vec<Extent>) -> Result<Vec<u64>, Error> {
    let wholes = wholes(loads)?;
    let mut offsets = Vec::new();
    offsets.try_reserve_exact(loads.len()).map_err(|_| Error::NoMemory)?;
    for (index, (load, whole)) in loads.iter().zip(&wholes).enumerate() {
        if *whole as usize == index {
            let offset = end.checked_add(gap(end, load.paddr)).ok_or(Error::TooLong)?;
            push_zeros(extents, offset - end)?;
            push(extents, Extent::Phys(load.source_range()?))?;
            end = offset.checked_add(load.filesz).ok_or(Error::TooLong)?;
            offsets.push(offset);
        } else {
            offsets.push(0);
        }
    }
    for (index, whole) in wholes.into_iter().map(|whole| whole as usize).enumerate() {
        let into = loads[index].paddr.get() - loads[whole].paddr.get();
        offsets[index] = offsets[whole].checked_add(into).ok_or(Error::TooLong)?;
    }
    push_zeros(extents, gap(end, PhysAddr::new(0)))?;
    Ok(offsets)
}

fn push_zeros(extents: &mut Vec<Extent>, length: u64) -> Result<(), Error> {
    if length > 0 { push(extents, Extent::Zero(length)) } else { Ok(()) }
}

fn note_header(offset: usize, length: usize) -> ProgramHeader {
    let (nowhere, length) = (PhysAddr::new(0), length as u64);
    let segment = Segment {
        kind: SegmentKind::Note,
        source: nowhere,
        vaddr: 0,
        paddr: nowhere,
        filesz: length,
        memsz: length,
        flags: 0,
    };
    segment.program_header(offset as u64)
}

/// Number of bytes to skip from `offset` on to reach the place of `paddr` in its page.
const fn gap(offset: u64, paddr: PhysAddr) -> u64 {
    paddr.get().wrapping_sub(offset) % PAGE_SIZE
}

/// `Vec::extend_from_slice` that says so when the heap has no room.
fn append(list: &mut Vec<u8>, bytes: &[u8]) -> Result<(), Error> {
    list.try_reserve(bytes.len()).map_err(|_| Error::NoMemory)?;
    list.extend_from_slice(bytes);
    Ok(())
}

impl fmt::Display for NoteArea {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "note area at {} ({:#x} bytes): ", self.source, self.length)?;
        match self.outcome {
            NoteOutcome::Kept { notes } => write!(f, "{notes} notes"),
            NoteOutcome::Empty => f.write_str("empty, this CPU saved no registers"),
            NoteOutcome::Broken { notes, error } => write!(f, "{notes} notes, then {error}"),
            NoteOutcome::Unreadable(error) => write!(f, "not read: {error}"),
            NoteOutcome::NoRoom => write!(f, "left out, {MAX_NOTES:#x} bytes of notes are enough"),
            NoteOutcome::NoMemory => write!(f, "left out, no memory: reserve a larger slot"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{FakeMemory, note, range};
    use crate::{DumpOffset, ElfCoreHdr, RangeError, View, What, build};
    use alloc::string::{String, ToString};
    use alloc::{format, vec};
    use goblin::elf::Elf;
    use goblin::elf::header::{EM_386, EM_X86_64};
    use proptest::prelude::*;

    /// Address of the core header block.
    const BLOCK: u64 = 0x2ff_c000;
    /// One past the highest address of a CPU with 36 address bits.
    const LIMIT: u64 = 1 << 36;

    fn segment(kind: SegmentKind, source: u64, vaddr: u64, paddr: u64, size: u64) -> Segment {
        Segment {
            kind,
            source: PhysAddr::new(source),
            vaddr,
            paddr: PhysAddr::new(paddr),
            filesz: size,
            memsz: size,
            flags: 7,
        }
    }

    fn load(source: u64, vaddr: u64, paddr: u64, size: u64) -> Segment {
        segment(SegmentKind::Load, source, vaddr, paddr, size)
    }

    fn note_area(source: u64, size: u64) -> Segment {
        segment(SegmentKind::Note, source, 0, 0, size)
    }

    /// The vmcore of these segments, and the complaints.
    fn capture(
        machine: u16,
        class: Class,
        segments: &[Segment],
        mem: FakeMemory,
    ) -> (Result<Vmcore, Error>, Vec<String>, FakeMemory) {
        capture_without(&Holes::new(), machine, class, segments, mem)
    }

    fn capture_without(
        holes: &Holes,
        machine: u16,
        class: Class,
        segments: &[Segment],
        mem: FakeMemory,
    ) -> (Result<Vmcore, Error>, Vec<String>, FakeMemory) {
        let block = build(machine, class, segments).expect("a block of a test");
        let elfcorehdr = ElfCoreHdr { addr: PhysAddr::new(BLOCK), size: Some(block.len() as u64) };
        let mem = mem.and(BLOCK, block);
        let mut complaints = Vec::new();
        let result = CoreHeader::read(&mem, elfcorehdr).and_then(|header| {
            vmcore(&header, &mem, LIMIT, holes, &mut |area| complaints.push(area.to_string()))
        });
        (result, complaints, mem)
    }

    fn refusal(segments: &[Segment]) -> Error {
        let (result, ..) = capture(EM_386, Class::Elf64, segments, FakeMemory::default());
        result.expect_err("a header that must be refused")
    }

    fn file(vmcore: &Vmcore, mem: &FakeMemory) -> Vec<u8> {
        let mut bytes = vec![0xee; vmcore.view.len() as usize];
        let count = vmcore.view.read_at(DumpOffset::new(0), &mut bytes, mem);
        assert_eq!(count, Ok(bytes.len()));
        bytes
    }

    fn pattern(seed: u8, length: usize) -> Vec<u8> {
        (0..length).map(|n| (n as u8).wrapping_mul(31) ^ (n >> 8) as u8 ^ seed).collect()
    }

    /// The machine of these tests: 640 K less its ends saved in the slot (paper, section 4.3),
    /// two pieces of RAM, two CPUs of which the second saved nothing, and VMCOREINFO.
    struct Machine {
        segments: [Segment; 6],
        memory: FakeMemory,
        notes: Vec<u8>,
        backup: Vec<u8>,
        low: Vec<u8>,
        high: Vec<u8>,
    }

    fn machine() -> Machine {
        let prstatus = note(b"CORE\0", 1, &pattern(1, 144));
        let info = note(b"VMCOREINFO\0", 0, b"OSRELEASE=6.1.0\nPAGESIZE=4096\n\0");
        let (backup, low, high) = (pattern(2, 0x2c00), pattern(3, 0x3000), pattern(4, 0x1800));
        let notes = [prstatus.clone(), info.clone()].concat();
        let memory = FakeMemory::with(0x35ac_ae00, [&prstatus[..], &[0; 12]].concat())
            .and(0x35ad_ae00, [0; 176])
            .and(0x118_2000, [&info[..], &[0; 100]].concat())
            .and(0x2e0_1000, &backup[..])
            .and(0x10_0000, &low[..])
            .and(0x1_0000_0800, &high[..]);
        let segments = [
            note_area(0x35ac_ae00, 176),
            note_area(0x35ad_ae00, 176),
            note_area(0x118_2000, info.len() as u64 + 100),
            load(0x2e0_1000, 0xc000_1000, 0x1000, 0x2c00),
            load(0x10_0000, 0xc010_0000, 0x10_0000, 0x3000),
            load(0x1_0000_0800, u64::MAX, 0x1_0000_0800, 0x1800),
        ];
        Machine { segments, memory, notes, backup, low, high }
    }

    /// Offsets worked out by hand from the layout in the module's head.
    #[test]
    fn every_byte_is_where_the_layout_says() {
        let Machine { segments, memory, notes, backup, low, high } = machine();
        let (result, complaints, mem) = capture(EM_386, Class::Elf64, &segments, memory);
        let vmcore = result.expect("a good machine");
        let bytes = file(&vmcore, &mem);
        let table_end = 64 + 4 * 56;
        assert_eq!(&bytes[table_end..table_end + notes.len()], notes);
        assert!(bytes[table_end + notes.len()..0x1000].iter().all(|byte| *byte == 0));
        assert_eq!(&bytes[0x1000..0x3c00], backup);
        assert!(bytes[0x3c00..0x4000].iter().all(|byte| *byte == 0));
        assert_eq!(&bytes[0x4000..0x7000], low);
        assert!(bytes[0x7000..0x7800].iter().all(|byte| *byte == 0));
        assert_eq!(&bytes[0x7800..0x9000], high);
        assert_eq!(bytes.len(), 0x9000);
        assert_eq!((vmcore.cpus, vmcore.machine, vmcore.class), (1, EM_386, Class::Elf64));
        let said = "note area at 0x35adae00 (0xb0 bytes): empty, this CPU saved no registers";
        assert_eq!(complaints, [said]);
    }

    /// The holes are unreadable here: a read of one of their bytes is an error.
    #[test]
    fn holes_are_zero_and_named_and_never_touched() {
        let Machine { segments, memory, low, .. } = machine();
        let memory = FakeMemory {
            pieces: memory.pieces.into_iter().filter(|(at, _)| *at != 0x10_0000).collect(),
        };
        let memory = memory.and(0x10_0000, &low[..0x1000]).and(0x10_2000, &low[0x2000..]);
        let mut holes = Holes::new();
        for hole in [range(0x10_1000, 0x10_2000), range(0x8000_0000, 0x9000_0000)] {
            holes.add(hole, "unplugged").expect("room");
        }
        let (result, _, mem) = capture_without(&holes, EM_386, Class::Elf64, &segments, memory);
        let vmcore = result.expect("a good machine");
        let bytes = file(&vmcore, &mem);
        let expected = [&low[..0x1000], &[0; 0x1000], &low[0x2000..]].concat();
        assert_eq!(&bytes[0x4000..0x7000], expected);
        assert_eq!((bytes.len(), vmcore.left_out.total()), (0x9000, 0x1000));
        let text = "OSRELEASE=6.1.0\nPAGESIZE=4096\nLEFTOUT(101000-102000)=unplugged\n";
        let info = note(b"VMCOREINFO\0", 0, text.as_bytes());
        assert!(vmcore.notes().ends_with(&info), "{:?}", vmcore.notes());
    }

    #[test]
    fn holes_are_named_where_there_is_no_vmcoreinfo() {
        let mut holes = Holes::new();
        holes.add(range(0x10_0000, 0x10_3000), "unplugged").expect("room");
        let segments = [load(0x10_0000, 0xc010_0000, 0x10_0000, 0x3000)];
        let memory = FakeMemory::with(0, []);
        let (result, _, mem) = capture_without(&holes, EM_386, Class::Elf32, &segments, memory);
        let vmcore = result.expect("a good machine");
        assert!(file(&vmcore, &mem)[0x1000..].iter().all(|byte| *byte == 0));
        let expected = note(b"KDUMP-RS\0", 0, b"LEFTOUT(100000-103000)=unplugged\n");
        assert_eq!(vmcore.notes(), expected);
    }

    #[test]
    fn goblin_reads_the_vmcore_as_we_meant_it() {
        let Machine { segments, memory, .. } = machine();
        let (result, _, mem) = capture(EM_386, Class::Elf64, &segments, memory);
        let bytes = file(&result.expect("a good machine"), &mem);
        let elf = Elf::parse(&bytes).expect("an ELF file");
        assert_eq!((elf.header.e_type, elf.header.e_machine, elf.is_64), (4, EM_386, true));
        let table: Vec<_> = elf
            .program_headers
            .iter()
            .map(|ph| (ph.p_type, ph.p_offset, ph.p_vaddr, ph.p_paddr, ph.p_filesz, ph.p_memsz))
            .collect();
        let expected = [
            (4, 0x120, 0, 0, 220, 220),
            (1, 0x1000, 0xc000_1000, 0x1000, 0x2c00, 0x2c00),
            (1, 0x4000, 0xc010_0000, 0x10_0000, 0x3000, 0x3000),
            (1, 0x7800, u64::MAX, 0x1_0000_0800, 0x1800, 0x1800),
        ];
        assert_eq!(table, expected);
        let notes: Vec<_> = elf.iter_note_headers(&bytes).expect("a PT_NOTE").collect();
        let names: Vec<_> = notes.iter().map(|n| n.as_ref().map(|n| n.name).ok()).collect();
        assert_eq!(names, [Some("CORE"), Some("VMCOREINFO")]);
        assert_eq!(notes[0].as_ref().map(|n| n.desc).ok(), Some(&pattern(1, 144)[..]));
    }

    #[test]
    fn elf32_in_is_elf32_out() {
        let Machine { segments, memory, .. } = machine();
        let (result, _, mem) = capture(EM_386, Class::Elf32, &segments[..5], memory);
        let bytes = file(&result.expect("a good machine"), &mem);
        let elf = Elf::parse(&bytes).expect("an ELF file");
        assert!(!elf.is_64);
        let offsets: Vec<_> = elf.program_headers.iter().map(|ph| ph.p_offset).collect();
        assert_eq!(offsets, [52 + 3 * 32, 0x1000, 0x4000]);
        let four_gigabytes =
            [load(0, 0, 0, 0xffff_f000), load(0xffff_f000, 0, 0xffff_f000, 0x1000)];
        let (result, ..) = capture(EM_386, Class::Elf32, &four_gigabytes, FakeMemory::default());
        let refused = Error::TooLargeForElf32 { field: "p_offset", value: 1 << 32 };
        assert_eq!(result, Err(refused));
    }

    #[test]
    fn memory_goes_out_as_physical_extents_and_offsets_lead_back_to_it() {
        let Machine { segments, memory, .. } = machine();
        let (result, ..) = capture(EM_X86_64, Class::Elf64, &segments, memory);
        let view = result.expect("a good machine").view;
        let phys: Vec<_> = view
            .extents()
            .iter()
            .filter_map(|extent| if let Extent::Phys(range) = extent { Some(*range) } else { None })
            .collect();
        let sources = [
            range(0x2e0_1000, 0x2e0_3c00),
            range(0x10_0000, 0x10_3000),
            range(0x1_0000_0800, 0x1_0000_2000),
        ];
        assert_eq!(phys, sources);
        let at = |offset| match view.piece(DumpOffset::new(offset), 1)?.what {
            What::Phys(range) => Some(range.start().get()),
            _ => None,
        };
        assert_eq!((at(0xfff), at(0x1000)), (None, Some(0x2e0_1000)), "head, then the backup");
        assert_eq!((at(0x3bff), at(0x3c00)), (Some(0x2e0_3bff), None), "the backup, then a gap");
        assert_eq!((at(0x8fff), at(0x9000)), (Some(0x1_0000_1fff), None), "the last byte");
    }

    /// The backup region stands for the first 640 KiB, a part of it for a part of these.
    #[test]
    fn a_copy_has_the_address_of_the_original() {
        let segments = [
            load(0x10_0000, 0, 0x10_0000, 0x3000),
            load(0x2e0_2000, 0, 0x2000, 0x800),
            load(0x2e0_1000, 0, 0x1000, 0x9f000),
        ];
        let (result, ..) = capture(EM_386, Class::Elf64, &segments, FakeMemory::default());
        let vmcore = result.expect("a good machine");
        let table = [
            (0x10_0000, 0x10_0000),
            (0x2e0_0fff, 0x2e0_0fff),
            (0x2e0_1000, 0x1000),
            (0x2e0_2000, 0x2000),
            (0x2e9_ffff, 0x9_ffff),
            (0x2ea_0000, 0x2ea_0000),
        ];
        for (at, first) in table {
            assert_eq!(vmcore.in_first_kernel(PhysAddr::new(at)).get(), first, "{at:#x}");
        }
    }

    #[test]
    fn a_damaged_note_area_costs_its_own_notes_only() {
        let whole = note(b"CORE\0", 1, &[1; 144]);
        let mut damaged = whole.clone();
        damaged[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        let memory = FakeMemory::with(0x1000, [&whole[..], &damaged[..]].concat())
            .and(0x3000, whole.clone())
            .and(0x5000, vec![0xff; MAX_NOTE_AREA + 1]);
        let areas = [
            note_area(0x1000, 2 * whole.len() as u64),
            note_area(0x9_0000, 176),
            note_area(LIMIT - 4, 8),
            note_area(u64::MAX, 8),
            note_area(0x5000, u64::MAX - 0x5000),
            note_area(0x5000, 1 << 20),
            note_area(0x3000, whole.len() as u64),
        ];
        let (result, complaints, mem) = capture(EM_386, Class::Elf64, &areas, memory);
        let vmcore = result.expect("notes do not stop a capture");
        assert_eq!(vmcore.cpus, 2);
        let head = 64 + 56;
        let bytes = file(&vmcore, &mem);
        assert_eq!(&bytes[head..head + 2 * whole.len()], [&whole[..], &whole[..]].concat());
        assert!(bytes[head + 2 * whole.len()..].iter().all(|byte| *byte == 0));
        let outcomes: Vec<_> = vmcore.note_areas.iter().map(|area| area.outcome).collect();
        let broken =
            |notes, offset| NoteOutcome::Broken { notes, error: Error::NoteTruncated { offset } };
        assert_eq!(outcomes[0], broken(1, whole.len()));
        let at = PhysAddr::new(0x9_0000);
        assert_eq!(outcomes[1], NoteOutcome::Unreadable(Error::Unreadable { at }));
        assert!(matches!(outcomes[2], NoteOutcome::Unreadable(Error::BeyondLimit { .. })));
        assert!(matches!(outcomes[3], NoteOutcome::Unreadable(Error::Range(_))));
        assert!(matches!(outcomes[4], NoteOutcome::Unreadable(Error::BeyondLimit { .. })));
        assert_eq!(outcomes[5], broken(0, 0));
        assert_eq!(outcomes[6], NoteOutcome::Kept { notes: 1 });
        assert_eq!(complaints.len(), 6);
    }

    #[test]
    fn notes_have_a_bound() {
        let big = note(b"CORE\0", 7, &[5; MAX_NOTE_AREA - 20]);
        assert_eq!(big.len(), MAX_NOTE_AREA);
        let areas = vec![note_area(0x1000, big.len() as u64); 65];
        let (result, complaints, _) =
            capture(EM_386, Class::Elf64, &areas, FakeMemory::with(0x1000, big));
        let vmcore = result.expect("notes do not stop a capture");
        assert_eq!(vmcore.note_areas[63].outcome, NoteOutcome::Kept { notes: 1 });
        assert_eq!(vmcore.note_areas[64].outcome, NoteOutcome::NoRoom);
        assert_eq!(complaints.len(), 1);
        assert_eq!(vmcore.view.len(), (4 << 20) + 0x1000);
    }

    /// VMCOREINFO's size need not be a multiple of four; the bytes after it must stay aligned.
    #[test]
    fn the_padding_that_an_area_lacks_is_added() {
        let info = note(b"VMCOREINFO\0", 0, b"A=1");
        let prstatus = note(b"CORE\0", 1, &[9; 144]);
        let memory =
            FakeMemory::with(0x1000, &info[..info.len() - 1]).and(0x2000, prstatus.clone());
        let areas =
            [note_area(0x1000, info.len() as u64 - 1), note_area(0x2000, prstatus.len() as u64)];
        let (result, complaints, mem) = capture(EM_386, Class::Elf32, &areas, memory);
        let bytes = file(&result.expect("whole notes"), &mem);
        assert_eq!(&bytes[84..84 + info.len() + prstatus.len()], [prstatus, info].concat());
        assert_eq!(complaints, [""; 0]);
    }

    /// The text of each VMCOREINFO that leaves, for these notes in one area.
    fn vmcoreinfos(area: &[&[u8]]) -> Vec<String> {
        let area = area.concat();
        let areas = [note_area(0x1000, area.len() as u64)];
        let (result, complaints, mem) =
            capture(EM_386, Class::Elf64, &areas, FakeMemory::with(0x1000, area));
        assert_eq!(complaints, [""; 0]);
        let bytes = file(&result.expect("notes do not stop a capture"), &mem);
        let elf = Elf::parse(&bytes).expect("an ELF file");
        let notes =
            elf.iter_note_headers(&bytes).expect("a PT_NOTE").map(|note| note.expect("whole"));
        let notes: Vec<_> = notes.collect();
        assert!(notes.iter().all(|note| note.name != "KDUMP-RS"));
        let infos = notes.iter().filter(|note| note.name == "VMCOREINFO");
        infos.map(|note| String::from_utf8_lossy(note.desc).into_owned()).collect()
    }

    #[test]
    fn exactly_one_vmcoreinfo_leaves() {
        let info = note(b"VMCOREINFO\0", 0, b"A=1\n");
        let ours = note(b"KDUMP-RS\0", 0, b"KERNELOFFSET=5000000\nA=2\n");
        let later = note(b"VMCOREINFO\0", 0, b"A=3\nB=4\n");
        assert_eq!(vmcoreinfos(&[&info]), ["A=1\n"]);
        assert_eq!(vmcoreinfos(&[&info, &ours]), ["A=1\nKERNELOFFSET=5000000\n"]);
        assert_eq!(vmcoreinfos(&[&ours, &info]), ["A=1\nKERNELOFFSET=5000000\n"]);
        let all = ["A=1\nKERNELOFFSET=5000000\nB=4\n"];
        assert_eq!(vmcoreinfos(&[&info, &ours, &later]), all);
        assert_eq!(vmcoreinfos(&[&ours]), [""; 0], "nothing to add it to");
    }

    #[test]
    fn headers_that_lie_are_refused_by_name() {
        let (a, b) = (load(0x1000, 0, 0x1000, 0x2000), load(0x2fff, 0, 0x10_0000, 1));
        let overlap =
            Error::Overlap { first: range(0x1000, 0x3000), second: range(0x2fff, 0x3000) };
        assert_eq!(refusal(&[a, b]), overlap, "where the bytes lie");
        let c = load(0x10_0000, 0, 0x2fff, 1);
        assert_eq!(refusal(&[a, c]), overlap, "what they stand for");
        let beyond = |start, end| Error::BeyondLimit { range: range(start, end), limit: LIMIT };
        assert_eq!(refusal(&[load(LIMIT - 1, 0, 0, 2)]), beyond(LIMIT - 1, LIMIT + 1));
        assert_eq!(refusal(&[load(0, 0, LIMIT, 1)]), beyond(LIMIT, LIMIT + 1));
        let start = PhysAddr::new(u64::MAX);
        assert_eq!(
            refusal(&[load(u64::MAX, 0, 0, 2)]),
            RangeError::Wraps { start, length: 2 }.into()
        );
        assert_eq!(
            refusal(&[load(0, 0, u64::MAX, 2)]),
            RangeError::Wraps { start, length: 2 }.into()
        );
        let larger = Segment { filesz: 0x2001, ..a };
        let error = Error::FileLarger { at: PhysAddr::new(0x1000), filesz: 0x2001, memsz: 0x2000 };
        assert_eq!(refusal(&[larger]), error);
        assert!(refusal(&[a, b]).to_string().contains("0x1000..0x3000"));
    }

    /// kexec-tools lists the image of an x86_64 kernel first, at its own virtual addresses, and
    /// then the RAM around it.
    #[test]
    fn a_part_of_another_load_shares_its_bytes() {
        let image = load(0x10_2000, 0xffff_ffff_8100_0000, 0x10_2000, 0x1000);
        let ram = load(0x10_0800, 0xffff_8880_0010_0800, 0x10_0800, 0x4000);
        let smaller = load(0x10_2800, 0xffff_ffff_8100_0800, 0x10_2800, 0x800);
        let saved = load(0x2e0_1000, 0xffff_8880_0000_1000, 0x1000, 0x1000);
        let (result, _, mem) = capture(
            EM_X86_64,
            Class::Elf64,
            &[image, ram, saved, smaller],
            FakeMemory::with(0x10_0800, pattern(9, 0x4000)).and(0x2e0_1000, pattern(8, 0x1000)),
        );
        let vmcore = result.expect("a good machine");
        let bytes = file(&vmcore, &mem);
        let elf = Elf::parse(&bytes).expect("an ELF file");
        let offsets: Vec<_> = elf.program_headers[1..].iter().map(|ph| ph.p_offset).collect();
        assert_eq!(offsets, [0x3000, 0x1800, 0x6000, 0x3800]);
        let addresses: Vec<_> = elf.program_headers[1..].iter().map(|ph| ph.p_vaddr).collect();
        assert_eq!(addresses[0], 0xffff_ffff_8100_0000);
        assert_eq!(&bytes[0x3000..0x4000], &pattern(9, 0x4000)[0x1800..0x2800]);
        assert_eq!(bytes.len(), 0x7000, "each byte goes out once");
    }

    /// A part must be wholly in the other, in the file and in memory, and come from the same place.
    #[test]
    fn what_is_half_a_part_is_an_overlap() {
        let ram = load(0x10_0000, 0, 0x10_0000, 0x4000);
        let wrong = [
            Segment { vaddr: 7, ..ram },
            load(0x10_3000, 0, 0x10_3000, 0x2000),
            load(0x10_1000, 0, 0x10_2000, 0x1000),
            Segment { memsz: 0x8000, ..load(0x10_1000, 0, 0x10_1000, 0x1000) },
        ];
        for part in wrong {
            assert!(matches!(refusal(&[ram, part]), Error::Overlap { .. }), "{part:?}");
            assert!(matches!(refusal(&[part, ram]), Error::Overlap { .. }), "{part:?}");
        }
    }

    #[test]
    fn what_has_no_bytes_has_no_place() {
        let empty = [load(0x1000, 0, 0x1000, 0), load(0x1000, 0, 0x1000, 0x1000)];
        let (result, ..) = capture(EM_386, Class::Elf64, &empty, FakeMemory::default());
        let view = result.expect("nothing overlaps nothing").view;
        let expected = Extent::Phys(range(0x1000, 0x2000));
        assert_eq!((view.extents().len(), &view.extents()[1], view.len()), (2, &expected, 0x2000));
    }

    /// Properties of every vmcore, for any header. goblin reads the file's head.
    fn check_invariants(vmcore: &Vmcore) {
        let extents = vmcore.view.extents();
        assert_eq!(extents.iter().map(Extent::len).sum::<u64>(), vmcore.view.len());
        assert!(
            vmcore.view.len().is_multiple_of(4096) && extents.iter().all(|extent| extent.len() > 0)
        );
        let Extent::Bytes(head) = &extents[0] else { panic!("the head is {:?}", extents[0]) };
        let header = Elf::parse_header(head).expect("an ELF header");
        let context = vmcore_context(vmcore.class);
        let count = usize::from(header.e_phnum);
        let table =
            goblin::elf::ProgramHeader::parse(head, header.e_phoff as usize, count, context)
                .expect("program headers");
        assert!(table[0].p_type == 4 && table[1..].iter().all(|ph| ph.p_type == 1));
        for (index, ph) in table.iter().enumerate().skip(1) {
            assert_eq!(ph.p_offset % 4096, ph.p_paddr % 4096);
            assert!(ph.p_filesz <= ph.p_memsz && ph.p_paddr + ph.p_memsz <= LIMIT);
            assert!(ph.p_offset + ph.p_filesz <= vmcore.view.len());
            for other in &table[1..index] {
                let apart = ph.p_paddr + ph.p_memsz <= other.p_paddr
                    || other.p_paddr + other.p_memsz <= ph.p_paddr;
                let same = ph.p_paddr.wrapping_sub(ph.p_offset)
                    == other.p_paddr.wrapping_sub(other.p_offset);
                let empty = ph.p_memsz == 0 || other.p_memsz == 0;
                assert!(apart || same || empty, "{ph:?} {other:?}");
                // A part leads back into its whole, past the entries between them in the table.
                let apart_in_file = other.p_offset + other.p_filesz <= ph.p_offset
                    || ph.p_offset + ph.p_filesz <= other.p_offset;
                assert!(same || empty || apart_in_file, "{ph:?} {other:?}");
            }
        }
        for (index, extent) in extents.iter().enumerate() {
            match extent {
                Extent::Bytes(_) => assert_eq!(index, 0, "only the head is made of bytes"),
                Extent::Zero(length) => assert!(*length < 4096, "a gap of {length}"),
                Extent::Phys(range) => assert!(
                    !extents[..index].iter().any(
                        |other| matches!(other, Extent::Phys(other) if other.overlaps(*range))
                    ),
                    "{range} goes out twice"
                ),
                Extent::Left(..) => panic!("nothing is left out"),
            }
        }
    }

    fn vmcore_context(class: Class) -> goblin::container::Ctx {
        use goblin::container::{Container, Ctx, Endian};
        let container = if class == Class::Elf32 { Container::Little } else { Container::Big };
        Ctx::new(container, Endian::Little)
    }

    fn any_load() -> impl Strategy<Value = Segment> {
        let place = 0u64..(1 << 34);
        let vaddr = prop_oneof![Just(0), Just(u64::MAX), 0xc000_0000u64..0xf000_0000];
        (place.clone(), vaddr, place, 0u64..0x10_0000, any::<bool>()).prop_map(
            |(source, vaddr, paddr, size, moved)| {
                load(source, vaddr, if moved { paddr } else { source }, size)
            },
        )
    }

    proptest! {
        #[test]
        fn every_accepted_header_makes_a_sound_vmcore(
            loads in prop::collection::vec(any_load(), 0..12),
            areas in prop::collection::vec((0u64..0x9000, 0u64..0x2000), 0..4),
            bytes in prop::collection::vec(any::<u8>(), 0x1000),
        ) {
            let mut segments: Vec<_> = areas.iter().map(|(at, size)| note_area(*at, *size)).collect();
            segments.extend(loads);
            segments.push(load(0, 0, 0, 0));
            let memory = FakeMemory::with(0, bytes).and(0x1000, vec![0; 0x9000]);
            if let (Ok(vmcore), ..) = capture(EM_386, Class::Elf64, &segments, memory) {
                check_invariants(&vmcore);
            }
        }

        #[test]
        fn a_mutated_header_is_refused_or_sound(
            wide: bool,
            changes in prop::collection::vec((0usize..400, any::<u8>()), 1..5),
        ) {
            let Machine { segments, memory, .. } = machine();
            let class = if wide { Class::Elf64 } else { Class::Elf32 };
            let count = if wide { 6 } else { 5 };
            let mut block = build(EM_386, class, &segments[..count]).expect("a block of a test");
            for (offset, value) in changes {
                let length = block.len();
                block[offset % length] = value;
            }
            let mem = memory.and(BLOCK, block);
            let elfcorehdr = ElfCoreHdr { addr: PhysAddr::new(BLOCK), size: None };
            let made = CoreHeader::read(&mem, elfcorehdr).and_then(|header| {
                vmcore(&header, &mem, LIMIT, &Holes::new(), &mut |area| assert!(!format!("{area}").is_empty()))
            });
            if let Ok(vmcore) = made {
                check_invariants(&vmcore);
            }
        }

        /// A read of any length at any place is the same part of the whole file.
        #[test]
        fn reads_span_extents(start in 0usize..0xa000, length in 0usize..0xa000) {
            let Machine { segments, memory, .. } = machine();
            let (result, _, mem) = capture(EM_386, Class::Elf64, &segments, memory);
            let vmcore = result.expect("a good machine");
            let whole = file(&vmcore, &mem);
            let mut part = vec![0xee; length];
            let count = vmcore.view.read_at(DumpOffset::new(start as u64), &mut part, &mem);
            let expected = whole.get(start..).unwrap_or_default();
            let expected = &expected[..length.min(expected.len())];
            prop_assert_eq!(count, Ok(expected.len()));
            prop_assert_eq!(&part[..expected.len()], expected);
        }
    }
}
