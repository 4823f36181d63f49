//! Contents of frames.

use vmcore::PageClass;

use super::{MAX_NAME, MAX_VIEWS, MAX_WANTS, WireError};
use crate::chunk::{CHUNK, ChunkEntry, Codec};

/// A frame and its sequence number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Counted frames: from 1 on. From the receiver: from 1 on, so that repetitions by the link are
    /// known. Otherwise zero.
    pub seq: u32,
    /// Contents of the frame.
    pub frame: Frame<'a>,
}

/// Contents of a frame. The [module](super) has the layouts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// There is a dump.
    Announce(Greeting),
    /// There is a receiver.
    Hello(Hello),
    /// The session has begun.
    Welcome(Greeting),
    /// One view.
    View(u16, ViewInfo<'a>),
    /// Bytes of a view.
    Data {
        /// The view's number.
        view: u16,
        /// Their offset in the view, in bytes.
        offset: u64,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// A range is zero.
    Zero(Range),
    /// A range is left out for a reason; it counts as zero.
    Left(Range, PageClass),
    /// The bytes of a range, at most [`MAX_BULK`](super::MAX_BULK), follow the frame as they are. A
    /// [`FrameReader`](super::FrameReader) returns those first, and the frame after all of them.
    Bulk(Range),
    /// A chunk. A [`FrameReader`](super::FrameReader) hands out the stored bytes that follow it
    /// first, and the frame when it had all. Otherwise they come in parts.
    Chunk(Chunk),
    /// Some of the stored bytes of a chunk.
    Part {
        /// The view's number.
        view: u16,
        /// The chunk's number.
        chunk: u32,
        /// Offset in the stored bytes.
        offset: u32,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// Number of pages by class code, as the view was selected; 0 counts the kept ones.
    Totals(u16, [u64; CLASSES]),
    /// Which counted frames came.
    Ack {
        /// The highest sequence number seen.
        highest: u32,
        /// Bit *i*: `highest - 1 - i` was seen.
        before: u64,
    },
    /// Send these, and nothing else.
    Want(Wants),
    /// Hash this.
    Check(Range),
    /// The hash of a range.
    Checked(Range, [u8; 32]),
    /// The receiver is through.
    Done(End),
    /// The sender has heard that.
    Bye,
}

impl Frame<'_> {
    /// True if the frame is counted: acknowledged, and sent again if lost.
    pub const fn is_counted(&self) -> bool {
        matches!(
            self,
            Self::View(..)
                | Self::Data { .. }
                | Self::Zero(_)
                | Self::Left(..)
                | Self::Bulk(_)
                | Self::Chunk(_)
                | Self::Part { .. }
                | Self::Totals(..)
        )
    }
}

/// A chunk of a view, without its stored bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// The view's number.
    pub view: u16,
    /// The rest.
    pub entry: ChunkEntry,
    /// The stored bytes follow the frame.
    pub follows: bool,
}

impl Chunk {
    /// The same, if it may be sent: the view's number and the stored length are possible.
    pub(super) fn checked(self) -> Result<Self, WireError> {
        let stored = u64::from(self.entry.stored);
        if self.view >= MAX_VIEWS {
            return Err(WireError::View(self.view));
        }
        if !(1..=CHUNK).contains(&stored) {
            return Err(WireError::Stored { offset: 0, length: stored });
        }
        Ok(self)
    }
}

/// Number of counters in [`Frame::Totals`]: one for each value of four bits.
pub const CLASSES: usize = 16;

/// Description of the sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// Tells this dump from every other; random, or from the first kernel's build and crash time.
    pub id: [u8; 16],
    /// Length of all pushed views in bytes.
    pub length: u64,
    /// Largest frame that it sends, in bytes.
    pub max_frame: u32,
    /// Number of its views.
    pub views: u16,
    /// Contents go as bulks and are not hashed. In an announcement: if the receiver takes that.
    pub bulk: bool,
}

