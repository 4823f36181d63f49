//! The bulk of a dump on a disk: which chunks there are, and their bytes.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use dumpfile::LeftRanges;
use dumpfile::chunk::{CHUNK, PAGE, pages_of};
use dumpfile::disk::{BLOCK, DumpHeader, PageCounts, Segment, SegmentError, StoredChunks};
use vmcore::PageClass;

use crate::Error;

/// A range of a dump: start and end, end exclusive, in bytes.
pub type Range = (u64, u64);

/// The bulk of a dump. Any part of it can be read.
#[derive(Debug)]
pub struct StoredBulk {
    path: PathBuf,
    file: File,
    /// Start of the region, in bytes from the disk's start.
    region: u64,
    /// Length of the dump in bytes.
    pub length: u64,
    /// Its header, where it has one.
    header: Option<DumpHeader>,
    /// Its chunks, ascending.
    chunks: Vec<StoredChunks>,
    lost_segments: u64,
    /// The chunk that was read last by [`Self::read`], and its number.
    last: Mutex<(u32, Vec<u8>)>,
}

/// A part of a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// These chunks.
    Chunks(StoredChunks),
    /// This is not there.
    Missing(Range),
}

/// The parts of a dump that are there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Parts that are not there.
    pub missing: Vec<Range>,
    /// Damaged parts: they differ from their checksum, or cannot be decompressed.
    pub damaged: Vec<Range>,
    /// Parts that the capture has left out, but for zeros. They are zero in the file.
    pub left: LeftRanges,
    /// The pages of the dump by class, as its header counts them.
    pub pages: PageCounts,
    /// Bytes that agree with their checksum.
    pub checked: u64,
    /// Segments that are damaged, or name impossible values.
    pub lost_segments: u64,
}

impl StoredBulk {
    /// Reads the log of the dump whose region begins at `region`.
    pub(crate) fn open(
        file: File,
        path: &Path,
        region: u64,
        length: u64,
        header: Option<DumpHeader>,
    ) -> Result<Self, Error> {
        let (chunks, lost_segments) = (Vec::new(), 0);
        let (path, last) = (path.to_owned(), Mutex::default());
        let mut bulk = Self { path, file, region, length, header, chunks, lost_segments, last };
        if let Some(header) = header {
            bulk.read_log(&header)?;
        }
        Ok(bulk)
    }

    /// Reads all segments. After one that is damaged, the next block that is a segment of this dump
    /// with a later number goes on.
    fn read_log(&mut self, header: &DumpHeader) -> Result<(), Error> {
        let (mut at, mut number, mut is_lost) = (header.bulk_start, 0, false);
        let mut block = vec![0; BLOCK];
        while at < header.committed {
            self.read_at(at, &mut block)?;
            match Segment::decode(&block, header, at) {
                Ok(segment) if segment.number == number || is_lost && segment.number > number => {
                    self.chunks.extend(&segment.chunks);
                    (at, number, is_lost) = (segment.end(at), segment.number + 1, false);
                }
                Err(SegmentError::NoMemory) => {
                    return Err(Error::io("read", &self.path)(io::ErrorKind::OutOfMemory.into()));
                }
                Ok(_) | Err(_) => {
                    self.lost_segments += u64::from(!is_lost);
                    is_lost = true;
                    at += BLOCK as u64;
                }
            }
        }
        self.chunks.sort_by_key(|chunks| chunks.entry.chunk);
        let before = self.chunks.len();
        // A chunk that is there twice is the fault of the writer; the first one counts.
        let mut end = 0;
        self.chunks.retain(|chunks| {
            let start = u64::from(chunks.entry.chunk);
            let is_new = start >= end;
            end = if is_new { start + u64::from(chunks.count()) } else { end };
            is_new
        });
        self.lost_segments += u64::from(self.chunks.len() < before);
        Ok(())
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> Result<(), Error> {
        let offset = self.region.saturating_add(at);
        self.file.read_exact_at(into, offset).map_err(Error::io("read", &self.path))
    }

    /// The dump from its beginning to its end.
    pub fn parts(&self) -> impl Iterator<Item = Part> {
        let mut at = 0;
        let chunks = self.chunks.iter().flat_map(move |chunks| {
            let start = chunks.entry.start();
            let missing = (at < start).then_some(Part::Missing((at, start)));
            at = start + u64::from(chunks.count()) * CHUNK;
            missing.into_iter().chain([Part::Chunks(*chunks)])
        });
        let end = self
            .chunks
            .last()
            .map_or(0, |last| last.entry.start() + u64::from(last.count()) * CHUNK);
        let rest = (end < self.length).then_some(Part::Missing((end, self.length)));
        chunks.chain(rest)
    }

    /// The range of a chunk in the dump.
    pub fn range(&self, chunk: &StoredChunks) -> Range {
        let start = chunk.entry.start();
        (start, start.saturating_add(u64::from(chunk.count()) * CHUNK).min(self.length))
    }

    /// Reads one chunk: its bytes up to the dump's end; [`None`] when they are damaged.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn read_chunk(&self, chunk: &StoredChunks) -> Result<Option<Vec<u8>>, Error> {
        let mut stored = vec![0; (chunk.entry.stored as usize).min(CHUNK as usize)];
        self.read_at(chunk.at, &mut stored)?;
        let pages = pages_of(chunk.entry.chunk, self.length);
        let mut bytes = vec![0; pages * PAGE as usize];
        let decoded =
            chunk.entry.decode(&stored, self.length, &mut vec![0; CHUNK as usize], &mut bytes);
        let (start, end) = self.range(chunk);
        bytes.truncate((end - start) as usize);
        Ok(decoded.ok().map(|()| bytes))
    }

