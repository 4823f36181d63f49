//! Contents of a dump disk.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use dumpfile::disk::{BLOCK, DumpEntry, DumpError, DumpHeader, FoundDisk, Refused, SmallView};
use dumpfile::{Contents, Crc32c, DiskError, DiskId, DiskState};

use crate::kind::FileKind;
use crate::stored_bulk::{Range, StoredBulk, Survey};
use crate::{Error, disk};

/// The longest small view that is read, in bytes: the capture kernel's are some hundred KiB.
pub(crate) const LONGEST_VIEW: u64 = 16 << 20;

/// A dump disk that is open for reading.
#[derive(Debug)]
pub struct DumpDisk {
    path: PathBuf,
    file: File,
    /// Its length in bytes.
    pub size: u64,
    found: FoundDisk,
    /// The dumps, oldest first.
    pub dumps: Vec<StoredDump>,
}

/// A dump on a disk.
#[derive(Clone, Debug)]
pub struct StoredDump {
    /// Its number: later dumps have larger ones.
    pub number: u64,
    /// State of the dump.
    pub state: DiskState,
    /// Code of the last stage that the capture reached.
    pub stage: u32,
    /// The view that it holds.
    pub contents: Contents,
    /// Length in bytes.
    pub length: u64,
    /// Its own header.
    pub header: Result<DumpHeader, DumpError>,
    /// Start of its region, in bytes from the disk's start.
    region: u64,
}

impl DumpDisk {
    /// Opens a dump disk.
    ///
    /// # Errors
    /// [`Error::Open`], [`Error::Io`], [`Error::OtherKind`] for another kind of file, or
    /// [`Error::Header`] for a damaged dump disk.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let other = |(_, kind)| Error::OtherKind { path: path.to_owned(), kind, disk: true };
        Self::open_if_ours(path, true)?.map_err(other)
    }

    /// True if the file at `path` is a dump disk, perhaps a damaged one.
    ///
    /// # Errors
    /// [`Error::Open`], [`Error::Io`], [`Error::OtherKind`] for what is no file.
    pub fn is_one(path: &Path) -> Result<bool, Error> {
        let front = disk::front(&mut disk::open(path, false)?, path)?;
        Ok(FileKind::of(&front) == FileKind::DumpDisk || FoundDisk::decode(&front).is_ok())
    }

    /// Like [`Self::open`], but returns any other file together with its kind. `disk` is true if
    /// only a dump disk is wanted.
    pub(crate) fn open_if_ours(
        path: &Path,
        disk: bool,
    ) -> Result<Result<Self, (File, FileKind)>, Error> {
        let mut file = disk::open(path, disk)?;
        let front = disk::front(&mut file, path)?;
        match (FoundDisk::decode(&front), FileKind::of(&front)) {
            (Ok(found), _) => Self::new(file, path, found).map(Ok),
            (Err(DiskError::NotOurs | DiskError::TooShort(_)), kind)
                if kind != FileKind::DumpDisk =>
            {
                Ok(Err((file, kind)))
            }
            (Err(source), _) => Err(Error::Header { path: path.to_owned(), source }),
        }
    }

    /// Reads the dumps that `found` names, with their own headers.
    pub(crate) fn new(mut file: File, path: &Path, found: FoundDisk) -> Result<Self, Error> {
        let size = disk::size(&mut file, path)?;
        let mut disk = Self { path: path.to_owned(), file, size, found, dumps: Vec::new() };
        let dumps = found.header.dumps.as_slice().iter();
        disk.dumps = dumps.map(|entry| disk.stored(entry)).collect::<Result<_, _>>()?;
        Ok(disk)
    }

    fn stored(&self, entry: &DumpEntry) -> Result<StoredDump, Error> {
        let front = self.read_up_to(entry.offset, 2 * BLOCK)?;
        Ok(StoredDump::new(entry, DumpHeader::decode_copies(&front, self.id(), entry)))
    }

    /// Which disk this is.
    pub const fn id(&self) -> DiskId {
        self.found.id()
    }

    /// The version of its layout.
    pub const fn version(&self) -> u32 {
        dumpfile::disk::VERSION
    }

    /// Captures since the last dump that found no room.
    pub const fn refused(&self) -> Refused {
        self.found.header.refused
    }

    /// Returns the error in one of the two headers, if any.
    pub const fn header_damage(&self) -> Option<DiskError> {
        self.found.other
    }

    /// The dump with this number; without one the newest that is complete, else the newest.
    ///
    /// # Errors
    /// [`Error::NoSuchDump`], [`Error::NoDump`].
    pub fn choose(&self, number: Option<u64>) -> Result<&StoredDump, Error> {
        let path = self.path.clone();
        match number {
            Some(number) => {
                let there = self.dumps.iter().map(|dump| dump.number).collect();
                let named = self.dumps.iter().find(|dump| dump.number == number);
                named.ok_or(Error::NoSuchDump { path, number, there })
            }
            None => {
                let complete = self.dumps.iter().rfind(|dump| dump.is_complete());
                let newest = complete.or(self.dumps.last());
                newest.ok_or(Error::NoDump { path, refused: self.refused() })
            }
        }
    }

    /// [`Ok`] when the dump is complete, has bytes, and the disk holds all of them.
    ///
    /// # Errors
    /// [`Error::NotComplete`], [`Error::EmptyDump`], [`Error::Truncated`].
    pub fn check_complete(&self, dump: &StoredDump) -> Result<(), Error> {
        let StoredDump { state, stage, .. } = *dump;
        if !dump.is_complete() {
            return Err(Error::NotComplete { path: self.path.clone(), state, stage });
        }
        self.check_place(dump)
    }

    /// [`Ok`] when the dump has bytes, and the disk has a place for all of them.
    pub(crate) fn check_place(&self, dump: &StoredDump) -> Result<(), Error> {
        let path = self.path.clone();
        let end = dump.region.saturating_add(dump.used());
        match dump.length {
            0 if dump.is_complete() => Err(Error::EmptyDump(path)),
            _ if end > self.size => {
                Err(Error::Truncated { path, size: self.size, length: dump.length, end })
            }
            _ => Ok(()),
        }
    }

    /// The bytes of a small view; [`None`] when they are damaged.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn read_view(&self, dump: &StoredDump, view: &SmallView) -> Result<Option<Vec<u8>>, Error> {
        if view.length > LONGEST_VIEW {
            return Ok(None);
        }
        let offset = dump.region.saturating_add(view.offset);
        let bytes = self.read_up_to(offset, view.length as usize)?;
        let is_whole = bytes.len() as u64 == view.length && Crc32c::of(&bytes) == view.crc;
        Ok(is_whole.then_some(bytes))
    }

    /// The bytes of the small view of this name beside the dump that [`Self::choose`] chooses;
    /// [`None`] when there is none, or it is damaged.
    ///
    /// # Errors
    /// As for [`Self::choose`]; [`Error::Io`].
    pub(crate) fn small_view(
        &self,
        number: Option<u64>,
        name: &str,
    ) -> Result<Option<Vec<u8>>, Error> {
        let dump = self.choose(number)?;
        let view = dump.views().iter().find(|view| view.name.as_str() == name);
        view.map_or(Ok(None), |view| self.read_view(dump, view))
    }

    /// The bulk of a dump, for reading. One that the disk does not hold has nothing in it.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn bulk(&self, dump: &StoredDump) -> Result<StoredBulk, Error> {
        let file = self.file.try_clone().map_err(Error::io("read", &self.path))?;
        let header = dump.header.ok().filter(|_| self.check_place(dump).is_ok());
        StoredBulk::open(file, &self.path, dump.region, dump.length, header)
    }

    /// Parts of a dump that are not there, as its log says.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn missing(&self, dump: &StoredDump) -> Result<Vec<Range>, Error> {
        self.bulk(dump)?.survey(false).map(|survey| survey.missing)
    }

    /// Determines the parts of a dump that are there. Bytes that have checksums are compared with
    /// them.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn survey(&self, dump: &StoredDump) -> Result<Survey, Error> {
        self.bulk(dump)?.survey(true)
    }

    /// `length` bytes from `offset` on, or as many as there are.
    fn read_up_to(&self, offset: u64, length: usize) -> Result<Vec<u8>, Error> {
        let there = usize::try_from(self.size.saturating_sub(offset)).unwrap_or(length);
        let mut bytes = vec![0; length.min(there)];
        self.file.read_exact_at(&mut bytes, offset).map_err(Error::io("read", &self.path))?;
        Ok(bytes)
    }
}

