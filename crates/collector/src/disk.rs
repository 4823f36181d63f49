//! Opening and measuring disks, be they files or block devices.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use dumpfile::disk::FIRST_OFFSET;

use crate::Error;
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

/// Opens a disk for reading and writing. A block device is opened exclusively: Linux then refuses a
/// mounted one, or one with a mounted partition (open(2), `O_EXCL`).
pub(crate) fn open_to_write(path: &Path) -> Result<File, Error> {
    let error = |source: io::Error| match source.kind() {
        io::ErrorKind::ResourceBusy => Error::Busy(path.to_owned()),
        _ => Error::Open { path: path.to_owned(), source },
    };
    let kind = path.metadata().map_err(error)?.file_type();
    if let Some(kind) = FileKind::of_type(kind, path) {
        return Err(Error::OtherKind { path: path.to_owned(), kind, disk: true });
    }
    let is_block = kind.is_block_device();
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
