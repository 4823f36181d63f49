//! From the bytes of a stream to frames and text.

use super::decode::decode;
use super::layout::Header;
use super::{Chunk, Frame, HEADER_SIZE, MARK, Packet, Range, SMALL_FRAME, VERSION, WireError};

/// The next part of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// Bytes outside of frames: console text, if all is well.
    Text(&'a [u8]),
    /// A whole frame; a bulk when its last bytes were handed out.
    Frame(Packet<'a>),
    /// Some of the bytes of a bulk, in their order.
    Piece(Piece<'a>),
    /// Some of the stored bytes of a chunk, in their order.
    Stored(Stored<'a>),
    /// A whole greeting from an end that speaks another version.
    OtherVersion(u8),
    /// A whole frame that makes no sense.
    Nonsense(WireError),
}

/// Bytes of a view that followed the head of a bulk, not covered by any checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    /// The view's number.
    pub view: u16,
    /// Their offset in the view, in bytes.
    pub offset: u64,
    /// The bytes.
    pub bytes: &'a [u8],
}

/// Stored bytes that followed the frame of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored<'a> {
    /// The chunk.
    pub chunk: Chunk,
    /// Offset of the bytes in the stored ones.
    pub offset: u32,
    /// The bytes.
    pub bytes: &'a [u8],
}

/// Frames and bytes that a reader had to throw away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Damage {
    /// Frames that were begun and are not whole, or are of another session.
    pub frames: u64,
    /// Bytes in them and directly after them.
    pub bytes: u64,
}

/// Finds the frames in a stream of bytes. Needs no memory but the given buffer; the buffer's length
/// is that of the largest frame accepted.
#[derive(Clone, Debug)]
pub struct FrameReader<B> {
    buffer: B,
    /// Number of bytes of the frame in the buffer; zero outside of frames.
    filled: usize,
    /// Number of bytes after a broken header that are taken for its body and not for text.
    skip: usize,
    /// The bulk or chunk that is being received.
    bulk: Option<Bulk>,
    /// Larger frames are damage.
    limit: usize,
    damage: Damage,
}

/// A bulk or chunk with a whole head.
#[derive(Clone, Copy, Debug)]
struct Bulk {
    /// The session of its head.
    session: u32,
    seq: u32,
    what: Raw,
    /// Number of its bytes that have come.
    done: u64,
}

/// The kind of the bytes after a head.
#[derive(Clone, Copy, Debug)]
enum Raw {
    Range(Range),
    Chunk(Chunk),
}

impl Raw {
    /// The bytes after this frame, if any follow.
    const fn after(frame: &Frame<'_>) -> Option<Self> {
        match frame {
            Frame::Bulk(range) => Some(Self::Range(*range)),
            Frame::Chunk(chunk) if chunk.follows => Some(Self::Chunk(*chunk)),
            _ => None,
        }
    }

    /// The frame that they follow.
    const fn frame(&self) -> Frame<'static> {
        match *self {
            Self::Range(range) => Frame::Bulk(range),
            Self::Chunk(chunk) => Frame::Chunk(chunk),
        }
    }

    const fn length(&self) -> u64 {
        match self {
            Self::Range(range) => range.length(),
            Self::Chunk(chunk) => chunk.entry.stored as u64,
        }
    }
}

/// Kind of the next bytes.
enum Found<'i> {
    Text(&'i [u8]),
    Frame(Header),
}

/// Result for a frame that is complete.
enum Judged {
    Damage,
    Bulk(Bulk),
    Frame,
}

impl Bulk {
    /// Takes from `input` as many as it has of the `left` bytes that are still to come.
    fn piece<'i>(&mut self, input: &mut &'i [u8], left: u64) -> Option<Event<'i>> {
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
        let (bytes, rest) = input.split_at(count);
        *input = rest;
        let done = self.done;
        self.done += bytes.len() as u64;
        let piece = match self.what {
            Raw::Range(range) => {
                Event::Piece(Piece { view: range.view(), offset: range.offset() + done, bytes })
            }
            // Below the chunk's stored length, which has 32 bits.
            Raw::Chunk(chunk) => Event::Stored(Stored { chunk, offset: done as u32, bytes }),
        };
        (count > 0).then_some(piece)
    }
}

impl<B: AsRef<[u8]> + AsMut<[u8]>> FrameReader<B> {
    /// A reader for frames that fit into `buffer`, which has [`SMALL_FRAME`] bytes or more.
    pub const fn new(buffer: B) -> Self {
        let damage = Damage { frames: 0, bytes: 0 };
        Self { buffer, filled: 0, skip: 0, bulk: None, limit: usize::MAX, damage }
    }

    /// Makes frames of more than `limit` bytes count as damage from now on. If only small ones are
    /// to be expected, no forged header keeps the reader from the next frame.
    pub const fn limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Returns the number of frames and bytes thrown away so far.
    pub const fn damage(&self) -> Damage {
        self.damage
    }

    /// Forgets a frame or bulk that has begun: for a stream that begins anew.
    pub fn restart(&mut self) {
        if self.filled > 0 || self.bulk.take().is_some() {
            self.drop_frame();
        }
        self.skip = 0;
    }

