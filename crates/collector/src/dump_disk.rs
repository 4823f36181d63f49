//! What is on a dump disk, of either version.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use dumpfile::disk::{
    BLOCK, DumpEntry, DumpError, DumpHeader, FoundDisk, MARKS, Mark, Refused, SmallView,
    TableBlock, v1,
};
use dumpfile::{Contents, Crc32c, DiskError, DiskId, DiskState};

use crate::kind::FileKind;
use crate::{Error, disk};

/// How much is read at once, in bytes.
const CHUNK: usize = 1 << 20;
/// The longest small view that is read, in bytes: the capture kernel's are some hundred KiB.
const LONGEST_VIEW: u64 = 16 << 20;
/// The number of the one dump on a disk of version 1.
const ONLY: u64 = 1;

/// A range of a dump: start and end, end exclusive, in bytes.
pub type Range = (u64, u64);

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
    /// How far it has come.
    pub state: DiskState,
    /// Code of the last stage that the capture reached.
    pub stage: u32,
    /// What it is made of.
    pub contents: Contents,
    /// Length in bytes.
    pub length: u64,
    /// Where it begins, in bytes from the disk's start.
    pub offset: u64,
    /// Its own header (version 2).
    pub header: Option<Result<DumpHeader, DumpError>>,
    /// Where the region begins.
    region: u64,
}

/// What the chunk table says of a dump, and what comes of comparing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// What may not be there.
    pub missing: Vec<Range>,
    /// What differs from its checksum.
    pub damaged: Vec<Range>,
    /// Bytes that agree with their checksum.
    pub checked: u64,
    /// Chunks of a complete dump that the table does not mark.
    pub unmarked: u64,
    /// Blocks of the table of which no copy is whole.
    pub lost_blocks: u64,
}

impl Survey {
    /// Whether the byte at `at` is there, and up to where that does not change. `end` is the dump's end.
    pub(crate) fn run(&self, at: u64, end: u64) -> (bool, u64) {
        let holes = || self.missing.iter().chain(&self.damaged);
        match holes().find(|(start, end)| (*start..*end).contains(&at)) {
            Some((_, end)) => (false, *end),
            None => {
                let next = holes().map(|(start, _)| *start).filter(|start| *start > at).min();
                (true, next.unwrap_or(end))
            }
        }
    }
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

    /// The dumps that `found` names, with what their own headers say.
    pub(crate) fn new(mut file: File, path: &Path, found: FoundDisk) -> Result<Self, Error> {
        let size = disk::size(&mut file, path)?;
        let mut disk = Self { path: path.to_owned(), file, size, found, dumps: Vec::new() };
        disk.dumps = match found {
            FoundDisk::V1(header) => StoredDump::of_v1(&header).into_iter().collect(),
            FoundDisk::V2 { header, .. } => {
                let dumps = header.dumps.as_slice().iter();
                dumps.map(|entry| disk.stored(entry)).collect::<Result<_, _>>()?
            }
        };
        Ok(disk)
    }

    fn stored(&self, entry: &DumpEntry) -> Result<StoredDump, Error> {
        let front = self.read_up_to(entry.offset, 2 * BLOCK)?;
        Ok(StoredDump::of_v2(entry, DumpHeader::decode_copies(&front, self.id(), entry)))
    }

    /// Which disk this is.
    pub const fn id(&self) -> DiskId {
        self.found.id()
    }

    /// The version of its layout.
    pub const fn version(&self) -> u32 {
        match self.found {
            FoundDisk::V1(_) => v1::VERSION,
            FoundDisk::V2 { .. } => dumpfile::disk::VERSION,
        }
    }

    /// Captures since the last dump that found no room.
    pub fn refused(&self) -> Refused {
        match self.found {
            FoundDisk::V1(_) => Refused::default(),
            FoundDisk::V2 { header, .. } => header.refused,
        }
    }

    /// What is wrong with one of the two headers.
    pub const fn header_damage(&self) -> Option<DiskError> {
        match self.found {
            FoundDisk::V1(_) => None,
            FoundDisk::V2 { other, .. } => other,
        }
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
        let end = dump.offset.saturating_add(dump.length);
        match dump.length {
            0 if dump.is_complete() => Err(Error::EmptyDump(path)),
            _ if end > self.size => {
                Err(Error::Truncated { path, size: self.size, length: dump.length, end })
            }
            _ => Ok(()),
        }
    }

    /// Fills `into` with the dump's bytes from `at` on.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn read_dump(&self, dump: &StoredDump, at: u64, into: &mut [u8]) -> Result<(), Error> {
        let offset = dump.offset.saturating_add(at);
        self.file.read_exact_at(into, offset).map_err(Error::io("read", &self.path))
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

