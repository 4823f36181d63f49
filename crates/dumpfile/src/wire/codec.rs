//! Frames to bytes and back.

use vmcore::PageClass;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{
    CLASSES, Chunk, End, Frame, Greeting, HEADER_SIZE, Hello, MARK, MAX_BULK, MAX_FRAME, MAX_VIEWS,
    MAX_WANTS, Packet, Range, SMALL_FRAME, TRAILER_SIZE, VERSION, ViewInfo, Wants, WireError,
};
use crate::checksum::CRC32C;
use crate::chunk::{CHUNK, ChunkEntry, Codec, Left, PAGES};

/// Header of a frame, the same in every version.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Header {
    mark: u8,
    mask: u8,
    pub(super) version: u8,
    pub(super) kind: u8,
    length: U16,
    check: U16,
    seq: U32,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct GreetingBody {
    id: [u8; 16],
    length: U64,
    max_frame: U32,
    views: U16,
    flags: U16,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct HelloBody {
    session: U32,
    max_frame: U32,
    flags: U16,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct ViewBody {
    view: U16,
    flags: U16,
    length: U64,
    start: U64,
    level: u8,
    codec: u8,
    zero: [u8; 2],
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct LeftBody {
    range: RangeBody,
    class: u8,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct ChunkBody {
    view: U16,
    chunk: U32,
    codec: u8,
    flags: u8,
    stored: U32,
    crc: U32,
    left: [u8; 8],
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct PartBody {
    view: U16,
    chunk: U32,
    offset: U32,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct TotalsBody {
    view: U16,
    pages: [U64; CLASSES],
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct DataBody {
    view: U16,
    offset: U64,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct BulkBody {
    view: U16,
    offset: U64,
    length: U32,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RangeBody {
    view: U16,
    offset: U64,
    length: U64,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct CheckedBody {
    range: RangeBody,
    sha256: [u8; 32],
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct AckBody {
    highest: U32,
    before: U64,
}

/// Bit 0 of a hello's flags.
const PUSH: u16 = 1;
/// Bit 1 of a hello's flags.
const TAKES_BULK: u16 = 2;
/// Bit 2 of a hello's flags.
const TAKES_LZ4: u16 = 4;
/// Bit 0 of a chunk's flags: it has a checksum.
const HAS_CRC: u8 = 1;
/// Bit 1 of a chunk's flags: the stored bytes follow the frame.
const FOLLOWS: u8 = 2;
/// Bit 0 of a greeting's flags.
const BULK: u16 = 1;
/// Bit 0 of a view's flags.
const PUSHED: u16 = 1;
/// Offset of the bytes in a data frame.
const DATA_START: usize = HEADER_SIZE + size_of::<DataBody>();
/// The same in a part frame.
const PART_START: usize = HEADER_SIZE + size_of::<PartBody>();

/// The kinds' numbers.
mod kind {
    pub(super) const ANNOUNCE: u8 = 1;
    pub(super) const HELLO: u8 = 2;
    pub(super) const WELCOME: u8 = 3;
    pub(super) const VIEW: u8 = 4;
    pub(super) const DATA: u8 = 5;
    pub(super) const ZERO: u8 = 6;
    pub(super) const LEFT: u8 = 7;
    pub(super) const ACK: u8 = 8;
    pub(super) const WANT: u8 = 9;
    pub(super) const CHECK: u8 = 10;
    pub(super) const CHECKED: u8 = 11;
    pub(super) const DONE: u8 = 12;
    pub(super) const BYE: u8 = 13;
    pub(super) const BULK: u8 = 14;
    pub(super) const CHUNK: u8 = 15;
    pub(super) const PART: u8 = 16;
    pub(super) const TOTALS: u8 = 18;
}

impl Header {
    /// The header at the front of `frame`, unmasked, if its own checksum is right.
    pub(super) fn read(frame: &[u8; HEADER_SIZE]) -> Option<Self> {
        let mut bytes = *frame;
        let mask = bytes[1];
        bytes[2..].iter_mut().for_each(|byte| *byte ^= mask);
        let header: Self = zerocopy::transmute!(bytes);
        let right = header.check.get() == header.checksum() && header.total() <= MAX_FRAME;
        right.then_some(header)
    }

    /// Length of the whole frame in bytes.
    pub(super) fn total(&self) -> usize {
        HEADER_SIZE + usize::from(self.length.get()) + TRAILER_SIZE
    }

    /// True if the mask covers the whole frame.
    pub(super) fn is_small(&self) -> bool {
        self.total() <= SMALL_FRAME
    }

    /// Takes the mask off a frame that is there as a whole.
    pub(super) fn unmask(&self, frame: &mut [u8]) {
        let end = if self.is_small() { frame.len() } else { HEADER_SIZE };
        frame[2..end].iter_mut().for_each(|byte| *byte ^= self.mask);
    }

    /// True if the checksum of an unmasked frame is right.
    pub(super) fn is_whole(&self, frame: &[u8], session: u32) -> bool {
        let (rest, trailer) = frame.split_at(frame.len() - TRAILER_SIZE);
        let session = session_of(self.kind, session);
        trailer == checksum(session, &rest[2..]).to_le_bytes()
    }

    /// True if the session number is part of its checksum.
    pub(super) const fn has_session(&self) -> bool {
        has_session(self.kind)
    }

    fn checksum(&self) -> u16 {
        let covered = CRC32C.checksum(&self.as_bytes()[2..6]);
        (covered & 0xffff) as u16
    }
}

/// The session number that a frame of `kind` is checked with.
const fn session_of(kind: u8, session: u32) -> u32 {
    if has_session(kind) { session } else { 0 }
}

const fn has_session(kind: u8) -> bool {
    !matches!(kind, kind::ANNOUNCE | kind::HELLO)
}

fn checksum(session: u32, bytes: &[u8]) -> u32 {
    let mut digest = CRC32C.digest();
    digest.update(&session.to_le_bytes());
    digest.update(bytes);
    digest.finalize()
}

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

/// The length of a bulk, if it may have that.
fn bulk_length(offset: u64, length: u64) -> Result<u32, WireError> {
    let fits = u32::try_from(length).ok().filter(|length| *length <= MAX_BULK);
    fits.ok_or(WireError::Range { offset, length })
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

/// Decodes an unmasked frame whose checksums are right.
pub(super) fn decode<'a>(header: &Header, frame: &'a [u8]) -> Result<Packet<'a>, WireError> {
    let body = &frame[HEADER_SIZE..frame.len() - TRAILER_SIZE];
    let wrong = WireError::Body { kind: header.kind, length: body.len() };
    let frame = match header.kind {
        kind::ANNOUNCE => Frame::Announce(greeting(body).ok_or(wrong)??),
        kind::WELCOME => Frame::Welcome(greeting(body).ok_or(wrong)??),
        kind::HELLO => Frame::Hello(hello(body).ok_or(wrong)??),
        kind::VIEW => view(body).ok_or(wrong)??,
        kind::DATA => data(body).ok_or(wrong)??,
        kind::ZERO => Frame::Zero(range(body).ok_or(wrong)??),
        kind::LEFT => left(body).ok_or(wrong)??,
        kind::CHUNK => Frame::Chunk(chunk(body).ok_or(wrong)??),
        kind::PART => part(body).ok_or(wrong)??,
        kind::TOTALS => totals(body).ok_or(wrong)??,
        kind::BULK => Frame::Bulk(bulk(body).ok_or(wrong)??),
        kind::ACK => {
            let ack = AckBody::read_from_bytes(body).map_err(|_| wrong)?;
            Frame::Ack { highest: ack.highest.get(), before: ack.before.get() }
        }
        kind::WANT => Frame::Want(wants(body).ok_or(wrong)??),
        kind::CHECK => Frame::Check(range(body).ok_or(wrong)??),
        kind::CHECKED => {
            let checked = CheckedBody::read_from_bytes(body).map_err(|_| wrong)?;
            Frame::Checked(to_range(&checked.range)?, checked.sha256)
        }
        kind::DONE => match body {
            [code] => Frame::Done(End::from_code(*code)),
            _ => return Err(wrong),
        },
        kind::BYE if body.is_empty() => Frame::Bye,
        kind::BYE => return Err(wrong),
        other => return Err(WireError::Kind(other)),
    };
    Ok(Packet { seq: header.seq.get(), frame })
}

fn to_range(body: &RangeBody) -> Result<Range, WireError> {
    Range::new(body.view.get(), body.offset.get(), body.length.get())
}

fn frame_limit(limit: u32) -> Result<u32, WireError> {
    let least = SMALL_FRAME as u32;
    if limit < least { Err(WireError::FrameLimit(limit)) } else { Ok(limit) }
}

// The functions below are `None` for a body of the wrong length.

fn greeting(body: &[u8]) -> Option<Result<Greeting, WireError>> {
    let body = GreetingBody::read_from_bytes(body).ok()?;
    let views = body.views.get();
    if views > MAX_VIEWS {
        return Some(Err(WireError::View(views)));
    }
    Some(frame_limit(body.max_frame.get()).map(|max_frame| Greeting {
        id: body.id,
        length: body.length.get(),
        max_frame,
        views,
        bulk: body.flags.get() & BULK != 0,
    }))
}

fn hello(body: &[u8]) -> Option<Result<Hello, WireError>> {
    let body = HelloBody::read_from_bytes(body).ok()?;
    let (session, flags) = (body.session.get(), body.flags.get());
    let (push, bulk) = (flags & PUSH != 0, flags & TAKES_BULK != 0);
    let lz4 = flags & TAKES_LZ4 != 0;
    let hello = |max_frame| Hello { session, max_frame, push, bulk, lz4 };
    Some(frame_limit(body.max_frame.get()).map(hello))
}

fn view(body: &[u8]) -> Option<Result<Frame<'_>, WireError>> {
    let (body, name) = ViewBody::read_from_prefix(body).ok()?;
    let view = body.view.get();
    if view >= MAX_VIEWS {
        return Some(Err(WireError::View(view)));
    }
    let name = core::str::from_utf8(name).ok().filter(|name| ViewInfo::is_name(name.as_bytes()));
    let (length, start) = (body.length.get(), body.start.get());
    if start.checked_add(length).is_none() {
        return Some(Err(WireError::Range { offset: start, length }));
    }
    let Some(codec) = Codec::from_code(body.codec) else {
        return Some(Err(WireError::Codec(body.codec)));
    };
    let (pushed, level) = (body.flags.get() & PUSHED != 0, body.level);
    let info = |name| Frame::View(view, ViewInfo { name, length, start, pushed, level, codec });
    Some(name.map(info).ok_or(WireError::Name))
}

fn data(body: &[u8]) -> Option<Result<Frame<'_>, WireError>> {
    let (body, bytes) = DataBody::read_from_prefix(body).ok()?;
    let (view, offset) = (body.view.get(), body.offset.get());
    let range = Range::new(view, offset, bytes.len() as u64);
    Some(range.map(|_| Frame::Data { view, offset, bytes }))
}

fn bulk(body: &[u8]) -> Option<Result<Range, WireError>> {
    let body = BulkBody::read_from_bytes(body).ok()?;
    let (offset, length) = (body.offset.get(), body.length.get().into());
    let length = bulk_length(offset, length);
    Some(length.and_then(|length| Range::new(body.view.get(), offset, length.into())))
}

fn left(body: &[u8]) -> Option<Result<Frame<'_>, WireError>> {
    let body = LeftBody::read_from_bytes(body).ok()?;
    let class = PageClass::from_code(body.class).ok_or(WireError::Class(body.class));
    Some(class.and_then(|class| Ok(Frame::Left(to_range(&body.range)?, class))))
}

fn chunk(body: &[u8]) -> Option<Result<Chunk, WireError>> {
    let body = ChunkBody::read_from_bytes(body).ok()?;
    let Some(codec) = Codec::from_code(body.codec) else {
        return Some(Err(WireError::Codec(body.codec)));
    };
    let Some(left) = Left::from_bytes(body.left, PAGES) else {
        let unknown = |nibble: &u8| *nibble != 0 && PageClass::from_code(*nibble).is_none();
        let nibbles = body.left.iter().flat_map(|byte| [byte & 15, byte >> 4]);
        return Some(Err(WireError::Class(nibbles.into_iter().find(unknown).unwrap_or(0))));
    };
    let crc = (body.flags & HAS_CRC != 0).then_some(body.crc.get());
    let (chunk, stored) = (body.chunk.get(), body.stored.get());
    let entry = ChunkEntry { chunk, codec, stored, crc, left };
    let follows = body.flags & FOLLOWS != 0;
    Some(Chunk { view: body.view.get(), entry, follows }.checked())
}

fn part(body: &[u8]) -> Option<Result<Frame<'_>, WireError>> {
    let (body, bytes) = PartBody::read_from_prefix(body).ok()?;
    let (view, chunk, offset) = (body.view.get(), body.chunk.get(), body.offset.get());
    if view >= MAX_VIEWS {
        return Some(Err(WireError::View(view)));
    }
    let length = bytes.len() as u64;
    if length == 0 || u64::from(offset) + length > CHUNK {
        return Some(Err(WireError::Stored { offset, length }));
    }
    Some(Ok(Frame::Part { view, chunk, offset, bytes }))
}

fn totals(body: &[u8]) -> Option<Result<Frame<'_>, WireError>> {
    let body = TotalsBody::read_from_bytes(body).ok()?;
    let (view, pages) = (body.view.get(), body.pages.map(|pages| pages.get()));
    Some(if view < MAX_VIEWS { Ok(Frame::Totals(view, pages)) } else { Err(WireError::View(view)) })
}

fn range(body: &[u8]) -> Option<Result<Range, WireError>> {
    RangeBody::ref_from_bytes(body).ok().map(to_range)
}

fn wants(body: &[u8]) -> Option<Result<Wants, WireError>> {
    let ranges = <[RangeBody]>::ref_from_bytes(body).ok()?;
    (ranges.len() <= MAX_WANTS).then(|| ranges.iter().map(to_range).collect())
}