    /// Returns the next event in `input`, which is shortened by the bytes read; `None` if all of it
    /// was read. `session` is the number that the hello chose, or any number before.
    pub fn next<'e, 'i: 'e>(&'e mut self, input: &mut &'i [u8], session: u32) -> Option<Event<'e>> {
        let header = loop {
            if self.bulk.is_some() {
                if let Some(event) = self.raw(input, session)? {
                    return Some(event);
                }
                continue;
            }
            let header = match self.find(input)? {
                Found::Text(text) => return Some(Event::Text(text)),
                Found::Frame(header) => header,
            };
            match self.judge(&header, session) {
                Judged::Damage => self.drop_frame(),
                Judged::Bulk(bulk) => (self.filled, self.bulk) = (0, Some(bulk)),
                Judged::Frame => break header,
            }
        };
        self.filled = 0;
        if header.version != VERSION {
            return Some(Event::OtherVersion(header.version));
        }
        let decoded = decode(&header, &self.buffer.as_ref()[..header.total()]);
        Some(decoded.map_or_else(Event::Nonsense, Event::Frame))
    }

    /// Unmasks the frame in the buffer and judges it.
    fn judge(&mut self, header: &Header, session: u32) -> Judged {
        let frame = &mut self.buffer.as_mut()[..header.total()];
        header.unmask(frame);
        let ours = header.version == VERSION;
        if !header.is_whole(frame, if ours { session } else { 0 }) {
            return Judged::Damage;
        }
        let decoded = decode(header, frame);
        let raw = decoded.as_ref().ok().and_then(|packet| Raw::after(&packet.frame));
        if let (true, Ok(packet), Some(what)) = (ours, &decoded, raw) {
            return Judged::Bulk(Bulk { session, seq: packet.seq, what, done: 0 });
        }
        match decoded {
            // Anybody can write such a frame; only one that makes sense may be the other end's.
            Err(_) if ours && !header.has_session() => Judged::Damage,
            _ => Judged::Frame,
        }
    }

    /// Returns the next event of a bulk: some bytes, or its frame after the last. Outside, nothing
    /// if `input` is empty; inside, nothing if it is not for this session.
    fn raw<'i>(&mut self, input: &mut &'i [u8], session: u32) -> Option<Option<Event<'i>>> {
        let bulk = self.bulk.as_mut()?;
        let ours = bulk.session == session;
        let left = bulk.what.length() - bulk.done;
        if left > 0 {
            let piece = bulk.piece(input, left)?;
            return Some(ours.then_some(piece));
        }
        let packet = Packet { seq: bulk.seq, frame: bulk.what.frame() };
        self.bulk = None;
        self.damage.frames += u64::from(!ours);
        Some(ours.then_some(Event::Frame(packet)))
    }

    /// Text, or a frame that is complete in the buffer, by its header.
    fn find<'i>(&mut self, input: &mut &'i [u8]) -> Option<Found<'i>> {
        while !input.is_empty() {
            if self.filled == 0 {
                if let Some(text) = self.outside(input) {
                    return Some(Found::Text(text));
                }
                continue;
            }
            if !self.take(input, HEADER_SIZE, true) {
                continue;
            }
            let Some(header) = self.header() else {
                self.drop_frame();
                self.skip = SMALL_FRAME - HEADER_SIZE;
                continue;
            };
            if self.take(input, header.total(), header.is_small()) {
                return Some(Found::Frame(header));
            }
        }
        None
    }

    /// Goes on to the next mark, which it takes. The text before it, if any; then not the mark.
    fn outside<'i>(&mut self, input: &mut &'i [u8]) -> Option<&'i [u8]> {
        let end = input.iter().position(|byte| *byte == MARK).unwrap_or(input.len());
        let (before, rest) = input.split_at(end);
        let (lost, text) = before.split_at(self.skip.min(end));
        self.skip -= lost.len();
        self.damage.bytes += lost.len() as u64;
        *input = rest;
        if !text.is_empty() {
            return Some(text);
        }
        if let Some((mark, rest)) = rest.split_first() {
            self.buffer.as_mut()[0] = *mark;
            self.filled = 1;
            self.skip = 0;
            *input = rest;
        }
        None
    }

    /// Fills the buffer up to `end` bytes; returns true if that many are there. If the bytes are
    /// `masked`, a mark among them is the next frame, and the one before it is cut.
    fn take(&mut self, input: &mut &[u8], end: usize, masked: bool) -> bool {
        let wanted = end.saturating_sub(self.filled).min(input.len());
        let mark = input[..wanted].iter().position(|byte| masked && *byte == MARK);
        let (bytes, rest) = input.split_at(mark.unwrap_or(wanted));
        self.buffer.as_mut()[self.filled..][..bytes.len()].copy_from_slice(bytes);
        self.filled += bytes.len();
        *input = rest;
        if mark.is_some() {
            self.drop_frame();
            return false;
        }
        self.filled >= end
    }

    /// The header in the buffer, if it is one and its frame fits.
    fn header(&self) -> Option<Header> {
        let buffer = self.buffer.as_ref();
        let header = Header::read(buffer.first_chunk()?)?;
        (header.total() <= buffer.len().min(self.limit)).then_some(header)
    }

    fn drop_frame(&mut self) {
        self.damage.frames += 1;
        self.damage.bytes += self.filled as u64;
        self.filled = 0;
    }
}
