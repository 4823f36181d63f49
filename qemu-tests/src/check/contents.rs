//! Bytes of a dump, whole or not, are those that memory held.

use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use handoff::layout::BACKUP_LENGTH;

use crate::check::core_file::{CoreFile, Load};
use crate::check::evidence::Evidence;
use crate::check::ranges::{subtract, total};
use crate::check::truth::Truth;
use crate::host::memory::{GuestMemory, PAGE, digest};
use crate::line::collector_process::ReceivedView;

/// Bytes of the vmcore that are compared at once; a multiple of [`PAGE`].
const CHUNK: u64 = 1 << 20;

/// Checks that every byte of every PT_LOAD equals memory at T1, but for pages that the dump level
/// leaves out. Those are named, whole, and zero in the file.
pub(crate) fn vmcore_equals_memory(evidence: &Evidence<'_>) -> Result<String> {
    let loads = &evidence.core.loads;
    ensure!(!loads.is_empty(), "the vmcore has no PT_LOAD");
    let mut wrong = Vec::new();
    let Evidence { core, memory, truth, left, .. } = *evidence;
    let mut bytes = 0;
    for load in loads {
        let end = load.offset.checked_add(load.filesz).context("a PT_LOAD wraps")?;
        for part in subtract(std::slice::from_ref(&(load.offset..end)), left) {
            let physical = |offset| load.paddr.checked_add(offset - load.offset);
            let (start, end) = (physical(part.start), physical(part.end));
            let part = start.zip(end).context("a PT_LOAD wraps")?;
            compare(&Compared { core, memory, truth }, load, part.0..part.1, &mut wrong)?;
            bytes += part.1 - part.0;
        }
    }
    pages_are_zero(core, left)?;
    let (_, name) = evidence.truth.reference();
    let reused = drop_reused(evidence, &mut wrong);
    if let Some(first) = wrong.first() {
        bail!("{} pages differ from {name}, the first at {first:#x}", wrong.len());
    }
    let left = match total(left) {
        0 => String::new(),
        left => format!(", {left} are left out"),
    };
    Ok(format!("{bytes} bytes in {} PT_LOADs equal {name}{reused}{left}", loads.len()))
}

/// Checks that what is left out is whole pages, and zero in the file.
fn pages_are_zero(core: &CoreFile, left: &[Range<u64>]) -> Result<()> {
    let mut page = [0; PAGE as usize];
    for range in left {
        let is_whole = range.start.is_multiple_of(PAGE) && range.end.is_multiple_of(PAGE);
        ensure!(is_whole, "a part of a page is left out at {:#x} of the vmcore", range.start);
        for at in range.clone().step_by(PAGE as usize) {
            core.read_at(at, &mut page)?;
            ensure!(page == [0; PAGE as usize], "the page at {at:#x} is left out and not zero");
        }
    }
    Ok(())
}

/// Takes the pages out of `wrong` that a stock Linux has used itself since they were saved, when
/// memory is only known as it is after its end; says how many.
fn drop_reused(evidence: &Evidence<'_>, wrong: &mut Vec<u64>) -> String {
    let before = wrong.len();
    if evidence.is_stock && evidence.truth.purgatory.is_none() {
        wrong.retain(|page| *page >= BACKUP_LENGTH);
    }
    match before - wrong.len() {
        0 => String::new(),
        reused => format!(", but for {reused} pages that the capture kernel used"),
    }
}

/// A file and the sources that it is compared with.
struct Compared<'a> {
    core: &'a CoreFile,
    memory: &'a GuestMemory,
    truth: &'a Truth,
}

