//! The bytes of a vmcore, wherever they are.

use std::path::Path;

use dumpfile::Contents;
use vmcore::{PhysAddr, ReadPhys};

use crate::Error;
use crate::dump_disk::DumpDisk;
use crate::kdump_pages::KdumpPages;
use crate::kind::FileKind;
use crate::link_memory::LinkMemory;
use crate::raw_file::RawFile;
use crate::stored_bulk::StoredBulk;

/// The bytes of the vmcore. A physical address in the crate `vmcore` (`p_offset` of an ELF core
/// header) is an offset here. Of a kdump-compressed file it is a physical address.
#[derive(Debug)]
pub struct Bytes {
    /// Their source.
    pub(crate) source: Source,
    /// Length in bytes.
    pub(crate) length: u64,
}

#[derive(Debug)]
pub(crate) enum Source {
    /// A file of its own.
    File(RawFile),
    /// A kdump-compressed file.
    Pages(Box<KdumpPages>),
    /// A dump on a disk.
    Bulk(Box<StoredBulk>),
    /// At the other end of a line.
    Link(Box<LinkMemory>),
}

impl ReadPhys for Bytes {
    fn read_phys(&self, at: PhysAddr, into: &mut [u8]) -> Result<(), vmcore::Error> {
        let unreadable = vmcore::Error::Unreadable { at };
        let end = at.checked_add(into.len() as u64).ok_or(unreadable)?;
        if end.get() > self.length {
            return Err(unreadable);
        }
        match &self.source {
            Source::File(file) => file.read(at.get(), into).map_err(|_| unreadable),
            Source::Pages(pages) => pages.read(at.get(), into),
            Source::Bulk(bulk) => bulk.read(at.get(), into).map_err(|_| unreadable),
            Source::Link(link) => link.read_phys(at, into),
        }
    }
}

/// Finds out where the vmcore is.
///
/// # Errors
/// As for [`crate::VmcoreFile::open_dump`], before the headers of an ELF core.
pub(crate) fn find(path: &Path, number: Option<u64>) -> Result<Bytes, Error> {
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
        Err((file, kind)) => {
            let (file, kind) = RawFile::new(file, path, kind)?;
            match kind {
                FileKind::Core => Ok(Bytes { length: file.length(), source: Source::File(file) }),
                FileKind::KdumpCompressed(_) => {
                    let pages = Box::new(KdumpPages::open(file, path)?);
                    Ok(Bytes { length: pages.end(), source: Source::Pages(pages) })
                }
                kind => Err(Error::OtherKind { path: path.to_owned(), kind, disk: false }),
            }
        }
    }
}
