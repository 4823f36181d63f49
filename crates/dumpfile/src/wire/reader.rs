//! From the bytes of a stream to frames and text.

use super::codec::{self, Header};
use super::{HEADER_SIZE, MARK, Packet, SMALL_FRAME, VERSION, WireError};

/// What a stream holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// Bytes outside of frames: console text, if all is well.
    Text(&'a [u8]),
    /// A whole frame.
    Frame(Packet<'a>),
    /// A whole greeting from an end that speaks another version.
    OtherVersion(u8),
    /// A whole frame that makes no sense.
    Nonsense(WireError),
}

/// What a reader had to throw away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Damage {
    /// Frames that were begun and are not whole, or are of another session.
    pub frames: u64,
    /// Bytes in them and right behind them.
    pub bytes: u64,
}

/// Finds the frames in a stream of bytes. Needs no memory but the buffer it is given, whose length
/// is that of the largest frame it takes.
#[derive(Clone, Debug)]
pub struct FrameReader<B> {
    buffer: B,
    /// How much of the frame in the buffer is there; zero outside of frames.
    filled: usize,
    /// How many bytes behind a broken header are taken for its body and not for text.
    skip: usize,
    damage: Damage,
}

/// What the next bytes are.
enum Found<'i> {
    Text(&'i [u8]),
    Frame(Header),
}

impl<B: AsRef<[u8]> + AsMut<[u8]>> FrameReader<B> {
    /// A reader for frames that fit into `buffer`, which has [`SMALL_FRAME`] bytes or more.
    pub const fn new(buffer: B) -> Self {
        Self { buffer, filled: 0, skip: 0, damage: Damage { frames: 0, bytes: 0 } }
    }

    /// What was thrown away so far.
    pub const fn damage(&self) -> Damage {
        self.damage
    }

    /// Forgets a frame that has begun: for a stream that begins anew.
    pub fn restart(&mut self) {
        if self.filled > 0 {
            self.drop_frame();
        }
        self.skip = 0;
    }

    /// The next thing in `input`, which is shortened by what was looked at; `None` when all of it was.
    /// `session` is the number that the hello chose, or anything before.
    pub fn next<'e, 'i: 'e>(&'e mut self, input: &mut &'i [u8], session: u32) -> Option<Event<'e>> {
        let (header, total) = loop {
            let header = match self.find(input)? {
                Found::Text(text) => return Some(Event::Text(text)),
                Found::Frame(header) => header,
            };
            let total = header.total();
            let frame = &mut self.buffer.as_mut()[..total];
            header.unmask(frame);
            let session = if header.version == VERSION { session } else { 0 };
            if header.is_whole(frame, session) {
                break (header, total);
            }
            self.drop_frame();
        };
        self.filled = 0;
        if header.version != VERSION {
            return Some(Event::OtherVersion(header.version));
        }
        let decoded = codec::decode(&header, &self.buffer.as_ref()[..total]);
        Some(decoded.map_or_else(Event::Nonsense, Event::Frame))
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

    /// Fills the buffer up to `end` bytes; says whether that many are there. Where the bytes are
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
        (header.total() <= buffer.len()).then_some(header)
    }

    fn drop_frame(&mut self) {
        self.damage.frames += 1;
        self.damage.bytes += self.filled as u64;
        self.filled = 0;
    }
}