/// Adds the addresses of pages that differ to `wrong`; of the load, those of `part` (physical).
fn compare(
    compared: &Compared<'_>,
    load: &Load,
    part: Range<u64>,
    wrong: &mut Vec<u64>,
) -> Result<()> {
    let mut buffer = vec![0; CHUNK as usize];
    let mut at = part.start;
    while at < part.end {
        let next = (at + CHUNK - at % CHUNK).min(part.end);
        let bytes = &mut buffer[..(next - at) as usize];
        let pages = compared.core.read_at(load.offset + (at - load.paddr), bytes);
        pages
            .and_then(|()| compare_pages(compared, at, bytes, wrong))
            .with_context(|| format!("PT_LOAD at {:#x}", load.paddr))?;
        at = next;
    }
    Ok(())
}

fn compare_pages(
    compared: &Compared<'_>,
    start: u64,
    mut bytes: &[u8],
    wrong: &mut Vec<u64>,
) -> Result<()> {
    let (reference, name) = compared.truth.reference();
    let mut at = start;
    while !bytes.is_empty() {
        let (piece, rest) = bytes.split_at(bytes.len().min((PAGE - at % PAGE) as usize));
        let same = if piece.len() as u64 == PAGE {
            let taken = compared.memory.digest_at(reference, at);
            taken.with_context(|| format!("{at:#x} is not RAM"))? == digest(piece)
        } else {
            let held = compared.truth.bytes(compared.memory, at, piece.len() as u64);
            held.with_context(|| format!("comparing a part of a page with {name}"))? == piece
        };
        if !same {
            wrong.push(at);
        }
        at += piece.len() as u64;
        bytes = rest;
    }
    Ok(())
}

/// Checks that the file at `path` equals `range` of memory (physical), byte for byte.
///
/// # Errors
/// Fails if they differ, or the file cannot be read.
pub fn oldmem_equals_memory(
    path: &Path,
    memory: &GuestMemory,
    truth: &Truth,
    range: &Range<u64>,
) -> Result<String> {
    let expected = truth.bytes(memory, range.start, range.end - range.start)?;
    let found = std::fs::read(path).context("reading the dump")?;
    ensure!(found.len() == expected.len(), "the dump has {} bytes", found.len());
    if let Some(at) = expected.iter().zip(&found).position(|(expected, found)| expected != found) {
        bail!("the byte of {:#x} differs", range.start + at as u64);
    }
    Ok(format!("{} bytes from {:#x} on equal memory", found.len(), range.start))
}

/// Checks that every byte of the partial vmcore at `path` equals memory, unless `view` names it as
/// missing or different. Bytes that could not be read are zero, and named as well.
///
/// # Errors
/// Fails if a byte differs, or the file has no headers to describe its bytes.
pub fn claims_equal_memory(
    path: &Path,
    view: &ReceivedView,
    memory: &GuestMemory,
    truth: &Truth,
) -> Result<String> {
    let left = view.left.iter().map(|(start, length, _)| (*start, *length));
    let not_there: Vec<_> = left.chain([&view.missing[..], &view.differs].concat()).collect();
    let not_there: Vec<_> =
        not_there.iter().map(|(start, length)| *start..start + length).collect();
    let whole = 0..view.bytes;
    let claimed = subtract(std::slice::from_ref(&whole), &not_there);
    if claimed.is_empty() {
        return Ok("nothing has come, and nothing is claimed".to_string());
    }
    let core = CoreFile::open(path)?;
    let mut wrong = Vec::new();
    for load in &core.loads {
        let end = load.offset.checked_add(load.filesz).context("a PT_LOAD wraps")?;
        let missing = subtract(std::slice::from_ref(&(load.offset..end)), &claimed);
        for part in subtract(std::slice::from_ref(&(load.offset..end)), &missing) {
            let start = load.paddr + (part.start - load.offset);
            let physical = start..start + (part.end - part.start);
            compare(&Compared { core: &core, memory, truth }, load, physical, &mut wrong)?;
        }
    }
    if let Some(first) = wrong.first() {
        bail!("{} pages differ of which all is claimed, the first at {first:#x}", wrong.len());
    }
    let (there, missing) = (total(&claimed), view.bytes - total(&claimed));
    Ok(format!("{there} bytes are right, and {missing} are named as missing"))
}
