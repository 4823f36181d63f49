//! Making a disk ours.

use std::fs::File;
use std::io::{Seek, Write};
use std::path::Path;

use dumpfile::disk::v1::{DATA_OFFSET, DiskHeader};
use dumpfile::{DiskId, DiskState};

use crate::{Error, disk};

/// Writes the header of an empty dump disk and says its id: the one given, else a random one. What
/// was on the disk is lost, so `force` is needed where that could be of use to anybody.
///
/// # Errors
/// [`Error::Busy`] when the disk is in use (even with `force`), [`Error::Foreign`] when its first
/// block is neither empty nor ours, [`Error::HoldsDump`] when it holds a complete dump,
/// [`Error::TooSmall`], or what the system says.
pub fn format(path: &Path, id: Option<DiskId>, force: bool) -> Result<DiskId, Error> {
    let mut disk = disk::open_to_write(path)?;
    let size = disk::size(&mut disk, path)?;
    if size <= DATA_OFFSET {
        return Err(Error::TooSmall { path: path.to_owned(), size });
    }
    if !force {
        check_free(&mut disk, path)?;
    }
    let id = id.map_or_else(random_id, Ok)?;
    write_header(&mut disk, &DiskHeader::new(id)).map_err(Error::io("write", path))?;
    Ok(id)
}

/// Whether the disk may be overwritten without asking.
fn check_free(disk: &mut File, path: &Path) -> Result<(), Error> {
    let block = disk::first_block(disk, path)?;
    if block.iter().all(|byte| *byte == 0) {
        return Ok(());
    }
    match DiskHeader::decode(&block) {
        Ok(DiskHeader { state: DiskState::COMPLETE, id, length, .. }) => {
            Err(Error::HoldsDump { path: path.to_owned(), id, length })
        }
        Ok(_) => Ok(()),
        Err(_) => Err(Error::Foreign(path.to_owned())),
    }
}

fn random_id() -> Result<DiskId, Error> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(Error::Random)?;
    Ok(DiskId(id))
}

fn write_header(disk: &mut File, header: &DiskHeader) -> std::io::Result<()> {
    disk.rewind()?;
    disk.write_all(&header.encode())?;
    disk.sync_all()
}