    /// What may not be there of a dump, as its chunk table says.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn missing(&self, dump: &StoredDump) -> Result<Vec<Range>, Error> {
        self.walk(dump, false).map(|survey| survey.missing)
    }

    /// Finds out what of a dump is there. Bytes that have checksums are compared with them.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn survey(&self, dump: &StoredDump) -> Result<Survey, Error> {
        self.walk(dump, true)
    }

    fn walk(&self, dump: &StoredDump, compare: bool) -> Result<Survey, Error> {
        let mut survey = Survey::default();
        let header = match dump.header {
            Some(Ok(header)) if self.check_place(dump).is_ok() => header,
            _ => {
                let missing = !dump.is_complete() && dump.length > 0;
                survey.missing.extend(missing.then_some((0, dump.length)));
                return Ok(survey);
            }
        };
        for index in 0..header.table_blocks() {
            let offset = dump.region + header.table_block_offset(index);
            let copies = self.read_up_to(offset, 2 * BLOCK)?;
            let (block, whole) = TableBlock::decode_copies(&copies, &header, index);
            survey.lost_blocks += u64::from(whole == 0);
            let first = index * MARKS as u64;
            for (chunk, mark) in (first..header.chunks()).zip(&block.marks) {
                let mark = if compare { *mark } else { mark.without_checksum() };
                self.survey_chunk(dump, header.chunk_range(chunk), mark, &mut survey)?;
            }
        }
        Ok(survey)
    }

    fn survey_chunk(
        &self,
        dump: &StoredDump,
        range: Range,
        mark: Mark,
        survey: &mut Survey,
    ) -> Result<(), Error> {
        match mark {
            Mark::Absent if dump.is_complete() => survey.unmarked += 1,
            Mark::Absent => add(&mut survey.missing, range),
            Mark::Whole => {}
            Mark::Checked(crc) if self.checksum(dump, range)? == crc => {
                survey.checked += range.1 - range.0;
            }
            Mark::Checked(_) => add(&mut survey.damaged, range),
        }
        Ok(())
    }

    fn checksum(&self, dump: &StoredDump, (start, end): Range) -> Result<u32, Error> {
        let (mut crc, mut at) = (Crc32c::new(), start);
        let mut bytes = vec![0; CHUNK.min(usize::try_from(end - start).unwrap_or(CHUNK))];
        while at < end {
            let count = (end - at).min(bytes.len() as u64);
            let now = &mut bytes[..count as usize];
            self.read_dump(dump, at, now)?;
            crc.update(now);
            at += count;
        }
        Ok(crc.finish())
    }

    /// `length` bytes from `offset` on, or as many as there are.
    fn read_up_to(&self, offset: u64, length: usize) -> Result<Vec<u8>, Error> {
        let there = usize::try_from(self.size.saturating_sub(offset)).unwrap_or(length);
        let mut bytes = vec![0; length.min(there)];
        self.file.read_exact_at(&mut bytes, offset).map_err(Error::io("read", &self.path))?;
        Ok(bytes)
    }

    /// The open file.
    pub(crate) fn into_file(self) -> File {
        self.file
    }
}

/// Adds a range behind the others.
fn add(ranges: &mut Vec<Range>, (start, end): Range) {
    match ranges.last_mut() {
        Some(last) if last.1 == start => last.1 = end,
        _ => ranges.push((start, end)),
    }
}

impl StoredDump {
    /// Whether all of it is on the disk.
    pub fn is_complete(&self) -> bool {
        self.state == DiskState::COMPLETE
    }

    /// Whether the capture has not said how it ended.
    pub(crate) fn is_unfinished(&self) -> bool {
        self.state == DiskState::IN_PROGRESS
    }

    /// The small views that its header names.
    pub fn views(&self) -> &[SmallView] {
        match &self.header {
            Some(Ok(header)) => header.views(),
            _ => &[],
        }
    }

    fn of_v1(header: &v1::DiskHeader) -> Option<Self> {
        let v1::DiskHeader { state, stage, length, contents, .. } = *header;
        let offset = v1::DATA_OFFSET;
        let dump =
            Self { number: ONLY, state, stage, contents, length, offset, header: None, region: 0 };
        (state != DiskState::EMPTY).then_some(dump)
    }

    /// What the dump's own header says counts for more than the directory: it is written first. A
    /// complete dump without one is none.
    fn of_v2(entry: &DumpEntry, header: Result<DumpHeader, DumpError>) -> Self {
        let (number, region) = (entry.sequence, entry.offset);
        let is_lost = header.is_err() && entry.state == DiskState::COMPLETE;
        let state = if is_lost { DiskState::FAILED } else { entry.state };
        let bare = Self {
            number,
            state,
            stage: 0,
            contents: Contents::Vmcore,
            length: 0,
            offset: region,
            header: Some(header),
            region,
        };
        match header {
            Err(_) => bare,
            Ok(header) => Self {
                state: header.state,
                stage: header.stage,
                contents: header.contents,
                length: header.bulk_length,
                offset: region + header.bulk_offset,
                ..bare
            },
        }
    }
}
