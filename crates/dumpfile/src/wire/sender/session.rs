//! Wants of one receiver, and the part of them that was sent.

use super::check::Check;
use super::piece::{self, Front, Means};
use crate::chunk::CHUNK;
use crate::wire::window::{Item, Part};
use crate::wire::{Hello, MAX_VIEWS, Range, Source, Wants, WireError, codec};

/// Longest time that a run of zeros is followed before it is sent, in milliseconds: a longer
/// silence would worry the receiver.
const LOOK_FOR: u64 = 200;

/// Wants of one receiver.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) number: u32,
    pub(super) means: Means,
    pub(super) welcome_due: bool,
    /// Sequence number of the receiver's last frame.
    pub(super) last: u32,
    pub(super) check: Option<Check>,
    next_view: u16,
    /// Position of the push.
    push: Option<(u16, u64)>,
    wants: Wants,
    /// The part of the wants that was sent: an index, and bytes in that range.
    sent: (usize, u64),
    /// The zeros at the front of the rest, so far.
    zeros: Zeros,
    /// The bulk or chunk after these zeros.
    behind: Option<Item>,
    /// A chunk that goes in parts, and the rest of its stored bytes.
    parts: Option<(Range, Part)>,
    /// A chunk that was begun before the last want: its range is passed over once.
    begun: Option<Range>,
    /// Views without totals or with totals already sent, by bit.
    pub(super) counted: u16,
}

/// A run of zeros; its end is not known yet.
#[derive(Clone, Copy, Debug, Default)]
struct Zeros {
    /// In bytes; zero when there is none.
    length: u64,
    /// Start of the run, in milliseconds.
    since: u64,
}

/// The next thing to send.
pub(super) enum Next {
    Item(Item),
    /// Not known yet: ask again.
    Looking,
    Nothing,
}

impl Session {
    pub(super) fn new(hello: &Hello, means: Means, seq: u32) -> Self {
        Self {
            number: hello.session,
            means,
            welcome_due: true,
            last: seq,
            check: None,
            next_view: 0,
            push: hello.push.then_some((0, 0)),
            wants: Wants::default(),
            sent: (0, 0),
            zeros: Zeros::default(),
            behind: None,
            parts: None,
            begun: None,
            counted: 0,
        }
    }

    /// From now on only this is sent. A chunk that has begun is not begun again, but goes on if it
    /// is wanted: a receiver that misses a frame asks each time, and a chunk of many parts would
    /// never get to its end. If the receiver lacks it then, it asks once more.
    pub(super) fn want(&mut self, wants: Wants) {
        self.parts = self.parts.take().filter(|(chunk, _)| wants.contain(chunk));
        self.begun = self.parts.map(|(chunk, _)| chunk);
        self.push = None;
        self.wants = wants;
        self.sent = (0, 0);
        self.zeros = Zeros::default();
        self.behind = None;
    }

    /// A range that is being hashed is not begun again.
    pub(super) fn check(&mut self, range: Range) {
        if self.check.as_ref().is_none_or(|check| check.range != range) {
            self.check = Some(Check::new(range));
        }
    }

    /// Returns the next item: a view of the list, or the next piece of a view. The bytes of a data
    /// frame are read into their place in `out`.
    pub(super) fn next<S: Source>(
        &mut self,
        source: &mut S,
        now: u64,
        out: &mut [u8],
    ) -> Result<Next, WireError> {
        if self.next_view < MAX_VIEWS && source.view(self.next_view).is_some() {
            self.next_view += 1;
            return Ok(Next::Item(Item::View(self.next_view - 1)));
        }
        if let Some(part) = self.next_part() {
            return Ok(Next::Item(Item::Part(part)));
        }
        let rest = self.next_range(source);
        let checked = self.check.as_ref().map(|check| check.range);
        // Before the contents of a view, so that they come even where the rest does not; before
        // its hash where an earlier session has sent all contents.
        if let Some(view) = rest.or(checked).map(|range| range.view())
            && self.counted >> view & 1 == 0
        {
            self.counted |= 1 << view;
            if source.totals(view).is_some() {
                return Ok(Next::Item(Item::Totals(view)));
            }
        }
        let Some(rest) = rest else { return Ok(Next::Nothing) };
        if self.zeros.length == 0
            && let Some(bulk) = self.behind.take()
        {
            return Ok(self.send(bulk));
        }
        match self.look(rest, source, now, out)? {
            Some(next) => Ok(next),
            None => {
                let length = core::mem::take(&mut self.zeros).length;
                let zeros = Range::new(rest.view(), rest.offset(), length.min(rest.length()))?;
                Ok(self.send(Item::Zero(zeros)))
            }
        }
    }

