//! Getting a dump off a dump disk.

use std::fs::{self, File};
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};

use dumpfile::disk::PageCounts;
use dumpfile::{Contents, DiskState, LeftRanges};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::Error;
use crate::dump_disk::{DumpDisk, StoredDump};
use crate::error::no_dump;
use crate::json;
use crate::stored_bulk::{Part, Range, StoredBulk};
use crate::text::with_suffix;

/// Number of zeros that are hashed at once, in bytes.
const CHUNK: usize = 1 << 20;
/// Blocks of this many zero bytes become holes in the file.
const HOLE: usize = 4096;

/// A dump that was extracted, as a whole or in part. JSON has fields of its own for those that are
/// skipped here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Extracted {
    /// Its number on the disk.
    #[serde(skip)]
    pub number: u64,
    /// Length in bytes.
    #[serde(skip)]
    pub length: u64,
    /// SHA-256 of the file's bytes.
    #[serde(skip)]
    pub sha256: [u8; 32],
    /// The view that it holds.
    #[serde(skip)]
    pub contents: Contents,
    /// State of the capture.
    #[serde(skip)]
    pub state: DiskState,
    /// Code of the last stage that it reached.
    #[serde(skip)]
    pub stage: u32,
    /// The file, if there is any whole byte.
    #[serde(rename = "file", serialize_with = "json::path")]
    pub path: Option<PathBuf>,
    /// Parts that the capture did not write, or not for certain: holes in the file.
    #[serde(serialize_with = "json::pairs")]
    pub missing: Vec<Range>,
    /// Parts that differ from their checksums: holes in the file.
    #[serde(serialize_with = "json::pairs")]
    pub damaged: Vec<Range>,
    /// Parts that the capture has left out, but for zeros: holes in the file.
    #[serde(serialize_with = "json::left")]
    pub left: LeftRanges,
    /// The pages of the dump by class.
    #[serde(serialize_with = "json::counts")]
    pub pages: PageCounts,
    /// True if the capture ended because the disk had no more room.
    pub no_room: bool,
    /// The small views.
    pub views: Vec<ExtractedView>,
}

/// A small view that was extracted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExtractedView {
    /// Its name.
    #[serde(rename = "view")]
    pub name: String,
    /// Length in bytes.
    #[serde(rename = "bytes")]
    pub length: u64,
    /// The file, unless its bytes on the disk are damaged.
    #[serde(rename = "file", serialize_with = "json::path")]
    pub path: Option<PathBuf>,
}

impl Extracted {
    /// Bytes of the dump that are there.
    pub fn there(&self) -> u64 {
        let holes = self.missing.iter().chain(&self.damaged);
        self.length - holes.map(|(start, end)| end - start).sum::<u64>()
    }

    /// Returns the reason if the dump is not whole.
    pub fn trouble(&self) -> Option<String> {
        let damaged = "parts of the dump differ from their checksums: the disk is failing";
        let lost = "parts of the dump's log are damaged: the disk is failing";
        match self.state {
            DiskState::COMPLETE if !self.damaged.is_empty() => Some(damaged.to_owned()),
            DiskState::COMPLETE if !self.missing.is_empty() => Some(lost.to_owned()),
            DiskState::COMPLETE => None,
            state => Some(no_dump(state, self.stage)),
        }
    }
}