/// Description of the receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// A random number, another one for each session.
    pub session: u32,
    /// Largest frame that it takes, in bytes.
    pub max_frame: u32,
    /// True if the pushed views are to be sent without a request.
    pub push: bool,
    /// True if bulks may be sent: only over a link that loses nothing.
    pub bulk: bool,
    /// True if chunks may be compressed by LZ4.
    pub lz4: bool,
}

/// A view as the list has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ViewInfo<'a> {
    /// 1–[`MAX_NAME`] characters of `a-z`, `0-9` and `-`: part of a file's name on the other side.
    pub name: &'a str,
    /// Length in bytes.
    pub length: u64,
    /// The address of its first byte: a physical one for oldmem, zero where there are no addresses.
    pub start: u64,
    /// True if it is part of the dump, and not there for pulls only.
    pub pushed: bool,
    /// The dump level: the classes of pages that were selected to be left out.
    pub level: u8,
    /// The encoding of its chunks, in this session.
    pub codec: Codec,
}

impl ViewInfo<'_> {
    /// True if `name` may be the name of a view.
    pub fn is_name(name: &[u8]) -> bool {
        let fits = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        (1..=MAX_NAME).contains(&name.len()) && name.iter().all(fits)
    }
}

/// A range of a view that has bytes and an end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    view: u16,
    offset: u64,
    length: u64,
}

impl Range {
    /// `length` bytes (not zero) of `view` from `offset` on.
    ///
    /// # Errors
    /// [`WireError::View`], or [`WireError::Range`] when it is empty or ends past 64 bits.
    pub fn new(view: u16, offset: u64, length: u64) -> Result<Self, WireError> {
        if view >= MAX_VIEWS {
            return Err(WireError::View(view));
        }
        if length == 0 || offset.checked_add(length).is_none() {
            return Err(WireError::Range { offset, length });
        }
        Ok(Self { view, offset, length })
    }

    /// The view's number.
    pub const fn view(&self) -> u16 {
        self.view
    }

    /// Returns its start in the view, in bytes.
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// Length in bytes, not zero.
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// Returns its end, exclusive, in bytes.
    pub const fn end(&self) -> u64 {
        self.offset + self.length
    }
}

/// The ranges that a receiver wants: a few.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wants {
    ranges: [Range; MAX_WANTS],
    count: usize,
}

impl Wants {
    /// The ranges.
    pub fn as_slice(&self) -> &[Range] {
        &self.ranges[..self.count]
    }

    /// True if all of `range` is within one of them.
    pub(super) fn contain(&self, range: &Range) -> bool {
        let holds = |want: &Range| want.offset <= range.offset && range.end() <= want.end();
        self.as_slice().iter().any(|want| want.view == range.view && holds(want))
    }

    /// Adds a range where there is room; says whether there was.
    pub fn push(&mut self, range: Range) -> bool {
        let Some(free) = self.ranges.get_mut(self.count) else { return false };
        *free = range;
        self.count += 1;
        true
    }
}

impl FromIterator<Range> for Wants {
    /// The first [`MAX_WANTS`] of them.
    fn from_iter<T: IntoIterator<Item = Range>>(ranges: T) -> Self {
        let mut wants = Self::default();
        for range in ranges.into_iter().take(MAX_WANTS) {
            wants.push(range);
        }
        wants
    }
}

/// Outcome of a receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Everything has come, and was compared where that was agreed.
    Complete,
    /// It gives up: no room, or the received data differs from the sender's.
    GaveUp,
    /// It has the requested data, which was not the dump.
    Left,
}

impl End {
    /// Its number on the wire.
    pub(super) const fn code(self) -> u8 {
        match self {
            Self::Complete => 0,
            Self::GaveUp => 1,
            Self::Left => 2,
        }
    }

    /// Decodes a number; one of a later program means that it gave up.
    pub(super) const fn from_code(code: u8) -> Self {
        match code {
            0 => Self::Complete,
            2 => Self::Left,
            _ => Self::GaveUp,
        }
    }
}
