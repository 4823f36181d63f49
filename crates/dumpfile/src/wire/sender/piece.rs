//! The next piece of a range, and counted frames as bytes.

use vmcore::PageClass;

use super::SenderStep;
use crate::chunk::{CHUNK, ChunkEntry, Codec, PAGES, pages_of};
use crate::wire::window::{Item, Part};
use crate::wire::{
    Chunk, Frame, Known, MAX_BULK, Packet, Range, Run, SMALL_FRAME, Source, Unreadable, ViewInfo,
    WireError, codec,
};

/// Granularity of holes, in bytes: a line can be read as a whole or not at all, as memory is
/// poisoned line by line.
const LINE: u64 = 64;
/// Number of bytes in which one step looks for the end of a run of zeros.
const ZERO_SCAN: u64 = 1 << 20;

/// Front of a range.
pub(super) enum Front {
    /// So many zeros, or more.
    Zeros(u64),
    /// Something to send. The bytes of a data frame are in the buffer.
    Item(Item),
}

/// Options for sending contents.
#[derive(Clone, Copy, Debug)]
pub(super) struct Means {
    /// Largest frame, in bytes.
    pub(super) max_frame: usize,
    /// True if bulks were agreed.
    pub(super) bulk: bool,
    /// True if chunks are compressed.
    pub(super) lz4: bool,
}

/// Returns the number of the `length` bytes from `offset` on that are in the same line.
pub(super) fn in_line(offset: u64, length: u64) -> u64 {
    length.min(LINE - offset % LINE)
}

/// The front of `rest`.
pub(super) fn front<S: Source>(
    rest: Range,
    source: &mut S,
    means: Means,
    out: &mut [u8],
) -> Result<Front, WireError> {
    let (view, offset) = (rest.view(), rest.offset());
    let info = source.view(view).filter(|info| means.lz4 && info.codec == Codec::Lz4);
    let whole = info.map(|info| info.length);
    let known = source.known(view, offset, rest.length());
    if let Known::Left(class, length) = known
        && let Some(left) = left_out(rest, class, length, whole.is_some())?
    {
        return Ok(left);
    }
    if let Some(whole) = whole
        && let Some(chunk) = chunk(rest, whole, source)?
    {
        return Ok(chunk);
    }
    let most = if whole.is_some() { CHUNK - offset % CHUNK } else { u64::MAX };
    let rest = match known {
        Known::Kept(length) => part(rest, length.min(most))?,
        Known::Left(PageClass::Zero, length) if length < LINE => part(rest, most)?,
        Known::Left(class, length) => return left(rest, class, length.min(most)),
    };
    uncompressed(rest, source, means, out)
}

/// Returns the front of `rest` that consists of `length` bytes of one class, if they are to be sent
/// by themselves. In a view of chunks these go on to the end of a chunk: the rest of the run is
/// named by its chunk.
fn left_out(
    rest: Range,
    class: PageClass,
    length: u64,
    chunked: bool,
) -> Result<Option<Front>, WireError> {
    let end = rest.offset() + length.min(rest.length());
    let boundary = end - end % CHUNK;
    let length = match chunked && end < rest.end() && rest.offset().is_multiple_of(CHUNK) {
        true => boundary.saturating_sub(rest.offset()),
        false if chunked && end < rest.end() && boundary > rest.offset() => {
            boundary - rest.offset()
        }
        false if class == PageClass::Zero && length < LINE => 0,
        false => length,
    };
    if length == 0 { Ok(None) } else { left(rest, class, length).map(Some) }
}

/// `length` bytes of one class at the front of `rest`.
fn left(rest: Range, class: PageClass, length: u64) -> Result<Front, WireError> {
    let range = part(rest, length)?;
    Ok(match class {
        PageClass::Zero => Front::Zeros(range.length()),
        class => Front::Item(Item::Left(range, class)),
    })
}

/// The first `length` bytes of `rest`, or all of it.
fn part(rest: Range, length: u64) -> Result<Range, WireError> {
    Range::new(rest.view(), rest.offset(), rest.length().min(length))
}

