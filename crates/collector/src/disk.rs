//! Opening and measuring disks, be they files or block devices.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use dumpfile::disk::v1::{DiskHeader, HEADER_SIZE};

use crate::Error;

/// Opens a disk for reading.
pub(crate) fn open(path: &Path) -> Result<File, Error> {
    File::open(path).map_err(|source| Error::Open { path: path.to_owned(), source })
}

/// Opens a disk for reading and writing. A block device is opened exclusively: Linux then refuses
/// one that is mounted, or one of whose partitions is (open(2), `O_EXCL`).
pub(crate) fn open_to_write(path: &Path) -> Result<File, Error> {
    let error = |source: io::Error| match source.kind() {
        io::ErrorKind::ResourceBusy => Error::Busy(path.to_owned()),
        _ => Error::Open { path: path.to_owned(), source },
    };
    let is_block = path.metadata().map_err(error)?.file_type().is_block_device();
    let flags = if is_block { libc::O_EXCL } else { 0 };
    OpenOptions::new().read(true).write(true).custom_flags(flags).open(path).map_err(error)
}

/// Length of a file or block device in bytes. The position is at its end afterwards.
pub(crate) fn size(disk: &mut File, path: &Path) -> Result<u64, Error> {
    disk.seek(SeekFrom::End(0)).map_err(Error::io("read", path))
}

/// The first block of a disk, or as much of it as there is.
pub(crate) fn first_block(disk: &mut File, path: &Path) -> Result<Vec<u8>, Error> {
    let mut block = Vec::with_capacity(HEADER_SIZE);
    disk.rewind().map_err(Error::io("read", path))?;
    disk.take(HEADER_SIZE as u64).read_to_end(&mut block).map_err(Error::io("read", path))?;
    Ok(block)
}

/// The header at the front of a dump disk.
///
/// # Errors
/// [`Error::Open`], [`Error::Io`], or [`Error::Header`] when it is not a dump disk.
pub fn read_header(path: &Path) -> Result<DiskHeader, Error> {
    header(&mut open(path)?, path)
}

pub(crate) fn header(disk: &mut File, path: &Path) -> Result<DiskHeader, Error> {
    DiskHeader::decode(&first_block(disk, path)?)
        .map_err(|source| Error::Header { path: path.to_owned(), source })
}
