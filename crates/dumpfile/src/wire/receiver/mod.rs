//! The end that wants the dump.

mod chunks;
mod plan;
mod poll;
mod seen;
mod step;
mod view;

use alloc::borrow::Cow;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use vmcore::PageClass;

use self::chunks::Chunks;
use self::seen::Seen;
use super::{
    Chunk, Frame, Greeting, MAX_RANGES, Packet, Piece, Range, Ranges, SMALL_FRAME, ViewInfo, Wants,
    reader,
};
use crate::chunk::{CHUNK, ChunkEntry, Left, PAGE, pages_of};

pub use self::plan::{Plan, ReceiverError};
pub use self::step::{ReceiverStep, ReceiverTimes, Verdict, Write};
pub use self::view::{Held, HeldView, ViewState};

/// Receives views from a sender.
#[derive(Debug)]
pub struct Receiver {
    plan: Plan,
    times: ReceiverTimes,
    max_frame: u32,
    takes_bulk: bool,
    held: Option<Held>,
    session: u32,
    /// The sender's description of itself in this session.
    greeting: Option<Greeting>,
    /// Another version from a greeting, and the time of that greeting.
    other_version: Option<(u8, u64)>,
    views: BTreeMap<u16, ViewState>,
    seen: Seen,
    seq: u32,
    /// True if anything has come since the last poll, and the time since which nothing has.
    news: bool,
    quiet_since: u64,
    /// Time of the last frame sent, of the last request for contents, and of the next repetition of
    /// a frame that waits for an answer.
    sent_at: u64,
    asked: u64,
    repeat_at: u64,
    phase: Phase,
    attempts: BTreeMap<(u16, u64), u8>,
    /// Chunks with stored bytes still to come.
    chunks: Chunks,
    /// A chunk of which all stored bytes have come, before the end of its frame.
    whole: Option<(u16, (ChunkEntry, Vec<u8>))>,
}

/// The event that the receiver waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    /// The welcome, and the list of views.
    Greet,
    /// The pushed views.
    Push,
    /// The requested ranges.
    Fill(Wants),
    /// A hash.
    Check(Range),
    /// The caller's word on a hash.
    Compare(Range, [u8; 32]),
    /// The `bye`, having said `done` so often.
    Leave(u8),
    /// Nothing.
    Over,
}

/// Result for a range that has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stored {
    New,
    Known,
    /// It is not acknowledged, so that it comes again.
    Refused,
}

impl Receiver {
    /// Creates a receiver that takes frames of at most `max_frame` bytes, and does not fetch the
    /// parts in `held` again. Next comes [`Receiver::connect`].
    pub fn new(plan: Plan, times: ReceiverTimes, max_frame: u32, held: Option<Held>) -> Self {
        Self {
            plan,
            times,
            max_frame,
            takes_bulk: false,
            held,
            session: 0,
            greeting: None,
            other_version: None,
            views: BTreeMap::new(),
            seen: Seen::default(),
            seq: 0,
            news: false,
            quiet_since: 0,
            sent_at: 0,
            asked: 0,
            repeat_at: 0,
            phase: Phase::Greet,
            attempts: BTreeMap::new(),
            chunks: Chunks::default(),
            whole: None,
        }
    }

    /// One that also takes bulks, which nothing protects: for lines that lose and damage nothing.
    #[must_use]
    pub fn taking_bulk(self) -> Self {
        Self { takes_bulk: true, ..self }
    }

    /// Begins a session: the first one, or another one when the line was cut. `session` is a random
    /// number, another one each time and not zero.
    pub fn connect(&mut self, session: u32, now: u64) {
        if self.greeting.is_some() {
            self.held = Some(self.held());
        }
        self.session = session;
        self.greeting = None;
        self.views.clear();
        self.chunks.clear();
        self.whole = None;
        self.seen = Seen::default();
        self.seq = 0;
        self.news = false;
        self.quiet_since = now;
        self.sent_at = now;
        self.repeat_at = now;
        if self.phase != Phase::Over {
            self.phase = Phase::Greet;
        }
    }

    /// The session number, for the [`FrameReader`](super::FrameReader).
    pub const fn session(&self) -> u32 {
        self.session
    }

