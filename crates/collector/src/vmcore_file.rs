//! A vmcore in a file, or on a dump disk.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use vmcore::{
    CoreHeader, ElfCoreHdr, KernelMemory, MAX_NOTES, Note, PhysAddr, ReadPhys, Segment,
    SegmentKind, notes,
};

use crate::dump_disk::DumpDisk;
use crate::{Error, disk};

/// A vmcore that is open for reading. Its headers and notes have been read, its memory has not.
#[derive(Debug)]
pub struct VmcoreFile {
    path: PathBuf,
    bytes: Window,
    /// The ELF header.
    pub header: CoreHeader,
    /// The PT_LOADs and PT_NOTEs. Their `source` is an offset in the vmcore, in bytes.
    pub segments: Vec<Segment>,
    notes: Vec<Vec<u8>>,
}

/// The part of a file that is the vmcore. What the crate `vmcore` takes for a physical address
/// (`p_offset` of an ELF core header) is an offset here.
#[derive(Debug)]
struct Window {
    file: File,
    start: u64,
    length: u64,
}

impl ReadPhys for Window {
    fn read_phys(&self, at: PhysAddr, into: &mut [u8]) -> Result<(), vmcore::Error> {
        let unreadable = vmcore::Error::Unreadable { at };
        let end = at.checked_add(into.len() as u64).ok_or(unreadable)?;
        let start = self.start.checked_add(at.get()).ok_or(unreadable)?;
        if end.get() > self.length {
            return Err(unreadable);
        }
        self.file.read_exact_at(into, start).map_err(|_| unreadable)
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
    /// [`Error::NotVmcore`], [`Error::Vmcore`] with the check of the headers that failed, those of
    /// [`DumpDisk::choose`] and [`DumpDisk::check_complete`] for a dump disk, [`Error::NotADisk`] for a
    /// number and no disk, or what the system says.
    pub fn open_dump(path: &Path, number: Option<u64>) -> Result<Self, Error> {
        let bytes = window(path, number)?;
        let error = |source| Error::vmcore(path, source);
        let front = ElfCoreHdr { addr: PhysAddr::new(0), size: None };
        let header = CoreHeader::read(&bytes, front).map_err(error)?;
        let segments: Result<Vec<_>, _> = header.segments(&bytes).collect();
        let segments = segments.map_err(error)?;
        let notes = read_notes(&bytes, &segments).map_err(error)?;
        Ok(Self { path: path.to_owned(), bytes, header, segments, notes })
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
        found.ok_or_else(|| Error::NoVmcoreinfo(self.path.clone()))
    }

    /// The dead kernel's memory by virtual addresses.
    pub fn memory(&self) -> KernelMemory<'_, impl ReadPhys> {
        KernelMemory::new(&self.bytes, &self.segments)
    }

    /// For `map_err`: what is wrong with this file.
    pub(crate) fn error(&self, source: vmcore::Error) -> Error {
        Error::vmcore(&self.path, source)
    }
}

/// Finds out where in the file the vmcore is.
fn window(path: &Path, number: Option<u64>) -> Result<Window, Error> {
    match DumpDisk::open_if_ours(path)? {
        Ok(disk) => {
            let dump = disk.choose(number)?.clone();
            disk.check_complete(&dump)?;
            // What is no vmcore has no ELF header, and is refused for that.
            Ok(Window { file: disk.into_file(), start: dump.offset, length: dump.length })
        }
        Err(_) if number.is_some() => Err(Error::NotADisk(path.to_owned())),
        Err((mut file, _)) => {
            let length = disk::size(&mut file, path)?;
            Ok(Window { file, start: 0, length })
        }
    }
}

/// The note areas, [`MAX_NOTES`] bytes of them at most.
fn read_notes(bytes: &Window, segments: &[Segment]) -> Result<Vec<Vec<u8>>, vmcore::Error> {
    let mut room = MAX_NOTES;
    let mut areas = Vec::new();
    for segment in segments.iter().filter(|segment| segment.kind == SegmentKind::Note) {
        let length = usize::try_from(segment.filesz).unwrap_or(usize::MAX).min(room);
        let mut area = vec![0; length];
        bytes.read_phys(segment.source, &mut area)?;
        room -= length;
        areas.push(area);
    }
    Ok(areas)
}
