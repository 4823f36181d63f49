//! Making a disk ours.

use std::fs::File;
use std::io::{Seek, Write};
use std::path::Path;

use dumpfile::disk::{FIRST_OFFSET, FoundDisk};
use dumpfile::partitions::is_partition_table;
use dumpfile::{DiskError, DiskHeader, DiskId};

use crate::kind::FileKind;
use crate::{DumpDisk, Error, disk};

/// Writes the headers of an empty dump disk and returns its id: the given one, else a random one.
/// The old contents of the disk are lost, so `force` is needed if they could be of use to anybody.
///
/// # Errors
/// [`Error::InUse`] or [`Error::Busy`] if the disk is in use (even with `force`),
/// [`Error::Partitioned`] if it has a partition table, [`Error::Foreign`] or [`Error::NotEmpty`] if
/// it is neither empty nor ours, [`Error::HoldsDump`] if it holds a complete dump,
/// [`Error::TooSmall`], or an error of the system.
pub fn format(path: &Path, id: Option<DiskId>, force: bool) -> Result<DiskId, Error> {
    let mut disk = disk::open_to_write(path)?;
    let front = disk::front(&mut disk, path)?;
    let size = disk::size(&mut disk, path)?;
    if !force {
        check_free(&front, path)?;
        let is_empty = front.iter().all(|byte| *byte == 0);
        let used = is_empty.then(|| disk::first_used(&disk, size, path)).transpose()?.flatten();
        if let Some(at) = used {
            return Err(Error::NotEmpty { path: path.to_owned(), at });
        }
    }
    if size <= FIRST_OFFSET {
        return Err(Error::TooSmall { path: path.to_owned(), size });
    }
    let id = id.map_or_else(random_id, Ok)?;
    write_headers(&mut disk, &header(id, &front)).map_err(Error::io("write", path))?;
    Ok(id)
}

/// Checks that the disk may be overwritten without asking.
fn check_free(front: &[u8], path: &Path) -> Result<(), Error> {
    if front.iter().all(|byte| *byte == 0) {
        return Ok(());
    }
    let refuse = |source| match source {
        // It may hold dumps, which this program cannot read.
        DiskError::Version(version) => Error::OtherVersion { path: path.to_owned(), version },
        DiskError::Partitioned => Error::Partitioned(path.to_owned()),
        DiskError::NotOurs if is_partition_table(front) => Error::Partitioned(path.to_owned()),
        _ => Error::Foreign { path: path.to_owned(), kind: FileKind::of(front) },
    };
    let found = FoundDisk::decode(front).map_err(refuse)?;
    let disk = DumpDisk::new(disk::open(path, true)?, path, found)?;
    let complete = || disk.dumps.iter().filter(|dump| dump.is_complete());
    match complete().next_back() {
        None => Ok(()),
        Some(newest) => Err(Error::HoldsDump {
            path: path.to_owned(),
            id: disk.id(),
            dumps: complete().count(),
            length: newest.length,
        }),
    }
}

/// The header of the empty disk. A disk that keeps its id goes on counting.
fn header(id: DiskId, front: &[u8]) -> DiskHeader {
    let new = DiskHeader::new(id);
    match FoundDisk::decode(front) {
        Ok(FoundDisk { header, .. }) if header.id == id => {
            DiskHeader { generation: header.generation.wrapping_add(1), next: header.next, ..new }
        }
        _ => new,
    }
}

fn random_id() -> Result<DiskId, Error> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(Error::Random)?;
    Ok(DiskId(id))
}

/// Both copies.
fn write_headers(disk: &mut File, header: &DiskHeader) -> std::io::Result<()> {
    disk.rewind()?;
    disk.write_all(&[header.encode(), header.encode()].concat())?;
    disk.sync_all()
}
