//! Writing a kdump-compressed file.

use std::io;

use dumpfile::kdump_file::{
    BLOCK, DESCRIPTOR, KdumpHeader, Machine, PageBitmap, PageCodec, PageDescriptor, Part,
    UTSNAME_FIELD, Utsname,
};
use vmcore::{EM_386, WINDOW_PAGES, notes, vmcoreinfo_get};

use super::pages::{Tools, is_zero, read_kept};
use super::writing::Writing;
use crate::memory::PAGE;
use crate::parallel::in_order;
use crate::selection::windows;
use crate::sink::Sink;
use crate::{Error, VmcoreFile};

/// A page as it goes into the file.
#[derive(Clone, Copy)]
struct Packed {
    page: u64,
    /// Number of bytes; none for a page of zeros.
    size: u32,
    codec: PageCodec,
    is_good: bool,
}

/// Writes the pages in `kept`, and returns the length of the file.
pub(super) fn write(
    writing: &mut Writing<'_>,
    kept: &PageBitmap,
    sink: &mut dyn Sink,
) -> Result<u64, Error> {
    let memory = writing.memory;
    let table = put_front(writing, kept, sink)?;
    let zero = table + kept.len() * DESCRIPTOR as u64;
    sink.write_at(zero, &[0; PAGE as usize]).map_err(Error::Output)?;
    let (mut next, mut done) = (zero + PAGE, 0);
    let (windows, codec) = (windows(kept), writing.codec);
    let tools = || Tools::new().map_err(Error::io("read", memory.vmcore.path()));
    let work = |tools: &mut Tools, index: usize| {
        let first = windows[index] * WINDOW_PAGES as u64;
        let window = (first, first + WINDOW_PAGES as u64);
        let pages = read_kept(memory, kept, window, &mut tools.buffer);
        Ok(pack(pages, codec, tools))
    };
    let take = |tools: &mut Tools, _, pages: Vec<Packed>| {
        let mut descriptors = Vec::with_capacity(pages.len() * DESCRIPTOR);
        let (at, start) = (table + done * DESCRIPTOR as u64, next);
        for page in &pages {
            let descriptor = match page.size {
                0 => PageDescriptor { offset: zero, size: BLOCK as u32, codec: PageCodec::Raw },
                size => PageDescriptor { offset: next, size, codec: page.codec },
            };
            descriptors.extend(descriptor.encode());
            next += u64::from(page.size);
            writing.count(page.page, page.size == 0, page.is_good);
        }
        done += pages.len() as u64;
        sink.write_at(at, &descriptors).map_err(Error::Output)?;
        put_pages(sink, start, &pages, tools, codec).map_err(Error::Output)?;
        (writing.progress)(done * PAGE, kept.len() * PAGE);
        Ok(())
    };
    in_order(windows.len(), tools, work, take)?;
    sink.finish(next).map_err(Error::Output)?;
    Ok(next)
}

/// Writes the headers, notes and bitmaps, and returns the place of the page descriptors.
fn put_front(writing: &Writing<'_>, kept: &PageBitmap, sink: &mut dyn Sink) -> Result<u64, Error> {
    let notes = writing.memory.vmcore.all_notes();
    let header = header(writing, notes.len(), vmcoreinfo_in(&notes))?;
    for (at, bytes) in [
        (0, &header.encode()[..]),
        (header.notes.offset, &notes),
        (header.bitmap1(), writing.memory.ram.as_bytes()),
        (header.bitmap2(), kept.as_bytes()),
    ] {
        put(sink, at, bytes).map_err(Error::Output)?;
    }
    Ok(header.descriptors())
}

/// Writes bytes, and skips those at the end that are zero.
fn put(sink: &mut dyn Sink, at: u64, bytes: &[u8]) -> io::Result<()> {
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    sink.write_at(at, &bytes[..used])
}