    /// Looks at the bytes after the known zeros: a piece if there are none, nothing if the run of
    /// zeros has ended.
    fn look<S: Source>(
        &mut self,
        rest: Range,
        source: &mut S,
        now: u64,
        out: &mut [u8],
    ) -> Result<Option<Next>, WireError> {
        let known = self.zeros.length;
        let left = rest.length().saturating_sub(known);
        let over = known > 0 && now >= self.zeros.since.saturating_add(LOOK_FOR);
        if left == 0 || over {
            return Ok(None);
        }
        let behind = Range::new(rest.view(), rest.offset() + known, left)?;
        match piece::front(behind, source, self.means, out)? {
            Front::Zeros(length) => {
                let since = if known == 0 { now } else { self.zeros.since };
                self.zeros = Zeros { length: known + length, since };
                Ok(Some(Next::Looking))
            }
            Front::Item(item) if known == 0 => Ok(Some(self.send(item))),
            Front::Item(item) => {
                // The frame of the zeros overwrites bytes that were read for a data frame.
                self.behind = matches!(item, Item::Bulk(_) | Item::Chunk(..)).then_some(item);
                Ok(None)
            }
        }
    }

    /// The next part of the chunk that is being sent.
    fn next_part(&mut self) -> Option<Part> {
        let (chunk, rest) = self.parts.take()?;
        let most = u32::try_from(codec::part_capacity(self.means.max_frame)).unwrap_or(u32::MAX);
        let length = rest.length.min(most);
        let (offset, left) = (rest.offset + length, rest.length - length);
        self.parts = (left > 0).then_some((chunk, Part { offset, length: left, ..rest }));
        (length > 0).then_some(Part { length, ..rest })
    }

    /// Goes on after `item`.
    fn send(&mut self, item: Item) -> Next {
        let length = item.length();
        match &mut self.push {
            Some((_, offset)) => *offset += length,
            None => self.sent.1 += length,
        }
        if let Item::Chunk(range, length) = item
            && !self.means.bulk
        {
            if self.begun.take_if(|begun| *begun == range).is_some() {
                return Next::Looking;
            }
            let chunk = (range.offset() / CHUNK) as u32;
            self.parts = Some((range, Part { view: range.view(), chunk, offset: 0, length }));
        }
        Next::Item(item)
    }

    /// Returns the rest of the range that is being sent, within its view.
    fn next_range<S: Source>(&mut self, source: &S) -> Option<Range> {
        self.next_pushed(source).or_else(|| self.next_wanted(source))
    }

    fn next_pushed<S: Source>(&mut self, source: &S) -> Option<Range> {
        while let Some((view, offset)) = self.push {
            let Some(info) = source.view(view).filter(|_| view < MAX_VIEWS) else {
                self.push = None;
                break;
            };
            let left = info.length.saturating_sub(offset);
            match Range::new(view, offset, left) {
                Ok(range) if info.pushed => return Some(range),
                _ => self.push = Some((view + 1, 0)),
            }
        }
        None
    }

    fn next_wanted<S: Source>(&mut self, source: &S) -> Option<Range> {
        while let Some(want) = self.wants.as_slice().get(self.sent.0) {
            let offset = want.offset() + self.sent.1.min(want.length());
            let length = source.view(want.view()).map_or(0, |info| info.length);
            let left = want.end().min(length).saturating_sub(offset);
            match Range::new(want.view(), offset, left) {
                Ok(range) => return Some(range),
                Err(_) => self.sent = (self.sent.0 + 1, 0),
            }
        }
        None
    }
}
