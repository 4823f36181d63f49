//! Getting the dump off a dump disk.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use dumpfile::disk::v1::{DATA_OFFSET, DiskHeader};
use dumpfile::{Contents, DiskState};
use sha2::{Digest, Sha256};

use crate::{Error, disk};

/// How much is read at once, in bytes.
const CHUNK: usize = 1 << 20;
/// Blocks of this many zero bytes become holes in the file.
const HOLE: usize = 4096;

/// A dump that was extracted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extracted {
    /// Length in bytes.
    pub length: u64,
    /// SHA-256 of its bytes.
    pub sha256: [u8; 32],
    /// What it is made of.
    pub contents: Contents,
}

/// Writes the dump on `disk` into the file `out`, which is replaced. Pages of zeros become holes.
/// `progress` is called with the bytes done and the bytes in all.
///
/// The dump is written to `out` with `.part` at the end of its name first, so that a file called
/// `out` is always whole.
///
/// # Errors
/// [`Error::NotComplete`] with what the disk says instead, [`Error::EmptyDump`],
/// [`Error::Truncated`], [`Error::Header`], [`Error::NotAFile`], or what the system says.
pub fn extract(
    disk: &Path,
    out: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Extracted, Error> {
    if out.metadata().is_ok_and(|there| !there.is_file()) {
        return Err(Error::NotAFile(out.to_owned()));
    }
    let mut source = disk::open(disk)?;
    let (length, contents) = check(&mut source, disk)?;
    source.seek(SeekFrom::Start(DATA_OFFSET)).map_err(Error::io("read", disk))?;
    let part = part_name(out);
    let copied = copy(&mut source, disk, &part, length, progress).and_then(|sha256| {
        fs::rename(&part, out).map_err(Error::io("write", out))?;
        Ok(Extracted { length, sha256, contents })
    });
    if copied.is_err() {
        // What is left of it is of no use; if it cannot be removed, the first error says more.
        let _ = fs::remove_file(&part);
    }
    copied
}

/// Length and contents of the dump, if there is a whole one.
pub(crate) fn check(source: &mut File, path: &Path) -> Result<(u64, Contents), Error> {
    let DiskHeader { state, stage, length, contents, .. } = disk::header(source, path)?;
    let size = disk::size(source, path)?;
    let path = path.to_owned();
    match state {
        DiskState::COMPLETE if length == 0 => Err(Error::EmptyDump(path)),
        DiskState::COMPLETE if size.saturating_sub(DATA_OFFSET) < length => {
            Err(Error::Truncated { path, size, length })
        }
        DiskState::COMPLETE => Ok((length, contents)),
        _ => Err(Error::NotComplete { path, state, stage }),
    }
}

fn part_name(out: &Path) -> PathBuf {
    let mut name = OsString::from(out);
    name.push(".part");
    PathBuf::from(name)
}

fn copy(
    source: &mut File,
    disk: &Path,
    out: &Path,
    length: u64,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<[u8; 32], Error> {
    let create = |source| Error::Open { path: out.to_owned(), source };
    let mut file = File::create(out).map_err(create)?;
    let mut digest = Sha256::new();
    let mut chunk = vec![0; CHUNK];
    let mut done = 0;
    while done < length {
        let count = usize::try_from(length - done).unwrap_or(CHUNK).min(CHUNK);
        let bytes = &mut chunk[..count];
        source.read_exact(bytes).map_err(Error::io("read", disk))?;
        digest.update(&*bytes);
        write_sparse(&mut file, bytes).map_err(Error::io("write", out))?;
        done += count as u64;
        progress(done, length);
    }
    file.set_len(length).and_then(|()| file.sync_all()).map_err(Error::io("write", out))?;
    Ok(digest.finalize().into())
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