    /// The largest frame to be expected, for [`FrameReader::limit`](super::FrameReader::limit).
    pub fn frame_limit(&self) -> usize {
        if self.greeting.is_some() && !self.has_bulk() {
            usize::try_from(self.max_frame).unwrap_or(usize::MAX)
        } else {
            SMALL_FRAME
        }
    }

    /// True if contents come as bulks in this session, and are not compared. False before the
    /// welcome.
    pub fn has_bulk(&self) -> bool {
        self.takes_bulk && self.greeting.is_some_and(|greeting| greeting.bulk)
    }

    /// The sender's words about itself, once there was a welcome.
    pub const fn greeting(&self) -> Option<&Greeting> {
        self.greeting.as_ref()
    }

    /// The views, by number.
    pub fn views(&self) -> impl Iterator<Item = (u16, &ViewState)> {
        self.views.iter().map(|(number, view)| (*number, view))
    }

    /// Returns the parts that are there, for a later session: this one's, or those that an earlier
    /// one has left.
    pub fn held(&self) -> Held {
        let earlier = self.held.clone().unwrap_or_default();
        let Some(greeting) = self.greeting else { return earlier };
        let mut views = earlier.views;
        views.retain(|held| self.views.values().all(|view| view.name != held.name));
        let known = self.views.values().filter(|view| view.wanted.is_some());
        views.extend(known.map(|view| HeldView {
            name: view.name.clone(),
            length: view.length,
            have: view.have.clone(),
            left: view.left.clone(),
            totals: view.totals,
            level: view.level,
        }));
        Held { id: greeting.id, views }
    }

    /// Records a greeting of another version. It counts if no welcome comes: remains of the dead
    /// kernel's memory in the line may look like one.
    pub fn other_version(&mut self, version: u8, now: u64) {
        if self.greeting.is_none() {
            self.other_version.get_or_insert((version, now));
        }
    }

    /// That the sender speaks another version, if it looks like that.
    pub fn suspicion(&self) -> Option<ReceiverError> {
        self.other_version.map(|(version, _)| ReceiverError::Version(version))
    }

