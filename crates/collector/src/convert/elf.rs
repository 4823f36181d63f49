//! Writing an ELF core.
//!
//! Runs of left-out pages end a PT_LOAD, and count in its `p_memsz` alone, as makedumpfile does it;
//! shorter ones are zeros in the file.

use std::io;

use dumpfile::kdump_file::PageBitmap;
use vmcore::{Class, PhysAddr, Segment, SegmentKind, WINDOW, build};

use super::pages::{Tools, is_zero, read_kept};
use super::writing::Writing;
use crate::Error;
use crate::memory::{Memory, PAGE};
use crate::parallel::in_order;
use crate::sink::Sink;

/// Number of pages that are worth a program header (makedumpfile, `PFN_EXCLUDED`).
const LONG_RUN: u64 = 256;
/// Most PT_LOADs, beside one PT_NOTE.
const MOST_LOADS: usize = 65_533;

/// Consecutive memory, of which the front is in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stored {
    start: u64,
    /// One past the last address that has a byte in the file.
    stored: u64,
    end: u64,
    /// Offset in the file.
    at: u64,
}

/// A page that was read: its number, and flags that it could be read and is zero.
type Page = (u64, bool, bool);

/// Writes the pages in `kept`, and returns the length of the file.
pub(super) fn write(
    writing: &mut Writing<'_>,
    kept: &PageBitmap,
    sink: &mut dyn Sink,
) -> Result<u64, Error> {
    let memory = writing.memory;
    let path = memory.vmcore.path();
    let (head, parts) = lay_out(memory, kept).map_err(|source| {
        let path = path.to_owned();
        Error::Vmcore { path, source: source.into() }
    })?;
    sink.write_at(0, &head).map_err(Error::Output)?;
    let units: Vec<(u64, u64, u64)> = parts.iter().flat_map(units).collect();
    let all: u64 = units.iter().map(|(start, end, _)| end - start).sum();
    let mut done = 0;
    let tools = || Tools::new().map_err(Error::io("read", path));
    let work = |tools: &mut Tools, index: usize| {
        let (start, end, _) = units[index];
        let pages = (start / PAGE, end.div_ceil(PAGE));
        let pages = read_kept(memory, kept, pages, &mut tools.buffer).into_iter();
        let zeros = tools.buffer.chunks_exact(PAGE as usize).map(is_zero);
        let page = |((page, is_good), is_zero)| (page, is_good, is_zero);
        Ok(pages.zip(zeros).map(page).collect())
    };
    let take = |tools: &mut Tools, index: usize, pages: Vec<Page>| {
        put_pages(sink, units[index], &pages, &tools.buffer).map_err(Error::Output)?;
        pages.iter().for_each(|(page, is_good, is_zero)| writing.count(*page, *is_zero, *is_good));
        done += units[index].1 - units[index].0;
        (writing.progress)(done, all);
        Ok(())
    };
    in_order(units.len(), tools, work, take)?;
    let length = parts.iter().map(|part| part.at + (part.stored - part.start)).max();
    let length = length.unwrap_or(0).max(head.len() as u64);
    sink.finish(length).map_err(Error::Output)?;
    Ok(length)
}

/// Writes the pages of a unit, which are one after the other in `buffer`, and skips those of zeros.
fn put_pages(
    sink: &mut dyn Sink,
    (start, end, at): (u64, u64, u64),
    pages: &[Page],
    buffer: &[u8],
) -> io::Result<()> {
    let mut from = 0;
    for run in pages.chunk_by(|a, b| a.2 == b.2 && a.0 + 1 == b.0) {
        let first = run[0].0 * PAGE;
        let bytes = &buffer[from..from + run.len() * PAGE as usize];
        from += bytes.len();
        if run[0].2 {
            continue;
        }
        // The first and the last page may belong to this part only in part.
        let skip = start.saturating_sub(first);
        let over = (first + bytes.len() as u64).saturating_sub(end);
        let bytes = &bytes[skip as usize..bytes.len() - over as usize];
        sink.write_at(at + (first + skip - start), bytes)?;
    }
    Ok(())
}

/// The stored memory of a part, in pieces that fit in a buffer: start, end, offset in the file.
fn units(part: &Stored) -> impl Iterator<Item = (u64, u64, u64)> {
    let Stored { start, stored, at, .. } = *part;
    let first = start / WINDOW * WINDOW;
    let windows = (first..stored).step_by(WINDOW as usize);
    windows.map(move |window| {
        let from = window.max(start);
        (from, (window + WINDOW).min(stored), at + (from - start))
    })
}

