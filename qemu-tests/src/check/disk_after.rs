//! State of the dump disk after a cycle without a dump.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use anyhow::{Context, Result};
use collector::Extracted;
use serde::Serialize;

use crate::check::core_file::CoreFile;
use crate::host::dump_disk::{DumpDisk, HEADER};
use crate::host::memory::GuestMemory;
use vmcore::PageClass;

/// Bytes of the two headers of the disk's first dump, after those.
const DUMP_HEADER: u64 = 8192;
/// Bytes of a page.
const PAGE: usize = 4096;
/// Bytes of a disk that are read at once.
const CHUNK: usize = 1 << 20;

/// State of the disk after a cycle without a dump.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DiskAfter {
    /// The reason why `kdump-collector extract` finds no dump there.
    pub refused: String,
    /// True if the header was written.
    pub header_written: bool,
    /// True if anything was written after the headers of the disk and of its first dump.
    pub data_written: bool,
    /// Part of the dump that could be extracted all the same.
    pub partial: Option<Partial>,
}

/// Sizes of an incomplete dump. All numbers are bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Partial {
    /// Length of the whole dump.
    pub length: u64,
    /// Bytes that are there.
    pub there: u64,
    /// Bytes of these that are memory, and were compared.
    pub compared: u64,
    /// Bytes of those that are different.
    pub wrong: u64,
}

/// Looks at the disk when there is no complete dump on it. The part that can be extracted goes to
/// `out`, and is compared with `memory`.
///
/// # Errors
/// The file cannot be read.
pub fn after_failure(disk: &DumpDisk, out: &Path, memory: &GuestMemory) -> Result<DiskAfter> {
    let header_written = disk.has_new_header()?;
    let mut file = File::open(disk.path()).context("opening the dump disk")?;
    file.seek(SeekFrom::Start(HEADER as u64 + DUMP_HEADER))?;
    let data_written = has_data(file).context("reading the dump disk")?;
    let (refused, partial) = match collector::extract(disk.path(), None, out, &mut |_, _| {}) {
        Ok(extracted) => {
            let partial = partial(&extracted, memory).context("comparing a partial dump")?;
            (extracted.trouble().unwrap_or_default(), partial)
        }
        Err(error) => (error.to_string(), None),
    };
    Ok(DiskAfter { refused, header_written, data_written, partial })
}

/// Compares the existing parts of a vmcore, without the pages that its level left out, with the
/// memory that its PT_LOADs describe.
fn partial(extracted: &Extracted, memory: &GuestMemory) -> Result<Option<Partial>> {
    let Some(path) = &extracted.path else { return Ok(None) };
    let core = CoreFile::open(path)?;
    let is_missing = |at: u64| {
        let missing = extracted.missing.iter().chain(&extracted.damaged);
        let mut left = extracted.left.iter().filter(|range| range.class != PageClass::Zero);
        missing.clone().any(|(start, end)| (*start..*end).contains(&at))
            || left.any(|range| range.start <= at && at - range.start < range.len())
    };
    let (mut compared, mut wrong) = (0, 0);
    for load in &core.loads {
        // Chunks begin and end at pages of the file, and PT_LOADs begin there.
        for at in (0..load.filesz).step_by(PAGE) {
            let length = PAGE.min((load.filesz - at) as usize);
            if is_missing(load.offset + at) {
                continue;
            }
            let (mut there, mut truth) = (vec![0; length], vec![0; length]);
            core.read_at(load.offset + at, &mut there)?;
            memory.read(load.paddr + at, &mut truth)?;
            compared += length as u64;
            wrong +=
                there.iter().zip(&truth).filter(|(there, truth)| there != truth).count() as u64;
        }
    }
    Ok(Some(Partial { length: extracted.length, there: extracted.there(), compared, wrong }))
}

/// True if anything but zeros follows. The disk may be larger than the host's memory.
fn has_data(mut rest: impl Read) -> io::Result<bool> {
    let mut chunk = vec![0; CHUNK];
    loop {
        match rest.read(&mut chunk)? {
            0 => return Ok(false),
            length if chunk[..length].iter().any(|byte| *byte != 0) => return Ok(true),
            _ => (),
        }
    }
}