impl StoredDump {
    /// True if the whole dump is on the disk.
    pub fn is_complete(&self) -> bool {
        self.state == DiskState::COMPLETE
    }

    /// True if the capture has not reported its end.
    pub(crate) fn is_unfinished(&self) -> bool {
        self.state == DiskState::IN_PROGRESS
    }

    /// The small views that its header names.
    pub fn views(&self) -> &[SmallView] {
        self.header.as_ref().map_or(&[], DumpHeader::views)
    }

    /// Bytes of the region that are in use.
    fn used(&self) -> u64 {
        self.header.map_or(0, |header| header.committed)
    }

    /// True if it ended before all of it was on the disk, for want of room.
    pub fn had_no_room(&self) -> bool {
        self.header.is_ok_and(|header| header.no_room)
    }

    /// The dump's own header takes precedence over the directory: it is written first. A complete
    /// dump without one counts as failed.
    fn new(entry: &DumpEntry, header: Result<DumpHeader, DumpError>) -> Self {
        let (number, region) = (entry.sequence, entry.offset);
        let is_lost = header.is_err() && entry.state == DiskState::COMPLETE;
        let state = if is_lost { DiskState::FAILED } else { entry.state };
        let bare =
            Self { number, state, stage: 0, contents: Contents::Vmcore, length: 0, header, region };
        match header {
            Err(_) => bare,
            Ok(header) => Self {
                state: header.state,
                stage: header.stage,
                contents: header.contents,
                length: header.raw_length,
                ..bare
            },
        }
    }
}
