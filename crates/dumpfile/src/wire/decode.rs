//! Bytes to frames.

use vmcore::PageClass;
use zerocopy::FromBytes;

use super::layout::{
    AckBody, BULK, BulkBody, CheckedBody, ChunkBody, DataBody, FOLLOWS, GreetingBody, HAS_CRC,
    Header, HelloBody, LeftBody, PUSH, PUSHED, PartBody, RangeBody, TAKES_BULK, TAKES_LZ4,
    TotalsBody, ViewBody, bulk_length, kind,
};
use super::{
    Chunk, End, Frame, Greeting, HEADER_SIZE, Hello, MAX_VIEWS, MAX_WANTS, Packet, Range,
    SMALL_FRAME, TRAILER_SIZE, ViewInfo, Wants, WireError,
};
use crate::chunk::{CHUNK, ChunkEntry, Codec, Left, PAGES};

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