    /// Fills `into` with the dump's bytes from `at` on.
    ///
    /// # Errors
    /// [`Error::Io`], also for bytes that are missing or damaged.
    pub fn read(&self, mut at: u64, mut into: &mut [u8]) -> Result<(), Error> {
        let invalid = || Error::io("read", &self.path)(io::ErrorKind::InvalidData.into());
        while !into.is_empty() {
            let chunk = self.find(at).ok_or_else(invalid)?;
            let start = (at - chunk.entry.start()) as usize;
            // Whole chunks need no memory of the last one, which threads would wait for.
            let whole = if start == 0 && into.len() >= CHUNK as usize {
                self.read_chunk(&chunk)?
            } else {
                self.part_of_chunk(&chunk, start, into.len())?
            };
            let bytes = whole.ok_or_else(invalid)?;
            let count = bytes.len().min(into.len());
            if count == 0 {
                return Err(invalid());
            }
            let (now, rest) = into.split_at_mut(count);
            now.copy_from_slice(&bytes[..count]);
            (at, into) = (at + count as u64, rest);
        }
        Ok(())
    }

    /// The bytes of a chunk from `start` on, at most `most`; [`None`] when they are damaged. The
    /// chunk stays in memory until another one is read in part.
    fn part_of_chunk(
        &self,
        chunk: &StoredChunks,
        start: usize,
        most: usize,
    ) -> Result<Option<Vec<u8>>, Error> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.1.is_empty() || last.0 != chunk.entry.chunk {
            let Some(bytes) = self.read_chunk(chunk)? else { return Ok(None) };
            *last = (chunk.entry.chunk, bytes);
        }
        let end = start.saturating_add(most).min(last.1.len());
        Ok(last.1.get(start..end).map(<[u8]>::to_vec))
    }

    /// The dump level.
    pub(crate) fn level(&self) -> u8 {
        self.header.map_or(0, |header| header.level)
    }

    /// The chunk that has the byte at `at`.
    fn find(&self, at: u64) -> Option<StoredChunks> {
        let number = u32::try_from(at / CHUNK).ok()?;
        let next = self.chunks.partition_point(|chunks| chunks.entry.chunk <= number);
        let chunks = self.chunks.get(next.checked_sub(1)?)?;
        let index = number - chunks.entry.chunk;
        (index < chunks.count()).then(|| chunks.nth(index))
    }

    /// The parts that are there. With `compare` all bytes that have checksums are read and compared
    /// with them.
    pub(crate) fn survey(&self, compare: bool) -> Result<Survey, Error> {
        let mut survey = Survey { lost_segments: self.lost_segments, ..Survey::default() };
        survey.pages = self.header.map(|header| header.pages).unwrap_or_default();
        for part in self.parts() {
            match part {
                Part::Missing(range) => add(&mut survey.missing, range),
                Part::Chunks(chunks) => {
                    let is_checked = compare && chunks.entry.crc.is_some();
                    if is_checked && self.read_chunk(&chunks)?.is_none() {
                        add(&mut survey.damaged, self.range(&chunks));
                        continue;
                    }
                    let (start, end) = self.range(&chunks);
                    survey.checked += if is_checked { end - start } else { 0 };
                    self.add_left(&chunks, &mut survey.left);
                }
            }
        }
        Ok(survey)
    }

    /// Adds the parts that these chunks leave out. Zeros are no loss.
    fn add_left(&self, chunks: &StoredChunks, left: &mut LeftRanges) {
        let pages = pages_of(chunks.entry.chunk, self.length);
        let class = |page| chunks.entry.left.get(page).filter(|class| *class != PageClass::Zero);
        let first = class(0);
        let (start, end) = self.range(chunks);
        // A list that has grown too long says less, and the counts say how much there is.
        if let Some(first) = first.filter(|_| (0..pages).all(|page| class(page) == first)) {
            let _ = left.insert(start, end, first);
            return;
        }
        for index in 0..chunks.count() {
            let chunk = start + u64::from(index) * CHUNK;
            for page in 0..pages {
                let at = chunk + page as u64 * PAGE;
                if let Some(class) = class(page) {
                    let _ = left.insert(at, (at + PAGE).min(self.length), class);
                }
            }
        }
    }
}

/// Adds a range after the others.
fn add(ranges: &mut Vec<Range>, (start, end): Range) {
    match ranges.last_mut() {
        Some(last) if last.1 == start => last.1 = end,
        _ => ranges.push((start, end)),
    }
}