/// ELF header, program headers and notes, and the places of memory in the file.
fn lay_out(
    memory: &Memory<'_>,
    kept: &PageBitmap,
) -> Result<(Vec<u8>, Vec<Stored>), vmcore::Error> {
    let vmcore = memory.vmcore;
    let notes = vmcore.all_notes();
    let is_load = |segment: &&Segment| segment.kind == SegmentKind::Load;
    let loads = vmcore.segments.iter().filter(is_load);
    let (mut parts, count) = few_parts(memory, kept, loads.clone());
    let head = |class: Class| class.header_size() + (count + 1) * class.entry_size();
    // The class of the source, unless its offsets do not fit.
    let end = place(&mut parts, head(vmcore.class) + notes.len());
    let class = match vmcore.class {
        Class::Elf32 if end < 1 << 32 => Class::Elf32,
        _ => Class::Elf64,
    };
    place(&mut parts, head(class) + notes.len());
    let length = notes.len() as u64;
    let note = Segment {
        kind: SegmentKind::Note,
        source: PhysAddr::new(head(class) as u64),
        vaddr: 0,
        paddr: PhysAddr::new(0),
        filesz: length,
        memsz: length,
        flags: 0,
    };
    let loads = loads.flat_map(|load| within(load, &parts));
    let segments: Vec<Segment> = std::iter::once(note).chain(loads).collect();
    let mut bytes = build(vmcore.machine, class, &segments)?;
    bytes.extend_from_slice(&notes);
    Ok((bytes, parts))
}

/// Parts, as many as program headers can name, and the number of these.
fn few_parts<'a>(
    memory: &Memory<'_>,
    kept: &PageBitmap,
    loads: impl Iterator<Item = &'a Segment> + Clone,
) -> (Vec<Stored>, usize) {
    let mut long = LONG_RUN;
    loop {
        let parts = parts(memory, kept, long);
        let count = loads.clone().map(|load| within(load, &parts).count()).sum::<usize>();
        if count <= MOST_LOADS || long > u64::MAX / 2 {
            return (parts, count);
        }
        // Fewer headers, and more zeros in the file.
        long *= 2;
    }
}

/// Gives the parts their places after the first `head` bytes. Returns the end of the file.
fn place(parts: &mut [Stored], head: usize) -> u64 {
    let mut at = head as u64;
    for part in parts {
        // An address and its offset are alike within a page.
        part.at = at.next_multiple_of(PAGE) + part.start % PAGE;
        at = part.at + (part.stored - part.start);
    }
    at
}

/// Cuts memory into parts, each with a long run of pages that are left out at its end.
fn parts(memory: &Memory<'_>, kept: &PageBitmap, long: u64) -> Vec<Stored> {
    let mut parts: Vec<Stored> = Vec::new();
    for range in memory.pieces.chunk_by(|a, b| a.end == b.start) {
        let (mut start, end) = (range[0].start, range[range.len() - 1].end);
        for (first, after, is_kept) in kept.runs(start / PAGE, end.div_ceil(PAGE)) {
            let run_end = (after * PAGE).min(end);
            if !is_kept && after - first >= long {
                let stored = (first * PAGE).max(start);
                parts.push(Stored { start, stored, end: run_end, at: 0 });
                start = run_end;
            }
        }
        if start < end {
            parts.push(Stored { start, stored: end, end, at: 0 });
        }
    }
    parts
}

/// The parts of a PT_LOAD that are in these.
fn within<'a>(load: &'a Segment, parts: &'a [Stored]) -> impl Iterator<Item = Segment> + 'a {
    let start = load.paddr.get();
    let end = start.saturating_add(load.memsz);
    let first = parts.partition_point(|part| part.end <= start);
    parts[first..].iter().take_while(move |part| part.start < end).map(move |part| {
        let (from, to) = (part.start.max(start), part.end.min(end));
        let shift = |value: u64| if load.vaddr == 0 { 0 } else { value + (from - start) };
        Segment {
            kind: SegmentKind::Load,
            source: PhysAddr::new(part.at + (from - part.start)),
            vaddr: shift(load.vaddr),
            paddr: PhysAddr::new(from),
            filesz: part.stored.min(to).saturating_sub(from),
            memsz: to - from,
            flags: load.flags,
        }
    })
}