    /// Takes a frame from the sender. The caller must write the result before it polls the
    /// receiver: then the frame may be acknowledged.
    ///
    /// # Errors
    /// An error that makes it useless to go on.
    pub fn receive<'a>(
        &mut self,
        packet: &Packet<'a>,
        now: u64,
    ) -> Result<Option<Write<'a>>, ReceiverError> {
        match packet.frame {
            // It is there: say hello at once.
            Frame::Announce(_) if self.phase == Phase::Greet => {
                self.repeat_at = self.repeat_at.min(now);
                return Ok(None);
            }
            // These need no session: anybody can have written them.
            Frame::Announce(_) | Frame::Hello(_) => return Ok(None),
            Frame::Welcome(_) => {}
            _ if self.greeting.is_none() => return Ok(None),
            _ => {}
        }
        self.news = true;
        let (stored, write) = self.take(&packet.frame)?;
        if packet.frame.is_counted() && stored != Stored::Refused {
            self.seen.note(packet.seq, bulk_length(&packet.frame), now);
        }
        Ok(write)
    }

    /// Takes some of the bytes of a bulk, as [`Receiver::receive`] does with frames.
    ///
    /// # Errors
    /// [`ReceiverError::Wire`] for a place that no view has.
    pub fn receive_piece<'a>(
        &mut self,
        piece: &Piece<'a>,
    ) -> Result<Option<Write<'a>>, ReceiverError> {
        self.news = true;
        let Piece { view, offset, bytes } = *piece;
        Ok(self.take_bytes(view, offset, bytes)?.1)
    }

    /// Takes some of the stored bytes of a chunk. They are written down when its frame comes.
    pub fn receive_stored(&mut self, stored: &reader::Stored<'_>) {
        self.news = true;
        let reader::Stored { chunk, offset, bytes } = *stored;
        if offset == 0 {
            self.expect(&chunk);
        }
        if let Some(whole) = self.chunks.add((chunk.view, chunk.entry.chunk), offset, bytes) {
            self.whole = Some((chunk.view, whole));
        }
    }

    /// Applies a frame of this session.
    fn take<'a>(
        &mut self,
        frame: &Frame<'a>,
    ) -> Result<(Stored, Option<Write<'a>>), ReceiverError> {
        let mut stored = Stored::Known;
        match *frame {
            Frame::Welcome(greeting) => self.welcome(greeting)?,
            Frame::View(number, info) => self.view(number, &info)?,
            Frame::Data { view, offset, bytes } => return self.take_bytes(view, offset, bytes),
            Frame::Zero(range) => stored = self.store(range),
            Frame::Left(range, class) => {
                self.leave_out(range, class);
                stored = self.store(range);
            }
            Frame::Chunk(chunk) if chunk.follows => {
                let whole = self.whole.take();
                let is_it = |(view, (entry, _)): &(u16, (ChunkEntry, Vec<u8>))| {
                    (*view, entry) == (chunk.view, &chunk.entry)
                };
                if let Some((view, (entry, bytes))) = whole.filter(is_it) {
                    return Ok(self.decode(view, &entry, &bytes));
                }
                if self.is_new(chunk.view, &chunk.entry) {
                    stored = Stored::Refused;
                }
            }
            Frame::Chunk(chunk) => self.expect(&chunk),
            // Without its chunk it is of no use: parts missing in the end are requested again.
            Frame::Part { view, chunk, offset, bytes } => {
                if let Some((entry, bytes)) = self.chunks.add((view, chunk), offset, bytes) {
                    return Ok(self.decode(view, &entry, &bytes));
                }
            }
            Frame::Totals(view, totals) => match self.views.get_mut(&view) {
                Some(view) => view.totals = Some(totals),
                // The view's own frame was lost and comes again, so these must, too.
                None => stored = Stored::Refused,
            },
            // Its bytes have come before it.
            Frame::Bulk(range) if self.lacks(&range) => stored = Stored::Refused,
            Frame::Checked(range, sha256) if self.phase == Phase::Check(range) => {
                self.phase = Phase::Compare(range, sha256);
            }
            Frame::Bye if matches!(self.phase, Phase::Leave(_)) => self.phase = Phase::Over,
            _ => {}
        }
        Ok((stored, None))
    }

    fn take_bytes<'a>(
        &mut self,
        view: u16,
        offset: u64,
        bytes: &'a [u8],
    ) -> Result<(Stored, Option<Write<'a>>), ReceiverError> {
        let stored = self.store(Range::new(view, offset, bytes.len() as u64)?);
        let write = Write { view, offset, bytes: Cow::Borrowed(bytes) };
        Ok((stored, (stored == Stored::New).then_some(write)))
    }

    fn welcome(&mut self, greeting: Greeting) -> Result<(), ReceiverError> {
        let other = self.held.as_ref().is_some_and(|held| held.id != greeting.id);
        if other && self.held.as_ref().is_some_and(|held| !held.views.is_empty()) {
            return Err(ReceiverError::OtherDump);
        }
        self.greeting = Some(greeting);
        self.other_version = None;
        Ok(())
    }

    fn view(&mut self, number: u16, info: &ViewInfo<'_>) -> Result<(), ReceiverError> {
        if self.views.contains_key(&number) {
            return Ok(());
        }
        let held = self.held.as_ref().map_or(&[][..], |held| &held.views);
        let held = held.iter().find(|held| held.name == info.name).cloned().unwrap_or_default();
        if !held.name.is_empty() && held.length != info.length {
            return Err(ReceiverError::OtherLength(held.name));
        }
        let state = ViewState {
            name: info.name.into(),
            length: info.length,
            start: info.start,
            pushed: info.pushed,
            wanted: self.plan.part(info)?,
            have: held.have,
            level: info.level,
            codec: info.codec,
            left: held.left,
            totals: held.totals,
            differs: Ranges::new(),
            compared: Ranges::new(),
        };
        self.views.insert(number, state);
        Ok(())
    }

    /// Notes that a range has come.
    fn store(&mut self, range: Range) -> Stored {
        let Some(view) = self.views.get_mut(&range.view()) else { return Stored::Refused };
        if view.wanted.is_none() || range.end() > view.length {
            return Stored::Known;
        }
        if view.have.contains((range.offset(), range.end())) {
            return Stored::Known;
        }
        let added = view.have.insert((range.offset(), range.end()));
        if added.is_ok() { Stored::New } else { Stored::Refused }
    }

    /// Notes that a range is left out, as far as it is not stored yet.
    fn leave_out(&mut self, range: Range, class: PageClass) {
        if let Some(view) = self.views.get_mut(&range.view())
            && view.wanted.is_some()
        {
            view.leave_out(range.offset(), range.end(), class);
        }
    }

    /// True if a chunk is possible, wanted and not there yet.
    fn is_new(&self, view: u16, entry: &ChunkEntry) -> bool {
        let Some(view) = self.views.get(&view).filter(|view| view.wanted.is_some()) else {
            return false;
        };
        let end = entry.start().saturating_add(CHUNK).min(view.length);
        entry.start() < end && !view.have.contains((entry.start(), end))
    }

    /// Makes room for a chunk that begins, if it is of use.
    fn expect(&mut self, chunk: &Chunk) {
        if self.is_new(chunk.view, &chunk.entry) {
            self.chunks.begin(chunk.view, chunk.entry);
        }
    }

    /// Decodes a chunk that has come as a whole. One that is damaged is fetched again.
    fn decode(
        &mut self,
        number: u16,
        entry: &ChunkEntry,
        stored: &[u8],
    ) -> (Stored, Option<Write<'static>>) {
        let Some(view) = self.views.get_mut(&number) else { return (Stored::Refused, None) };
        let pages = pages_of(entry.chunk, view.length);
        let (start, end) = (entry.start(), view.length.min(entry.start().saturating_add(CHUNK)));
        if start >= end || view.wanted.is_none() || view.have.contains((start, end)) {
            return (Stored::Known, None);
        }
        let mut bytes = alloc::vec![0; pages * PAGE as usize];
        let mut room = alloc::vec![0; CHUNK as usize];
        let left = Left::from_bytes(entry.left.to_bytes(), pages);
        if left.is_none() || entry.decode(stored, view.length, &mut room, &mut bytes).is_err() {
            self.spoilt(number, start, end);
            return (Stored::Known, None);
        }
        for page in 0..pages {
            if let Some(class) = entry.left.get(page) {
                let at = start + page as u64 * PAGE;
                view.leave_out(at, at + PAGE, class);
            }
        }
        if view.have.insert((start, end)).is_err() {
            view.forget(start, end);
            return (Stored::Refused, None);
        }
        bytes.truncate((end - start) as usize);
        (Stored::New, Some(Write { view: number, offset: start, bytes: Cow::Owned(bytes) }))
    }

    /// Notes a chunk that is damaged. It stays missing and is fetched again, a few times at most.
    fn spoilt(&mut self, number: u16, start: u64, end: u64) {
        let Some(view) = self.views.get_mut(&number) else { return };
        // A sender that damages as many has no end otherwise.
        let is_full = self.attempts.len() >= MAX_RANGES;
        let known = self.attempts.contains_key(&(number, start));
        let attempts = if is_full && !known {
            view::ATTEMPTS
        } else {
            let attempts = self.attempts.entry((number, start)).or_insert(0);
            *attempts = attempts.saturating_add(1);
            *attempts
        };
        if attempts >= view::ATTEMPTS {
            view.give_up(start, end);
        }
    }

    /// True if some of a range is wanted and not there. A range that is not wanted lacks nothing.
    fn lacks(&self, range: &Range) -> bool {
        let Some(view) = self.views.get(&range.view()) else { return true };
        let outside = view.wanted.is_none() || range.end() > view.length;
        !outside && !view.have.contains((range.offset(), range.end()))
    }

    /// Takes back bytes that could not be written.
    pub fn not_written(&mut self, write: &Write<'_>) {
        if let Some(view) = self.views.get_mut(&write.view) {
            view.forget(write.offset, write.offset.saturating_add(write.bytes.len() as u64));
        }
    }

    /// Takes the result of the caller's comparison: `same` if the written bytes have the given
    /// hash. Returns true if the range is fetched again: then the caller makes it zero first.
    #[must_use]
    pub fn compared(&mut self, range: Range, same: bool) -> bool {
        self.phase = Phase::Fill(Wants::default());
        let Some(view) = self.views.get_mut(&range.view()) else { return false };
        let attempts = self.attempts.entry((range.view(), range.offset())).or_insert(0);
        *attempts += 1;
        view.compared(range, same, *attempts)
    }
}

/// Bytes in a bulk; zero for other frames.
fn bulk_length(frame: &Frame<'_>) -> u64 {
    if let Frame::Bulk(range) = frame { range.length() } else { 0 }
}
