//! Opening and measuring disks, be they files or block devices.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use dumpfile::disk::FIRST_OFFSET;

use crate::Error;
use crate::in_use::InUse;
use crate::kind::{FRONT, FileKind};

/// Opens a file or a block device for reading. Other kinds are refused before the open: opening a
/// pipe would wait for its other end. `disk` is true if only a dump disk is wanted.
///
/// # Errors
/// [`Error::OtherKind`], [`Error::Open`].
pub(crate) fn open(path: &Path, disk: bool) -> Result<File, Error> {
    let error = |source| Error::Open { path: path.to_owned(), source };
    let kind = path.metadata().map_err(error)?.file_type();
    match FileKind::of_type(kind, path) {
        Some(kind) => Err(Error::OtherKind { path: path.to_owned(), kind, disk }),
        None => File::open(path).map_err(error),
    }
}

/// Opens a disk for reading and writing. A block device must have no user. It is opened exclusively,
/// so Linux also refuses one whose user cannot be seen from here, and one that finds a user
/// meanwhile (open(2), `O_EXCL`).
pub(crate) fn open_to_write(path: &Path) -> Result<File, Error> {
    let error = |source: io::Error| match source.kind() {
        io::ErrorKind::ResourceBusy => Error::Busy(path.to_owned()),
        _ => Error::Open { path: path.to_owned(), source },
    };
    let metadata = path.metadata().map_err(error)?;
    let kind = metadata.file_type();
    if let Some(kind) = FileKind::of_type(kind, path) {
        return Err(Error::OtherKind { path: path.to_owned(), kind, disk: true });
    }
    let is_block = kind.is_block_device();
    let number = metadata.rdev();
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    let user = is_block.then(|| InUse::find(Path::new("/"), major, minor)).flatten();
    if let Some(in_use) = user {
        return Err(Error::InUse { path: path.to_owned(), in_use });
    }
    let flags = if is_block { libc::O_EXCL } else { 0 };
    OpenOptions::new().read(true).write(true).custom_flags(flags).open(path).map_err(error)
}

/// Length of a file or block device in bytes. The position is at its end afterwards.
pub(crate) fn size(disk: &mut File, path: &Path) -> Result<u64, Error> {
    disk.seek(SeekFrom::End(0)).map_err(Error::io("read", path))
}

/// The first blocks of a disk, where its headers are, or as much of them as there is.
pub(crate) fn front(disk: &mut File, path: &Path) -> Result<Vec<u8>, Error> {
    const { assert!(FRONT == FIRST_OFFSET as usize, "headers are what tells the kind of a file") };
    let mut front = Vec::with_capacity(FRONT);
    disk.rewind().map_err(Error::io("read", path))?;
    disk.take(FRONT as u64).read_to_end(&mut front).map_err(Error::io("read", path))?;
    Ok(front)
}

/// Bytes at each end of a disk where file systems, RAID, LVM and ZFS have what they are known by.
const MARGIN: u64 = 1 << 20;

/// Offset of the first byte in the first or last MiB of a disk of `size` bytes that is not zero.
pub(crate) fn first_used(disk: &File, size: u64, path: &Path) -> Result<Option<u64>, Error> {
    let mut piece = vec![0; FRONT];
    let end = size.saturating_sub(MARGIN).max(MARGIN.min(size));
    for (start, end) in [(0, MARGIN.min(size)), (end, size)] {
        for at in (start..end).step_by(FRONT) {
            let here = &mut piece[..(end - at).min(FRONT as u64) as usize];
            disk.read_exact_at(here, at).map_err(Error::io("read", path))?;
            if let Some(byte) = here.iter().position(|byte| *byte != 0) {
                return Ok(Some(at + byte as u64));
            }
        }
    }
    Ok(None)
}
