//! Frames to bytes.

use zerocopy::IntoBytes;
use zerocopy::little_endian::U64;

use super::layout::{
    AckBody, BULK, BulkBody, ChunkBody, DATA_START, DataBody, FOLLOWS, GreetingBody, HAS_CRC,
    Header, HelloBody, PART_START, PUSH, PUSHED, PartBody, RangeBody, TAKES_BULK, TAKES_LZ4,
    TotalsBody, ViewBody, bulk_length, checksum, kind, session_of,
};
use super::{
    Chunk, Frame, Greeting, HEADER_SIZE, Hello, MARK, MAX_FRAME, Packet, Range, SMALL_FRAME,
    TRAILER_SIZE, VERSION, ViewInfo, WireError,
};

/// Most bytes in a data frame of at most `max_frame` bytes. Whole pages, where there is room for
/// one.
pub(super) const fn data_capacity(max_frame: usize) -> usize {
    let room = max_frame.saturating_sub(DATA_START + TRAILER_SIZE);
    if room > 4096 { room & !4095 } else { room }
}

/// The part of the buffer `out` where the bytes of a data frame go.
pub(super) fn data_bytes(out: &mut [u8], length: usize) -> Option<&mut [u8]> {
    out.get_mut(DATA_START..DATA_START.checked_add(length)?)
}

/// Completes the data frame of the `length` bytes that are in `out` already ([`data_bytes`]).
/// Returns its length.
pub(super) fn seal_data(
    out: &mut [u8],
    session: u32,
    seq: u32,
    view: u16,
    offset: u64,
    length: usize,
) -> Result<usize, WireError> {
    let body = DataBody { view: view.into(), offset: offset.into() };
    let room = out.len();
    let place = out.get_mut(HEADER_SIZE..DATA_START);
    let place = place.ok_or(WireError::Room { needed: DATA_START + TRAILER_SIZE, room })?;
    place.copy_from_slice(body.as_bytes());
    seal(out, session, seq, kind::DATA, DATA_START - HEADER_SIZE + length)
}

/// Most bytes in a part frame of at most `max_frame` bytes.
pub(super) const fn part_capacity(max_frame: usize) -> usize {
    max_frame.saturating_sub(PART_START + TRAILER_SIZE)
}

/// The part of the buffer `out` where the bytes of a part frame go.
pub(super) fn part_bytes(out: &mut [u8], length: usize) -> Option<&mut [u8]> {
    out.get_mut(PART_START..PART_START.checked_add(length)?)
}

/// Completes the part frame of the `length` bytes that are in `out` already ([`part_bytes`]).
/// Returns its length.
pub(super) fn seal_part(
    out: &mut [u8],
    (session, seq): (u32, u32),
    (view, chunk): (u16, u32),
    (offset, length): (u32, usize),
) -> Result<usize, WireError> {
    let body = PartBody { view: view.into(), chunk: chunk.into(), offset: offset.into() };
    let room = out.len();
    let place = out.get_mut(HEADER_SIZE..PART_START);
    let place = place.ok_or(WireError::Room { needed: PART_START + TRAILER_SIZE, room })?;
    place.copy_from_slice(body.as_bytes());
    seal(out, session, seq, kind::PART, PART_START - HEADER_SIZE + length)
}

/// Writes a frame to the front of `out` and says its length in bytes. `session` is the number that
/// the hello chose; announce and hello ignore it.
///
/// # Errors
/// [`WireError::Room`], [`WireError::Name`] if the name of a view is invalid.
pub fn encode(packet: &Packet<'_>, session: u32, out: &mut [u8]) -> Result<usize, WireError> {
    let mut body = Body { out, length: 0 };
    let kind = match &packet.frame {
        Frame::Announce(greeting) => body.greeting(kind::ANNOUNCE, greeting)?,
        Frame::Welcome(greeting) => body.greeting(kind::WELCOME, greeting)?,
        Frame::Hello(hello) => body.hello(hello)?,
        Frame::View(view, info) => body.view(*view, info)?,
        Frame::Data { view, offset, bytes } => {
            let head = DataBody { view: (*view).into(), offset: (*offset).into() };
            body.put(head.as_bytes())?.put(bytes)?.kind(kind::DATA)
        }
        Frame::Zero(range) => body.range(range)?.kind(kind::ZERO),
        Frame::Left(range, class) => body.range(range)?.put(&[class.code()])?.kind(kind::LEFT),
        Frame::Chunk(chunk) => body.chunk(chunk)?,
        Frame::Part { view, chunk, offset, bytes } => {
            let (view, chunk, offset) = ((*view).into(), (*chunk).into(), (*offset).into());
            let head = PartBody { view, chunk, offset };
            body.put(head.as_bytes())?.put(bytes)?.kind(kind::PART)
        }
        Frame::Totals(view, pages) => {
            let totals = TotalsBody { view: (*view).into(), pages: pages.map(U64::new) };
            body.put(totals.as_bytes())?.kind(kind::TOTALS)
        }
        Frame::Bulk(range) => body.bulk(range)?,
        Frame::Ack { highest, before } => {
            let ack = AckBody { highest: (*highest).into(), before: (*before).into() };
            body.put(ack.as_bytes())?.kind(kind::ACK)
        }
        Frame::Want(wants) => {
            wants.as_slice().iter().try_for_each(|range| body.range(range).map(drop))?;
            kind::WANT
        }
        Frame::Check(range) => body.range(range)?.kind(kind::CHECK),
        Frame::Checked(range, sha256) => body.range(range)?.put(sha256)?.kind(kind::CHECKED),
        Frame::Done(end) => body.put(&[end.code()])?.kind(kind::DONE),
        Frame::Bye => kind::BYE,
    };
    let length = body.length;
    seal(out, session, packet.seq, kind, length)
}