/// The chunk at the front of `rest` in a view of `whole` bytes, if it has shrunk. One with memory
/// that cannot be read is sent uncompressed: this names the lines, not the pages.
fn chunk<S: Source>(rest: Range, whole: u64, source: &mut S) -> Result<Option<Front>, WireError> {
    let length = CHUNK.min(whole.saturating_sub(rest.offset()));
    let number = u32::try_from(rest.offset() / CHUNK);
    let (Ok(number), true) = (number, rest.offset().is_multiple_of(CHUNK)) else {
        return Ok(None);
    };
    if rest.length() < length {
        return Ok(None);
    }
    let Some(entry) = source.chunk(rest.view(), number) else { return Ok(None) };
    let all_zero = || (0..pages_of(number, whole)).all(|page| entry.left.get(page) == ZERO);
    Ok(if is_whole(&entry) {
        Some(Front::Item(Item::Chunk(part(rest, length)?, entry.stored)))
    } else if all_zero() {
        Some(Front::Zeros(length))
    } else {
        None
    })
}

const ZERO: Option<PageClass> = Some(PageClass::Zero);

/// True if a chunk was compressed, and all of it could be read.
fn is_whole(entry: &ChunkEntry) -> bool {
    let unreadable = |page| entry.left.get(page) == Some(PageClass::Unreadable);
    entry.codec == Codec::Lz4 && !(0..PAGES).any(unreadable)
}

/// The front of `rest` as a bulk, zeros or data.
fn uncompressed<S: Source>(
    rest: Range,
    source: &mut S,
    means: Means,
    out: &mut [u8],
) -> Result<Front, WireError> {
    let (view, offset) = (rest.view(), rest.offset());
    if means.bulk {
        let most = rest.length().min(MAX_BULK.into());
        match source.run(view, offset, most) {
            Run::Zeros(length) if length > 0 => return Ok(Front::Zeros(length.min(rest.length()))),
            Run::Bulk(length) if length > 0 => {
                let range = Range::new(view, offset, length.min(most))?;
                return Ok(Front::Item(Item::Bulk(range)));
            }
            _ => {}
        }
    }
    by_reading(rest, source, means.max_frame, out)
}

/// Returns the front of `rest`; its bytes are read into the place of a data frame's bytes in `out`.
fn by_reading<S: Source>(
    rest: Range,
    source: &mut S,
    max_frame: usize,
    out: &mut [u8],
) -> Result<Front, WireError> {
    let (view, offset) = (rest.view(), rest.offset());
    let item = |kind: fn(Range) -> Item, length| {
        Range::new(view, offset, length).map(|range| Front::Item(kind(range)))
    };
    let unreadable = |range| Item::Left(range, PageClass::Unreadable);
    let most = codec::data_capacity(max_frame);
    let length = usize::try_from(rest.length()).unwrap_or(most).min(most);
    let bytes = room(out, length)?;
    if source.read(view, offset, bytes).is_err() {
        let line = in_line(offset, length as u64);
        let read = source.read(view, offset, &mut bytes[..line as usize]);
        return item(if read.is_ok() { Item::Data } else { unreadable }, line);
    }
    if leading_zeros(bytes) < length {
        return item(Item::Data, length as u64);
    }
    Ok(Front::Zeros(zero_run(rest, length as u64, source, bytes)))
}

/// Length of the run of zeros at the front of `rest`, of which `run` bytes were seen.
fn zero_run<S: Source>(rest: Range, mut run: u64, source: &mut S, buffer: &mut [u8]) -> u64 {
    let most = rest.length().min(ZERO_SCAN);
    while run < most {
        let length = usize::try_from(most - run).unwrap_or(usize::MAX).min(buffer.len());
        let bytes = &mut buffer[..length];
        if source.read(rest.view(), rest.offset() + run, bytes).is_err() {
            break;
        }
        let zeros = leading_zeros(bytes);
        run += zeros as u64;
        if zeros < length {
            break;
        }
    }
    run
}

