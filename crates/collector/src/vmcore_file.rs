//! A vmcore in a file, or on a dump disk.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use dumpfile::Contents;
use linux::{KernelMemory, SegmentMap};
use vmcore::{
    CoreHeader, ElfCoreHdr, MAX_NOTES, NAME_CORE, Note, PhysAddr, PhysRange, RangeSet, ReadPhys,
    Segment, SegmentKind, notes,
};

use crate::dump_disk::DumpDisk;
use crate::kind::FileKind;
use crate::stored_bulk::StoredBulk;
use crate::{Error, disk};

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
    /// The ELF header.
    pub header: CoreHeader,
    /// The PT_LOADs and PT_NOTEs. Their `source` is an offset in the vmcore, in bytes.
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

/// The bytes of the vmcore. A physical address in the crate `vmcore` (`p_offset` of an ELF core
/// header) is an offset here.
#[derive(Debug)]
struct Bytes {
    source: Source,
    length: u64,
}

#[derive(Debug)]
enum Source {
    /// A file of its own.
    File(File),
    /// A dump on a disk.
    Bulk(Box<StoredBulk>),
}

impl ReadPhys for Bytes {
    fn read_phys(&self, at: PhysAddr, into: &mut [u8]) -> Result<(), vmcore::Error> {
        let unreadable = vmcore::Error::Unreadable { at };
        let end = at.checked_add(into.len() as u64).ok_or(unreadable)?;
        if end.get() > self.length {
            return Err(unreadable);
        }
        match &self.source {
            Source::File(file) => file.read_exact_at(into, at.get()).map_err(|_| unreadable),
            Source::Bulk(bulk) => bulk.read(at.get(), into).map_err(|_| unreadable),
        }
    }
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
    /// [`Error::Vmcore`] with the check of the headers that failed, [`Error::NotADisk`] for a
    /// number without a disk, or an error of the system. For a dump disk also those of
    /// [`DumpDisk::choose`] and [`DumpDisk::check_complete`].
    pub fn open_dump(path: &Path, number: Option<u64>) -> Result<Self, Error> {
        let bytes = bytes(path, number)?;
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
        let map = SegmentMap::new(segments.iter().copied().map(Ok));
        let map = map.map_err(|source| Error::Vmcore { path: path.to_owned(), source })?;
        let vmcore = Self { path: path.to_owned(), bytes, header, segments, map, notes };
        match vmcore.is_of_program() {
            false => Ok(vmcore),
            true => {
                let (path, kind) = (vmcore.path, FileKind::ProgramCore);
                Err(Error::OtherKind { path, kind, disk: false })
            }
        }
    }

    /// True if it is the core of a program. /proc/kcore has the same note, but also a VMCOREINFO.
    fn is_of_program(&self) -> bool {
        self.notes().any(|note| note.name == NAME_CORE && note.kind == NT_PRPSINFO)
            && self.vmcoreinfo().is_err()
    }

    /// True if it is a dump on a dump disk, not a file of its own.
    pub(crate) const fn is_on_disk(&self) -> bool {
        matches!(self.bytes.source, Source::Bulk(_))
    }

    /// True if QEMU wrote it, not a capture kernel.
    pub fn is_qemus(&self) -> bool {
        self.notes().any(|note| note.name == NAME_QEMU)
    }

    /// The missing part, if the file is shorter than its headers require.
    pub fn missing(&self) -> Option<Missing> {
        let filled = || self.segments.iter().filter(|segment| segment.filesz > 0);
        let end = |segment: &Segment| segment.source.get().saturating_add(segment.filesz);
        let whole = filled().map(end).max().filter(|end| *end > self.length())?;
        let loads = filled().filter(|segment| segment.kind == SegmentKind::Load);
        let memory = RangeSet::union(loads.filter_map(|load| self.missing_of(load))).ok()?;
        Some(Missing { whole, memory: memory.iter().collect() })
    }

    /// The missing physical memory of a PT_LOAD. `None` if nothing is missing or the range does not
    /// fit in 64 bits.
    fn missing_of(&self, load: &Segment) -> Option<PhysRange> {
        let there = self.length().saturating_sub(load.source.get());
        let start = load.paddr.checked_add(there)?;
        PhysRange::from_bounds(start, load.paddr.checked_add(load.filesz)?).ok()
    }

    /// Length in bytes.
    pub const fn length(&self) -> u64 {
        self.bytes.length
    }

    /// Its notes, those of a damaged area up to the damage.
    pub fn notes(&self) -> impl Iterator<Item = Note<'_>> {
        self.notes.iter().flat_map(|area| notes(area)).filter_map(Result::ok)
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

/// Finds out where the vmcore is.
fn bytes(path: &Path, number: Option<u64>) -> Result<Bytes, Error> {
    match DumpDisk::open_if_ours(path, false)? {
        Ok(disk) => {
            let dump = disk.choose(number)?.clone();
            disk.check_complete(&dump)?;
            if dump.contents != Contents::Vmcore {
                return Err(Error::OldMem(path.to_owned()));
            }
            Ok(Bytes { source: Source::Bulk(Box::new(disk.bulk(&dump)?)), length: dump.length })
        }
        Err(_) if number.is_some() => Err(Error::NotADisk(path.to_owned())),
        Err((_, kind)) if kind != FileKind::Core => {
            Err(Error::OtherKind { path: path.to_owned(), kind, disk: false })
        }
        Err((mut file, _)) => {
            let length = disk::size(&mut file, path)?;
            Ok(Bytes { source: Source::File(file), length })
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
