//! A vmcore in a file of one of several formats, or on a dump disk.

use std::path::{Path, PathBuf};

use dumpfile::LeftRanges;
use linux::{KernelMemory, SegmentMap, with_virtual_addresses};
use vmcore::{
    Class, CoreHeader, EM_386, ElfCoreHdr, Level, MAX_NOTES, NAME_CORE, NAME_VMCOREINFO, Note,
    PhysAddr, PhysRange, RangeSet, ReadPhys, Segment, SegmentKind, note_of_text, notes,
};

use crate::kdump_pages::KdumpPages;
use crate::kind::FileKind;
use crate::link_memory::LinkMemory;
use crate::range_map;
use crate::vmcore_bytes::{self, Bytes, Source};
use crate::{Error, LinkOptions, Timeouts};

/// Name of the note that QEMU adds to its dumps, one for each CPU.
const NAME_QEMU: &[u8] = b"QEMU";
/// Type of the note with a program's name and arguments (`NT_PRPSINFO`). A machine's core has none.
const NT_PRPSINFO: u32 = 3;
/// Length of the longest header in bytes. An unreadable header this near the end of the file is cut
/// off.
const LONGEST_HEADER: u64 = 64;

/// A vmcore that is open for reading. Its headers and notes have been read, its memory has not.
#[derive(Debug)]
pub struct VmcoreFile {
    path: PathBuf,
    bytes: Bytes,
    /// Width of its headers. A kdump-compressed file has that of the ELF core made of it.
    pub class: Class,
    /// The dead kernel's machine (`e_machine`).
    pub machine: u16,
    /// The PT_LOADs and PT_NOTEs. Their `source` is an offset in the vmcore, in bytes. A
    /// kdump-compressed file has PT_LOADs for its ranges of RAM, with physical addresses as
    /// `source`.
    pub segments: Vec<Segment>,
    map: SegmentMap,
    notes: Vec<Vec<u8>>,
}

/// Missing part of a cut vmcore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Length of the whole vmcore in bytes, from its headers.
    pub whole: u64,
    /// Missing physical memory, in ascending order. Empty if only notes are missing.
    pub memory: Vec<PhysRange>,
}

