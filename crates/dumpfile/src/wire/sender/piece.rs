//! What comes next of a range, and counted frames as bytes.

use super::SenderStep;
use crate::wire::window::Item;
use crate::wire::{
    Frame, MAX_BULK, Packet, Range, Run, SMALL_FRAME, Source, Unreadable, WireError, codec,
};

/// How finely holes are told from what can be read, in bytes: a line can be read as a whole or not
/// at all, as memory is poisoned line by line.
const LINE: u64 = 64;
/// How far one step looks for the end of a run of zeros, in bytes.
const ZERO_SCAN: u64 = 1 << 20;

/// What is at the front of a range.
pub(super) enum Front {
    /// So many zeros, or more.
    Zeros(u64),
    /// Something to send. The bytes of a data frame are in the buffer.
    Item(Item),
}

/// How contents may be sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Means {
    /// Largest frame, in bytes.
    pub(super) max_frame: usize,
    /// Whether bulks were agreed.
    pub(super) bulk: bool,
}

/// How many of `length` bytes from `offset` on lie in the same line.
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
    let known = source.zeros(view, offset).min(rest.length());
    if known >= LINE {
        return Ok(Front::Zeros(known));
    }
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

/// The front of `rest`, whose bytes are read into the place of a data frame's bytes in `out`.
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
    let most = codec::data_capacity(max_frame);
    let length = usize::try_from(rest.length()).unwrap_or(most).min(most);
    let bytes = room(out, length)?;
    if source.read(view, offset, bytes).is_err() {
        let line = in_line(offset, length as u64);
        let read = source.read(view, offset, &mut bytes[..line as usize]);
        return item(if read.is_ok() { Item::Data } else { Item::Hole }, line);
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

/// Completes the data frame of `range`, whose bytes are in `out`.
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

/// A counted frame. The bytes of a data frame are read from the source, those of a bulk are not.
pub(super) fn encode<S: Source>(
    item: Item,
    source: &mut S,
    session: u32,
    seq: u32,
    out: &mut [u8],
) -> Result<SenderStep, WireError> {
    let mut send = |frame| codec::encode(&Packet { seq, frame }, session, out);
    let length = match item {
        Item::View(view) => match source.view(view) {
            Some(info) => send(Frame::View(view, info)),
            None => Err(WireError::View(view)),
        },
        Item::Zero(range) => send(Frame::Zero(range)),
        Item::Hole(range) => send(Frame::Hole(range)),
        Item::Bulk(range) => {
            let head = send(Frame::Bulk(range))?;
            return Ok(SenderStep::Bulk { head, range });
        }
        Item::Data(range) => return read_and_seal(range, source, session, seq, out),
    };
    length.map(SenderStep::Send)
}

/// A data frame that is sent again; a hole, if its bytes cannot be read any more.
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
            let hole = Packet { seq, frame: Frame::Hole(range) };
            codec::encode(&hole, session, out).map(SenderStep::Send)
        }
    }
}