/// A body that is being written after the place of its header.
struct Body<'o> {
    out: &'o mut [u8],
    length: usize,
}

impl Body<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<&mut Self, WireError> {
        let start = HEADER_SIZE + self.length;
        let (room, end) = (self.out.len(), start.saturating_add(bytes.len()));
        let place = self.out.get_mut(start..end).ok_or(WireError::Room { needed: end, room })?;
        place.copy_from_slice(bytes);
        self.length += bytes.len();
        Ok(self)
    }

    fn kind(&self, kind: u8) -> u8 {
        kind
    }

    fn greeting(&mut self, kind: u8, greeting: &Greeting) -> Result<u8, WireError> {
        let body = GreetingBody {
            id: greeting.id,
            length: greeting.length.into(),
            max_frame: greeting.max_frame.into(),
            views: greeting.views.into(),
            flags: flag(greeting.bulk, BULK).into(),
        };
        self.put(body.as_bytes()).map(|_| kind)
    }

    fn hello(&mut self, hello: &Hello) -> Result<u8, WireError> {
        let body = HelloBody {
            session: hello.session.into(),
            max_frame: hello.max_frame.into(),
            flags: (flag(hello.push, PUSH)
                | flag(hello.bulk, TAKES_BULK)
                | flag(hello.lz4, TAKES_LZ4))
            .into(),
        };
        self.put(body.as_bytes()).map(|_| kind::HELLO)
    }

    fn view(&mut self, view: u16, info: &ViewInfo<'_>) -> Result<u8, WireError> {
        if !ViewInfo::is_name(info.name.as_bytes()) {
            return Err(WireError::Name);
        }
        let body = ViewBody {
            view: view.into(),
            flags: flag(info.pushed, PUSHED).into(),
            length: info.length.into(),
            start: info.start.into(),
            level: info.level,
            codec: info.codec.code(),
            zero: [0; 2],
        };
        self.put(body.as_bytes())?.put(info.name.as_bytes()).map(|_| kind::VIEW)
    }

    fn bulk(&mut self, range: &Range) -> Result<u8, WireError> {
        let length = bulk_length(range.offset(), range.length())?;
        let (view, offset) = (range.view().into(), range.offset().into());
        self.put(BulkBody { view, offset, length: length.into() }.as_bytes()).map(|_| kind::BULK)
    }

    fn chunk(&mut self, chunk: &Chunk) -> Result<u8, WireError> {
        let Chunk { view, entry, follows } = chunk.checked()?;
        let crc = if entry.crc.is_some() { HAS_CRC } else { 0 };
        let body = ChunkBody {
            view: view.into(),
            chunk: entry.chunk.into(),
            codec: entry.codec.code(),
            flags: crc | if follows { FOLLOWS } else { 0 },
            stored: entry.stored.into(),
            crc: entry.crc.unwrap_or(0).into(),
            left: entry.left.to_bytes(),
        };
        self.put(body.as_bytes()).map(|_| kind::CHUNK)
    }

    fn range(&mut self, range: &Range) -> Result<&mut Self, WireError> {
        let body = RangeBody {
            view: range.view().into(),
            offset: range.offset().into(),
            length: range.length().into(),
        };
        self.put(body.as_bytes())
    }
}

const fn flag(set: bool, bit: u16) -> u16 {
    if set { bit } else { 0 }
}

/// Puts header and trailer around a body of `length` bytes that is at its place in `out`, and masks
/// it all.
fn seal(
    out: &mut [u8],
    session: u32,
    seq: u32,
    kind: u8,
    length: usize,
) -> Result<usize, WireError> {
    let total = length.saturating_add(HEADER_SIZE + TRAILER_SIZE);
    let room = out.len().min(MAX_FRAME);
    let frame = out.get_mut(..total).filter(|_| total <= MAX_FRAME);
    let frame = frame.ok_or(WireError::Room { needed: total, room })?;
    let short = (length & 0xffff) as u16;
    let mut header = Header {
        mark: MARK,
        mask: 0,
        version: VERSION,
        kind,
        length: short.into(),
        check: 0.into(),
        seq: seq.into(),
    };
    header.check = header.checksum().into();
    frame[..HEADER_SIZE].copy_from_slice(header.as_bytes());
    let (covered, trailer) = frame.split_at_mut(total - TRAILER_SIZE);
    trailer.copy_from_slice(&checksum(session_of(kind, session), &covered[2..]).to_le_bytes());
    let masked = if total <= SMALL_FRAME { total } else { HEADER_SIZE };
    mask(&mut frame[1..masked]);
    Ok(total)
}

/// Masks everything after the first byte, which becomes the mask, so that [`MARK`] is nowhere.
fn mask(bytes: &mut [u8]) {
    let mut taken = [0u64; 4];
    let mut take = |mask: u8| taken[usize::from(mask >> 6)] |= 1 << (mask & 63);
    take(MARK);
    bytes[1..].iter().for_each(|byte| take(byte ^ MARK));
    let free = (0..=u8::MAX).find(|mask| taken[usize::from(mask >> 6)] >> (mask & 63) & 1 == 0);
    // 254 bytes and MARK itself rule out 255 masks at most.
    let mask = free.unwrap_or(0);
    bytes[0] = mask;
    bytes[1..].iter_mut().for_each(|byte| *byte ^= mask);
}