impl VmcoreFile {
    /// Opens a vmcore, or a dump disk that holds a complete one: the newest.
    ///
    /// # Errors
    /// As for [`Self::open_dump`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        Self::open_dump(path, None)
    }

    /// The same, where the dump with this number is wanted from a disk.
    ///
    /// # Errors
    /// [`Error::OtherKind`], [`Error::OldMem`], [`Error::Cut`] for incomplete headers,
    /// [`Error::Vmcore`], [`Error::Kdump`] or [`Error::Flattened`] with the check of the headers
    /// that failed, [`Error::NotADisk`] for a number without a disk, or an error of the system. For
    /// a dump disk also those of [`DumpDisk::choose`] and [`DumpDisk::check_complete`].
    pub fn open_dump(path: &Path, number: Option<u64>) -> Result<Self, Error> {
        let bytes = vmcore_bytes::find(path, number)?;
        let vmcore = match &bytes.source {
            Source::Pages(_) => Self::of_pages(path, bytes),
            Source::File(_) | Source::Bulk(_) | Source::Link(_) => Self::of_core(path, bytes),
        }?;
        match vmcore.is_of_program() {
            false => Ok(vmcore),
            true => {
                let (path, kind) = (vmcore.path, FileKind::ProgramCore);
                Err(Error::OtherKind { path, kind, disk: false })
            }
        }
    }

    /// Opens the vmcore of a capture kernel that serves read requests at the other end of a line;
    /// memory is pulled as it is read. Of a disk, as [`Self::open_dump`].
    ///
    /// # Errors
    /// As for [`Self::open_dump`], or the reason why nothing came.
    pub fn open_source(
        source: &crate::Source,
        number: Option<u64>,
        options: LinkOptions,
        timeouts: Timeouts,
    ) -> Result<Self, Error> {
        if let crate::Source::Disk(path) = source {
            return Self::open_dump(path, number);
        }
        let link = LinkMemory::open(source, options, timeouts)?;
        let bytes = Bytes { source: Source::Link(Box::new(link)), length: u64::MAX };
        let mut vmcore = Self::of_core(Path::new(&source.to_string()), bytes)?;
        let end = |segment: &Segment| segment.source.get().saturating_add(segment.filesz);
        let length = vmcore.segments.iter().map(end).max().unwrap_or(0);
        vmcore.bytes.length = length;
        if let Source::Link(link) = &mut vmcore.bytes.source {
            link.set_length(length);
        }
        Ok(vmcore)
    }

    /// Reads the headers of an ELF core.
    fn of_core(path: &Path, bytes: Bytes) -> Result<Self, Error> {
        let length = bytes.length;
        let error = |source| match source {
            vmcore::Error::Unreadable { at } if at.get() + LONGEST_HEADER > length => {
                Error::Cut { path: path.to_owned(), what: "its headers are", length }
            }
            source => Error::Vmcore { path: path.to_owned(), source: source.into() },
        };
        let front = ElfCoreHdr { addr: PhysAddr::new(0), size: None };
        let header = CoreHeader::read(&bytes, front).map_err(error)?;
        let segments: Result<Vec<_>, _> = header.segments(&bytes).collect();
        let segments = segments.map_err(error)?;
        let notes = read_notes(&bytes, &segments).map_err(error)?;
        Self::new(path, bytes, (header.class, header.machine), segments, notes)
    }

    /// The same from the headers and bitmaps of a kdump-compressed file.
    fn of_pages(path: &Path, bytes: Bytes) -> Result<Self, Error> {
        let Source::Pages(pages) = &bytes.source else { return Self::of_core(path, bytes) };
        let machine = pages.machine();
        let loads = pages.loads().map_err(|source| {
            let (path, source) = (path.to_owned(), source.into());
            Error::Vmcore { path, source }
        })?;
        let mut notes = vec![pages.part(pages.header.notes, path)?];
        let has_text = self::notes(&notes[0]).flatten().any(|note| note.is_vmcoreinfo());
        if !has_text && pages.header.vmcoreinfo.size > 0 {
            let text = pages.part(pages.header.vmcoreinfo, path)?;
            notes.extend(note_of_text(NAME_VMCOREINFO, &text).ok());
        }
        let class = match machine {
            EM_386 => Class::narrowest(PhysAddr::new(pages.end())),
            _ => Class::Elf64,
        };
        Self::new(path, bytes, (class, machine), loads, notes)
    }

    fn new(
        path: &Path,
        bytes: Bytes,
        (class, machine): (Class, u16),
        segments: Vec<Segment>,
        notes: Vec<Vec<u8>>,
    ) -> Result<Self, Error> {
        let map = SegmentMap::default();
        let path = path.to_owned();
        let mut vmcore = Self { path, bytes, class, machine, segments, map, notes };
        let error = |source| Error::Vmcore { path: vmcore.path.clone(), source };
        let has_none = vmcore.is_kdump() || vmcore.is_qemus();
        if let (true, Ok(text)) = (has_none, vmcore.vmcoreinfo()) {
            let is_load = |segment: &&Segment| segment.kind == SegmentKind::Load;
            let loads: Vec<_> = vmcore.segments.iter().filter(is_load).copied().collect();
            let loads = with_virtual_addresses(&vmcore.bytes, &loads, text, machine);
            let loads = loads.map_err(error)?;
            vmcore.segments.retain(|segment| segment.kind == SegmentKind::Note);
            vmcore.segments.extend(loads);
        }
        let map = SegmentMap::new(vmcore.segments.iter().copied().map(Ok));
        vmcore.map = map.map_err(|source| Error::Vmcore { path: vmcore.path.clone(), source })?;
        Ok(vmcore)
    }

    /// True if it is the core of a program. /proc/kcore has the same note, but also a VMCOREINFO.
    fn is_of_program(&self) -> bool {
        self.notes().any(|note| note.name == NAME_CORE && note.kind == NT_PRPSINFO)
            && self.vmcoreinfo().is_err()
    }

    /// True if it is kdump-compressed.
    pub(crate) const fn is_kdump(&self) -> bool {
        self.pages().is_some()
    }

    /// The pages of a kdump-compressed file.
    pub(crate) const fn pages(&self) -> Option<&KdumpPages> {
        match &self.bytes.source {
            Source::Pages(pages) => Some(pages),
            Source::File(_) | Source::Bulk(_) | Source::Link(_) => None,
        }
    }

    /// True if it is in a flattened file.
    pub(crate) const fn is_flattened(&self) -> bool {
        match &self.bytes.source {
            Source::File(file) => file.is_flattened(),
            Source::Pages(pages) => pages.file().is_flattened(),
            Source::Bulk(_) | Source::Link(_) => false,
        }
    }

    /// The dead kernel's architecture: `i386` or `x86_64`.
    pub const fn machine_name(&self) -> &'static str {
        if self.machine == EM_386 { "i386" } else { "x86_64" }
    }

    /// Its bytes, at offsets as the `source` of a segment.
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The places of its memory.
    pub const fn map(&self) -> &SegmentMap {
        &self.map
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The parts that are left out for a reason that is known, and the level that it was made at.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn left_out(&self) -> Result<(LeftRanges, Level), Error> {
        let level = |bits: u32| Level::new((bits & 31) as u8).unwrap_or_default();
        match &self.bytes.source {
            Source::Pages(pages) => Ok((LeftRanges::new(), level(pages.header.dump_level))),
            Source::Bulk(bulk) => Ok((bulk.survey(false)?.left, level(bulk.level().into()))),
            Source::Link(_) => Ok(Default::default()),
            Source::File(_) => {
                let received = range_map::beside(&self.path, self.length());
                Ok(received
                    .map_or_else(Default::default, |view| (view.left, level(view.level.into()))))
            }
        }
    }

    /// True if it is a dump on a dump disk, not a file of its own.
    pub const fn is_on_disk(&self) -> bool {
        matches!(self.bytes.source, Source::Bulk(_))
    }

    /// True if QEMU wrote it, not a capture kernel.
    pub fn is_qemus(&self) -> bool {
        let by_name = self.pages().is_some_and(|pages| pages.header.utsname[0][0] == 0);
        by_name || self.notes().any(|note| note.name == NAME_QEMU)
    }

    /// The missing part, if the file is shorter than its headers require.
    pub fn missing(&self) -> Option<Missing> {
        let filled = || self.segments.iter().filter(|segment| segment.filesz > 0);
        let end = |segment: &Segment| segment.source.get().saturating_add(segment.filesz);
        let whole = filled().map(end).max().filter(|end| *end > self.bytes.length)?;
        let loads = filled().filter(|segment| segment.kind == SegmentKind::Load);
        let memory = RangeSet::union(loads.filter_map(|load| self.missing_of(load))).ok()?;
        Some(Missing { whole, memory: memory.iter().collect() })
    }

    /// The missing physical memory of a PT_LOAD. `None` if nothing is missing or the range does not
    /// fit in 64 bits.
    fn missing_of(&self, load: &Segment) -> Option<PhysRange> {
        let there = self.bytes.length.saturating_sub(load.source.get());
        let start = load.paddr.checked_add(there)?;
        PhysRange::from_bounds(start, load.paddr.checked_add(load.filesz)?).ok()
    }

    /// Length in bytes.
    pub const fn length(&self) -> u64 {
        match &self.bytes.source {
            Source::Pages(pages) => pages.file().length(),
            Source::File(_) | Source::Bulk(_) | Source::Link(_) => self.bytes.length,
        }
    }

    /// Its notes, those of a damaged area up to the damage.
    pub fn notes(&self) -> impl Iterator<Item = Note<'_>> {
        self.notes.iter().flat_map(|area| notes(area)).filter_map(Result::ok)
    }

    /// The areas of its notes.
    pub(crate) fn note_areas(&self) -> impl Iterator<Item = &[u8]> {
        self.notes.iter().map(Vec::as_slice)
    }

    /// The whole notes of all areas, one after the other.
    pub fn all_notes(&self) -> Vec<u8> {
        let mut all = Vec::new();
        for area in self.note_areas() {
            let mut walk = notes(area);
            while let Some(Ok(_)) = walk.next() {}
            all.extend_from_slice(&area[..walk.offset()]);
            all.resize(all.len().next_multiple_of(4), 0);
        }
        all
    }

    /// The text of its VMCOREINFO note.
    ///
    /// # Errors
    /// [`Error::NoVmcoreinfo`].
    pub fn vmcoreinfo(&self) -> Result<&[u8], Error> {
        let found = self.notes().find(Note::is_vmcoreinfo).map(|note| note.desc);
        let (path, by_qemu) = (&self.path, self.is_qemus());
        found.ok_or_else(|| Error::NoVmcoreinfo { path: path.clone(), by_qemu })
    }

    /// The dead kernel's memory by virtual addresses.
    pub fn memory(&self) -> KernelMemory<'_, impl ReadPhys> {
        KernelMemory::new(&self.bytes, &self.map)
    }

    /// For `map_err`: the error for an unreadable log.
    pub(crate) fn log_error(&self, source: linux::Error) -> Error {
        let path = self.path.clone();
        match source {
            linux::Error::Dump(vmcore::Error::Unreadable { .. }) if self.missing().is_some() => {
                let (what, length) = ("the log is", self.length());
                Error::Cut { path, what, length }
            }
            source => Error::Vmcore { path, source },
        }
    }
}

/// The note areas, [`MAX_NOTES`] bytes of them at most. An area that is cut off is read up to the
/// cut.
fn read_notes(bytes: &Bytes, segments: &[Segment]) -> Result<Vec<Vec<u8>>, vmcore::Error> {
    let mut room = MAX_NOTES;
    let mut areas = Vec::new();
    for segment in segments.iter().filter(|segment| segment.kind == SegmentKind::Note) {
        let there = bytes.length.saturating_sub(segment.source.get()).min(segment.filesz);
        let length = usize::try_from(there).unwrap_or(usize::MAX).min(room);
        let mut area = vec![0; length];
        bytes.read_phys(segment.source, &mut area)?;
        room -= length;
        areas.push(area);
    }
    Ok(areas)
}