/// Writes a dump on `disk` into the file `out`, which is replaced: the one with this number, or
/// else the newest complete one, or else the newest. Pages of zeros become holes. The small views
/// beside it go to `out` with the suffix `.NAME`. `progress` is called with the bytes done and the
/// bytes in all.
///
/// A file called `out` is always whole: the existing parts of an incomplete dump go to `out` with
/// the suffix `.partial`, with holes for the rest.
///
/// # Errors
/// [`Error::NoDump`], [`Error::NoSuchDump`], [`Error::EmptyDump`], [`Error::Truncated`],
/// [`Error::OtherKind`], [`Error::Header`], [`Error::NotAFile`], or an error of the system.
pub fn extract(
    disk: &Path,
    number: Option<u64>,
    out: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Extracted, Error> {
    if out.metadata().is_ok_and(|there| !there.is_file()) {
        return Err(Error::NotAFile(out.to_owned()));
    }
    let source = DumpDisk::open(disk)?;
    let dump = source.choose(number)?;
    source.check_place(dump)?;
    let bulk = source.bulk(dump)?;
    let survey = bulk.survey(true)?;
    let views = extract_views(&source, dump, out)?;
    let mut extracted = Extracted {
        number: dump.number,
        length: dump.length,
        sha256: [0; 32],
        contents: dump.contents,
        state: dump.state,
        stage: dump.stage,
        path: None,
        missing: survey.missing,
        damaged: survey.damaged,
        left: survey.left,
        pages: survey.pages,
        no_room: dump.had_no_room(),
        views,
    };
    if extracted.there() > 0 {
        let suffix = if extracted.trouble().is_some() { ".partial" } else { "" };
        let path = with_suffix(out, suffix);
        extracted.sha256 = write_dump(&bulk, &path, progress)?;
        extracted.path = Some(path);
    }
    Ok(extracted)
}

fn extract_views(
    disk: &DumpDisk,
    dump: &StoredDump,
    out: &Path,
) -> Result<Vec<ExtractedView>, Error> {
    let mut views = Vec::new();
    for view in dump.views() {
        let name = view.name.as_str().to_owned();
        let path = with_suffix(out, &format!(".{name}"));
        let bytes = disk.read_view(dump, view)?;
        if let Some(bytes) = &bytes {
            fs::write(&path, bytes).map_err(Error::io("write", &path))?;
        }
        views.push(ExtractedView { name, length: view.length, path: bytes.map(|_| path) });
    }
    Ok(views)
}

/// Writes the dump to a file beside `path` first, so that there is never half of one.
fn write_dump(
    bulk: &StoredBulk,
    path: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<[u8; 32], Error> {
    let part = with_suffix(path, ".part");
    let copied = copy(bulk, &part, progress).and_then(|sha256| {
        fs::rename(&part, path).map_err(Error::io("write", path))?;
        Ok(sha256)
    });
    if copied.is_err() {
        // The rest of the file is of no use; if it cannot be removed, the first error reports more.
        let _ = fs::remove_file(&part);
    }
    copied
}

fn copy(
    bulk: &StoredBulk,
    out: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<[u8; 32], Error> {
    let create = |source| Error::Open { path: out.to_owned(), source };
    let mut out_file = Copy { file: File::create(out).map_err(create)?, digest: Sha256::new() };
    for part in bulk.parts() {
        let written = match part {
            Part::Missing((start, end)) => out_file.skip(end - start),
            Part::Chunks(chunks) if chunks.entry.stored == 0 => {
                let (start, end) = bulk.range(&chunks);
                out_file.skip(end - start)
            }
            Part::Chunks(chunks) => {
                let mut written = Ok(());
                for index in 0..chunks.count() {
                    let chunk = chunks.nth(index);
                    let (start, end) = bulk.range(&chunk);
                    written = written.and(match bulk.read_chunk(&chunk)? {
                        Some(bytes) => out_file.write(&bytes),
                        None => out_file.skip(end - start),
                    });
                    progress(end, bulk.length);
                }
                written
            }
        };
        written.map_err(Error::io("write", out))?;
    }
    progress(bulk.length, bulk.length);
    let Copy { file, digest } = out_file;
    file.set_len(bulk.length).and_then(|()| file.sync_all()).map_err(Error::io("write", out))?;
    Ok(digest.finalize().into())
}

/// A file that is being written, and the digest of its bytes.
struct Copy {
    file: File,
    digest: Sha256,
}

impl Copy {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.digest.update(bytes);
        write_sparse(&mut self.file, bytes)
    }

    /// Leaves a hole.
    fn skip(&mut self, length: u64) -> io::Result<()> {
        let zeros = vec![0; CHUNK.min(usize::try_from(length).unwrap_or(CHUNK))];
        let mut left = length;
        while left > 0 {
            let count = left.min(zeros.len() as u64);
            self.digest.update(&zeros[..count as usize]);
            left -= count;
        }
        self.file.seek_relative(i64::try_from(length).unwrap_or(i64::MAX))
    }
}

/// Writes `bytes` at the file's position, and only moves on over blocks of zeros.
fn write_sparse(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    let is_zero = |block: &[u8]| block.iter().all(|byte| *byte == 0);
    let same_kind = |a: &&[u8], b: &&[u8]| is_zero(a) == is_zero(b);
    let blocks: Vec<&[u8]> = bytes.chunks(HOLE).collect();
    let mut start = 0;
    for run in blocks.chunk_by(|a, b| same_kind(a, b)) {
        let length: usize = run.iter().map(|block| block.len()).sum();
        if is_zero(run[0]) {
            file.seek_relative(length as i64)?;
        } else {
            file.write_all(&bytes[start..start + length])?;
        }
        start += length;
    }
    Ok(())
}