fn leading_zeros(bytes: &[u8]) -> usize {
    bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len())
}

/// The place of a data frame's bytes.
fn room(out: &mut [u8], length: usize) -> Result<&mut [u8], WireError> {
    let room = out.len();
    let needed = length.saturating_add(SMALL_FRAME);
    codec::data_bytes(out, length).ok_or(WireError::Room { needed, room })
}

/// Completes the data frame of `range`; its bytes are in `out`.
pub(super) fn seal(
    range: Range,
    session: u32,
    seq: u32,
    out: &mut [u8],
) -> Result<SenderStep, WireError> {
    let length = usize::try_from(range.length()).unwrap_or(usize::MAX);
    let sealed = codec::seal_data(out, session, seq, range.view(), range.offset(), length);
    sealed.map(SenderStep::Send)
}

/// A counted frame. The bytes of a data or part frame are read from the source, those of a bulk are
/// not.
pub(super) fn encode<S: Source>(
    item: Item,
    source: &mut S,
    (session, means): (u32, Means),
    seq: u32,
    out: &mut [u8],
) -> Result<SenderStep, WireError> {
    let send = |frame, out: &mut [u8]| codec::encode(&Packet { seq, frame }, session, out);
    let length = match item {
        Item::View(view) => {
            let info = source.view(view).ok_or(WireError::View(view))?;
            send(Frame::View(view, sent_as(info, means)), out)
        }
        Item::Totals(view) => {
            let totals = source.totals(view).unwrap_or_default();
            send(Frame::Totals(view, totals), out)
        }
        Item::Zero(range) => send(Frame::Zero(range), out),
        Item::Left(range, class) => send(Frame::Left(range, class), out),
        Item::Bulk(range) => {
            let head = send(Frame::Bulk(range), out)?;
            return Ok(SenderStep::Bulk { head, range });
        }
        Item::Chunk(range, _) => {
            let number = (range.offset() / CHUNK) as u32;
            match source.chunk(range.view(), number).filter(is_whole) {
                Some(entry) => {
                    let (view, follows) = (range.view(), means.bulk);
                    let head = send(Frame::Chunk(Chunk { view, entry, follows }), out)?;
                    if follows {
                        return Ok(SenderStep::Chunk { head, view, chunk: number });
                    }
                    Ok(head)
                }
                None => {
                    return encode(Item::View(range.view()), source, (session, means), seq, out);
                }
            }
        }
        Item::Part(Part { view, chunk, offset, length }) => {
            let count = usize::try_from(length).unwrap_or(usize::MAX);
            let room = out.len();
            let needed = count.saturating_add(SMALL_FRAME);
            let bytes = codec::part_bytes(out, count).ok_or(WireError::Room { needed, room })?;
            match source.stored(view, chunk, offset, bytes) {
                Ok(()) => codec::seal_part(out, (session, seq), (view, chunk), (offset, count)),
                Err(Unreadable) => {
                    return encode(Item::View(view), source, (session, means), seq, out);
                }
            }
        }
        Item::Data(range) => return read_and_seal(range, source, session, seq, out),
    };
    length.map(SenderStep::Send)
}

/// A view as the list has it in this session.
fn sent_as(info: ViewInfo<'_>, means: Means) -> ViewInfo<'_> {
    ViewInfo { codec: if means.lz4 { info.codec } else { Codec::Raw }, ..info }
}

/// A data frame that is sent again; if its bytes cannot be read any more, they are left out.
fn read_and_seal<S: Source>(
    range: Range,
    source: &mut S,
    session: u32,
    seq: u32,
    out: &mut [u8],
) -> Result<SenderStep, WireError> {
    let bytes = room(out, usize::try_from(range.length()).unwrap_or(usize::MAX))?;
    match source.read(range.view(), range.offset(), bytes) {
        Ok(()) => seal(range, session, seq, out),
        Err(Unreadable) => {
            let left = Packet { seq, frame: Frame::Left(range, PageClass::Unreadable) };
            codec::encode(&left, session, out).map(SenderStep::Send)
        }
    }
}