/// Compresses the pages in the buffer, one after the other, into `packed`; without a codec they
/// stay where they are.
fn pack(pages: Vec<(u64, bool)>, codec: PageCodec, tools: &mut Tools) -> Vec<Packed> {
    let Tools { codecs, buffer, packed } = tools;
    packed.clear();
    let bytes = buffer.chunks_exact(PAGE as usize);
    let pages = pages.into_iter().zip(bytes).map(|((page, is_good), bytes)| {
        let raw = Packed { page, size: PAGE as u32, codec: PageCodec::Raw, is_good };
        if is_zero(bytes) {
            return Packed { size: 0, ..raw };
        }
        if codec == PageCodec::Raw {
            return raw;
        }
        match codecs.compress(codec, bytes) {
            Some(shorter) => {
                packed.extend_from_slice(shorter);
                Packed { size: shorter.len() as u32, codec, ..raw }
            }
            None => {
                packed.extend_from_slice(bytes);
                raw
            }
        }
    });
    pages.collect()
}

/// Writes the bytes of pages to `at`.
fn put_pages(
    sink: &mut dyn Sink,
    mut at: u64,
    pages: &[Packed],
    tools: &Tools,
    codec: PageCodec,
) -> io::Result<()> {
    if codec != PageCodec::Raw {
        return sink.write_at(at, &tools.packed);
    }
    let mut from = 0;
    for run in pages.chunk_by(|a, b| (a.size == 0) == (b.size == 0)) {
        let length = run.len() * PAGE as usize;
        if run[0].size > 0 {
            sink.write_at(at, &tools.buffer[from..from + length])?;
            at += length as u64;
        }
        from += length;
    }
    Ok(())
}

/// The place of the text of VMCOREINFO in notes.
fn vmcoreinfo_in(all: &[u8]) -> Part {
    let mut walk = notes(all);
    while let Some(Ok(note)) = walk.next() {
        if note.is_vmcoreinfo() {
            let size = note.desc.len();
            let offset = walk.offset() - size.next_multiple_of(4).min(walk.offset());
            return Part { offset: offset as u64, size: size as u64 };
        }
    }
    Part::default()
}

fn header(writing: &Writing<'_>, notes: usize, text: Part) -> Result<KdumpHeader, Error> {
    let (memory, vmcore) = (writing.memory, writing.memory.vmcore);
    let machine = if vmcore.machine == EM_386 { Machine::I386 } else { Machine::X86_64 };
    let header = KdumpHeader::new(machine, memory.end.max(1), notes, text);
    let header = header.map_err(|source| {
        let path = vmcore.path().to_owned();
        Error::Kdump { path, source }
    })?;
    let text = vmcore.vmcoreinfo().unwrap_or_default();
    let phys_base = || vmcoreinfo_get(text, "NUMBER(phys_base)")?.parse::<i64>().ok();
    let of_source = vmcore.pages().map_or(0, |pages| pages.header.phys_base);
    let time = vmcoreinfo_get(text, "CRASHTIME").and_then(|time| time.parse().ok());
    Ok(KdumpHeader {
        utsname: utsname(vmcore, text),
        time: time.unwrap_or(0),
        status: writing.codec.flag(),
        cpus: vmcore.notes().filter(vmcore::Note::is_prstatus).count() as u32,
        phys_base: phys_base().map_or(of_source, |base| base as u64),
        dump_level: writing.level.get().into(),
        ..header
    })
}

/// The names of the dead kernel: its own, or as far as VMCOREINFO has them.
fn utsname(vmcore: &VmcoreFile, text: &[u8]) -> Utsname {
    let hex = |key| u64::from_str_radix(vmcoreinfo_get(text, key)?, 16).ok();
    let decimal = |key| vmcoreinfo_get(text, key)?.parse::<u64>().ok();
    let mut names: Utsname = [[0; UTSNAME_FIELD]; 6];
    let place = hex("SYMBOL(init_uts_ns)").zip(decimal("OFFSET(uts_namespace.name)"));
    let place = place.and_then(|(symbol, offset)| symbol.checked_add(offset));
    if place.is_some_and(|at| vmcore.memory().read(at, names.as_flattened_mut()).is_ok())
        && names[0].starts_with(b"Linux\0")
    {
        return names;
    }
    names = [[0; UTSNAME_FIELD]; 6];
    let release = vmcoreinfo_get(text, "OSRELEASE").unwrap_or_default();
    let machine = if vmcore.machine == EM_386 { "i686" } else { "x86_64" };
    let system = if text.is_empty() { "" } else { "Linux" };
    for (index, name) in [(0, system), (2, release), (4, machine)] {
        let length = name.len().min(UTSNAME_FIELD - 1);
        names[index][..length].copy_from_slice(&name.as_bytes()[..length]);
    }
    names
}
