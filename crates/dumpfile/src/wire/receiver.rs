//! The end that wants the dump.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use super::{
    End, Frame, Greeting, Hello, Packet, Range, Ranges, ViewInfo, Wants, WireError, codec,
};

/// What a receiver wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// The dump: every view that the sender pushes.
    Dump,
    /// One view.
    View(String),
    /// A part of one view.
    Part {
        /// The view's name.
        view: String,
        /// The address of the first byte wanted, as the view counts them.
        start: u64,
        /// Length in bytes.
        length: u64,
    },
}

/// What is there already, from an earlier session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// The dump's id.
    pub id: [u8; 16],
    /// What is stored of which view.
    pub views: Vec<HeldView>,
}

/// What is there of a view.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeldView {
    /// Its name.
    pub name: String,
    /// Its length in bytes.
    pub length: u64,
    /// What of it is stored.
    pub have: Ranges,
    /// What of that the sender could not read.
    pub holes: Ranges,
}

/// How long a receiver waits before it repeats itself, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiverTimes {
    /// For an answer, or for more of what is missing.
    pub retry: u64,
    /// For the hash of a range.
    pub check: u64,
    /// Until frames that have come are acknowledged at the latest.
    pub ack: u64,
    /// Between signs of life when there is nothing to say.
    pub alive: u64,
}

impl Default for ReceiverTimes {
    fn default() -> Self {
        Self { retry: 500, check: 2000, ack: 20, alive: 1000 }
    }
}

/// What the receiver's caller writes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write<'a> {
    /// Bytes of a view.
    Bytes {
        /// The view's number.
        view: u16,
        /// Where, in bytes.
        offset: u64,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// Zeros in a view; where nothing was written yet, nothing needs to be.
    Zeros(Range),
}

/// What the receiver's caller does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReceiverStep {
    /// Send the first so many bytes of the buffer, then ask again.
    Send(usize),
    /// Hash what was written of this range, say whether it is the same ([`Receiver::compared`]), then
    /// ask again.
    Compare(Range, [u8; 32]),
    /// Ask again when bytes have come, or at this time in milliseconds.
    Wait(u64),
    /// The end.
    Finished(Verdict),
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Everything that was wanted is there, and the same as on the other side.
    Complete,
    /// Ranges stay different, however often they are sent: [`ViewState::differs`] has them.
    Differs,
}

/// Why a receiver cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiverError {
    /// The sender speaks another version.
    #[error(
        "the other end speaks version {0} of the wire protocol, this program version {VERSION}: use programs of the same release on both sides",
        VERSION = super::VERSION
    )]
    Version(u8),
    /// It is another dump than the one of which a part is there.
    #[error("the other end has another dump than the one that was begun")]
    OtherDump,
    /// A view has another length than it had.
    #[error("view {0} has another length than when the transfer was begun")]
    OtherLength(String),
    /// There is no view of that name.
    #[error("there is no view {wanted}, there are: {there}")]
    NoView {
        /// The name.
        wanted: String,
        /// Those that there are.
        there: String,
    },
    /// The part that is wanted is not within the view.
    #[error("view {view} covers {start:#x}+{length:#x}: the range is not within it")]
    Outside {
        /// The view's name.
        view: String,
        /// The address of its first byte.
        start: u64,
        /// Its length in bytes.
        length: u64,
    },
    /// A frame could not be encoded.
    #[error(transparent)]
    Wire(#[from] WireError),
}

/// What is known of a view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewState {
    /// Its name.
    pub name: String,
    /// Its length in bytes.
    pub length: u64,
    /// The address of its first byte.
    pub start: u64,
    /// Whether it is part of the dump.
    pub pushed: bool,
    /// What of it is wanted, from byte to byte (exclusive), if anything.
    pub wanted: Option<(u64, u64)>,
    /// What of it is there.
    pub have: Ranges,
    /// What the sender could not read; zero here.
    pub holes: Ranges,
    /// What stays different from what the sender has.
    pub differs: Ranges,
    /// What was compared.
    compared: Ranges,
}

impl ViewState {
    /// What is wanted and not there, ascending, as (start, end) in bytes.
    pub fn missing(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let (start, end) = self.wanted.unwrap_or((0, 0));
        self.have.gaps(start, end)
    }

    /// Bytes that are wanted, and bytes of these that are there.
    pub fn progress(&self) -> (u64, u64) {
        let (start, end) = self.wanted.unwrap_or((0, 0));
        let missing: u64 = self.missing().map(|(from, to)| to - from).sum();
        (end - start, end - start - missing)
    }

    /// The first part that was not compared, within one block.
    fn uncompared(&self) -> Option<(u64, u64)> {
        let (start, end) = self.wanted?;
        let (from, to) = self.compared.gaps(start, end).next()?;
        Some((from, to.min((from / BLOCK + 1).saturating_mul(BLOCK))))
    }
}

/// What is hashed at once, in bytes.
const BLOCK: u64 = 1 << 20;
/// Acknowledge after so many counted frames.
const ACK_EVERY: u32 = 8;
/// How often a block is fetched before it counts as different for good.
const ATTEMPTS: u8 = 3;
/// How often to say `done` to a sender that does not answer.
const FAREWELLS: u8 = 5;

/// Receives views from a sender.
#[derive(Debug)]
pub struct Receiver {
    plan: Plan,
    times: ReceiverTimes,
    max_frame: u32,
    held: Option<Held>,
    session: u32,
    /// What the sender has said of itself in this session.
    greeting: Option<Greeting>,
    views: BTreeMap<u16, ViewState>,
    seen: Seen,
    seq: u32,
    /// When the sender was last heard, at first when the session was begun.
    heard: u64,
    /// When something was last sent, and when to repeat what waits for an answer.
    spoke: u64,
    repeat_at: u64,
    phase: Phase,
    attempts: BTreeMap<(u16, u64), u8>,
}

/// What is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    /// The welcome, and the list of views.
    Greet,
    /// What is pushed.
    Push,
    /// What was asked for.
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

/// Which counted frames came.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    highest: u32,
    before: u64,
    /// How many came since the last acknowledgement, and since when one is due.
    unsaid: u32,
    since: u64,
}

impl Seen {
    fn note(&mut self, seq: u32, now: u64) {
        if let Some(ahead) = seq.checked_sub(self.highest).filter(|ahead| *ahead > 0) {
            let shifted = self.before.checked_shl(ahead).unwrap_or(0);
            let last = if self.highest == 0 { 0 } else { 1u64.checked_shl(ahead - 1).unwrap_or(0) };
            self.before = shifted | last;
            self.highest = seq;
            // What is lost is said at once.
            self.unsaid += if ahead > 1 { ACK_EVERY } else { 1 };
        } else {
            let age = self.highest - seq;
            let bit = age.checked_sub(1).and_then(|age| 1u64.checked_shl(age));
            self.before |= bit.unwrap_or(0);
            self.unsaid += 1;
        }
        if self.unsaid == 1 {
            self.since = now;
        }
    }
}

impl Receiver {
    /// A receiver that takes frames of at most `max_frame` bytes, and does not fetch again what is
    /// `held`. Next comes [`Receiver::connect`].
    pub fn new(plan: Plan, times: ReceiverTimes, max_frame: u32, held: Option<Held>) -> Self {
        Self {
            plan,
            times,
            max_frame,
            held,
            session: 0,
            greeting: None,
            views: BTreeMap::new(),
            seen: Seen::default(),
            seq: 0,
            heard: 0,
            spoke: 0,
            repeat_at: 0,
            phase: Phase::Greet,
            attempts: BTreeMap::new(),
        }
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
        self.seen = Seen::default();
        self.seq = 0;
        self.heard = now;
        self.spoke = now;
        self.repeat_at = now;
        if self.phase != Phase::Over {
            self.phase = Phase::Greet;
        }
    }

    /// The session number, for the [`FrameReader`](super::FrameReader).
    pub const fn session(&self) -> u32 {
        self.session
    }

    /// The sender's words about itself, once there was a welcome.
    pub const fn greeting(&self) -> Option<&Greeting> {
        self.greeting.as_ref()
    }

    /// The views, by number.
    pub fn views(&self) -> impl Iterator<Item = (u16, &ViewState)> {
        self.views.iter().map(|(number, view)| (*number, view))
    }

    /// When the sender was last heard, in milliseconds.
    pub const fn heard(&self) -> u64 {
        self.heard
    }

    /// What is there, for a later session: this one's, or what an earlier one has left.
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
            holes: view.holes.clone(),
        }));
        Held { id: greeting.id, views }
    }

    /// Takes a frame from the sender. What it returns is to be written down before the receiver is
    /// asked what to do next: then it may be acknowledged.
    ///
    /// # Errors
    /// What makes going on useless.
    pub fn receive<'a>(
        &mut self,
        packet: &Packet<'a>,
        now: u64,
    ) -> Result<Option<Write<'a>>, ReceiverError> {
        if let Frame::Announce(_) = packet.frame {
            // It is there: say hello at once.
            if self.phase == Phase::Greet {
                self.repeat_at = self.repeat_at.min(now);
            }
            return Ok(None);
        }
        self.heard = now;
        if self.greeting.is_none() && !matches!(packet.frame, Frame::Welcome(_)) {
            return Ok(None);
        }
        let mut write = None;
        match packet.frame {
            Frame::Welcome(greeting) => self.welcome(greeting)?,
            Frame::View(number, info) => self.view(number, &info)?,
            Frame::Data { view, offset, bytes } => {
                let range = Range::new(view, offset, bytes.len() as u64)?;
                match self.store(range) {
                    Stored::New => write = Some(Write::Bytes { view, offset, bytes }),
                    Stored::Known => {}
                    Stored::Refused => return Ok(None),
                }
            }
            Frame::Zero(range) | Frame::Hole(range) => match self.store(range) {
                Stored::New => write = Some(Write::Zeros(range)),
                Stored::Known => {}
                Stored::Refused => return Ok(None),
            },
            Frame::Checked(range, sha256) if self.phase == Phase::Check(range) => {
                self.phase = Phase::Compare(range, sha256);
            }
            Frame::Bye if matches!(self.phase, Phase::Leave(_)) => self.phase = Phase::Over,
            _ => {}
        }
        if let Frame::Hole(range) = packet.frame {
            self.hole(range);
        }
        if packet.frame.is_counted() {
            self.seen.note(packet.seq, now);
        }
        Ok(write)
    }

    fn welcome(&mut self, greeting: Greeting) -> Result<(), ReceiverError> {
        let other = self.held.as_ref().is_some_and(|held| held.id != greeting.id);
        if other && self.held.as_ref().is_some_and(|held| !held.views.is_empty()) {
            return Err(ReceiverError::OtherDump);
        }
        self.greeting = Some(greeting);
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
            wanted: self.wanted(info)?,
            have: held.have,
            holes: held.holes,
            differs: Ranges::new(),
            compared: Ranges::new(),
        };
        self.views.insert(number, state);
        Ok(())
    }

    /// What of a view the plan wants.
    fn wanted(&self, info: &ViewInfo<'_>) -> Result<Option<(u64, u64)>, ReceiverError> {
        match &self.plan {
            Plan::Dump => Ok(info.pushed.then_some((0, info.length))),
            Plan::View(name) => Ok((name == info.name).then_some((0, info.length))),
            Plan::Part { view, start, length } if view == info.name => {
                let from = start.checked_sub(info.start);
                let to = from.and_then(|from| from.checked_add(*length));
                let to = to.filter(|to| *to <= info.length);
                let outside = || ReceiverError::Outside {
                    view: view.clone(),
                    start: info.start,
                    length: info.length,
                };
                from.zip(to).map(Some).ok_or_else(outside)
            }
            Plan::Part { .. } => Ok(None),
        }
    }

    /// Notes that a range has come.
    fn store(&mut self, range: Range) -> Stored {
        let Some(view) = self.views.get_mut(&range.view()) else { return Stored::Refused };
        if view.wanted.is_none() || range.end() > view.length {
            return Stored::Known;
        }
        if view.have.contains(range.offset(), range.end()) {
            return Stored::Known;
        }
        if view.have.insert(range.offset(), range.end()) { Stored::New } else { Stored::Refused }
    }

    /// Notes a hole; one too many for the list is still told by its zeros.
    fn hole(&mut self, range: Range) {
        if let Some(view) = self.views.get_mut(&range.view()) {
            let _ = view.holes.insert(range.offset(), range.end().min(view.length));
        }
    }

    /// What the caller has found: whether what it has written is what the hash says.
    pub fn compared(&mut self, range: Range, same: bool) {
        self.phase = Phase::Fill(Wants::default());
        let Some(view) = self.views.get_mut(&range.view()) else { return };
        let (from, to) = (range.offset(), range.end());
        let attempts = self.attempts.entry((range.view(), from)).or_insert(0);
        *attempts += 1;
        let settled = same || *attempts >= ATTEMPTS;
        if !settled {
            view.have.remove(from, to);
            return;
        }
        // Blocks are compared in their order, so both lists stay short.
        let _ = view.compared.insert(from, to);
        if !same {
            let _ = view.differs.insert(from, to);
        }
    }

    /// What to do now. A frame goes into `out`, which has room for
    /// [`SMALL_FRAME`](super::SMALL_FRAME) bytes.
    ///
    /// # Errors
    /// [`ReceiverError::NoView`], or [`ReceiverError::Wire`] when `out` is too short.
    pub fn poll(&mut self, now: u64, out: &mut [u8]) -> Result<ReceiverStep, ReceiverError> {
        if self.ack_due(now) {
            self.seen.unsaid = 0;
            return self.ack(now, out);
        }
        match self.phase.clone() {
            Phase::Over => return Ok(ReceiverStep::Finished(self.verdict())),
            Phase::Compare(range, sha256) => return Ok(ReceiverStep::Compare(range, sha256)),
            Phase::Greet => {
                if !self.has_list() {
                    return self.greet(now, out);
                }
                self.check_plan()?;
                let push = self.pushes();
                self.phase = if push { Phase::Push } else { Phase::Fill(Wants::default()) };
                self.repeat_at = now.saturating_add(if push { self.times.retry } else { 0 });
            }
            _ => {}
        }
        if self.views.values().any(|view| view.missing().next().is_some()) {
            return self.fill(now, out);
        }
        if let Some(range) = self.next_check() {
            return self.check(range, now, out);
        }
        self.leave(now, out)
    }

    /// Gives up, for a reason of the caller's: the frame that says so to the sender.
    ///
    /// # Errors
    /// [`WireError::Room`].
    pub fn give_up(&mut self, out: &mut [u8]) -> Result<usize, WireError> {
        self.phase = Phase::Over;
        let end = if self.plan == Plan::Dump { End::GaveUp } else { End::Left };
        self.encode(Frame::Done(end), out)
    }

    /// Whether the sender pushes in this session: it does so to who wants the dump and has nothing.
    fn pushes(&self) -> bool {
        self.plan == Plan::Dump && self.held.as_ref().is_none_or(|held| held.views.is_empty())
    }

    fn has_list(&self) -> bool {
        let count = self.greeting.map(|greeting| usize::from(greeting.views));
        count.is_some_and(|count| self.views.len() >= count)
    }

    fn check_plan(&self) -> Result<(), ReceiverError> {
        let (Plan::View(wanted) | Plan::Part { view: wanted, .. }) = &self.plan else {
            return Ok(());
        };
        if self.views.values().any(|view| view.name == *wanted) {
            return Ok(());
        }
        let names: Vec<&str> = self.views.values().map(|view| &*view.name).collect();
        Err(ReceiverError::NoView { wanted: wanted.clone(), there: names.join(", ") })
    }

    fn verdict(&self) -> Verdict {
        let same = self.views.values().all(|view| view.differs.is_empty());
        if same { Verdict::Complete } else { Verdict::Differs }
    }

    fn ack_due(&self, now: u64) -> bool {
        let Seen { unsaid, since, .. } = self.seen;
        let late = unsaid > 0 && now >= since.saturating_add(self.times.ack);
        let alive = now >= self.spoke.saturating_add(self.times.alive);
        unsaid >= ACK_EVERY
            || late
            || (alive && self.greeting.is_some() && self.phase != Phase::Over)
    }

    fn ack(&mut self, now: u64, out: &mut [u8]) -> Result<ReceiverStep, ReceiverError> {
        let Seen { highest, before, .. } = self.seen;
        self.say(Frame::Ack { highest, before }, now, out)
    }

    fn greet(&mut self, now: u64, out: &mut [u8]) -> Result<ReceiverStep, ReceiverError> {
        if now < self.repeat_at {
            return Ok(self.wait());
        }
        self.repeat_at = now.saturating_add(self.times.retry);
        let (session, max_frame) = (self.session, self.max_frame);
        self.say(Frame::Hello(Hello { session, max_frame, push: self.pushes() }), now, out)
    }

    /// Waits for what is missing, and asks for it when nothing comes, or when all that was asked for
    /// is there.
    fn fill(&mut self, now: u64, out: &mut [u8]) -> Result<ReceiverStep, ReceiverError> {
        let quiet_until = self.heard.max(self.spoke).saturating_add(self.times.retry);
        let asked = match &self.phase {
            Phase::Push => true,
            Phase::Fill(wants) => wants.as_slice().iter().any(|want| self.lacks(want)),
            _ => false,
        };
        if asked && now < quiet_until {
            return Ok(self.wait_until(quiet_until));
        }
        let missing = self.views.iter().flat_map(|(number, view)| {
            view.missing().filter_map(|(from, to)| Range::new(*number, from, to - from).ok())
        });
        let wants: Wants = missing.collect();
        self.phase = Phase::Fill(wants);
        self.say(Frame::Want(wants), now, out)
    }

    fn lacks(&self, range: &Range) -> bool {
        let view = self.views.get(&range.view());
        view.is_some_and(|view| !view.have.contains(range.offset(), range.end()))
    }

    fn next_check(&self) -> Option<Range> {
        self.views.iter().find_map(|(number, view)| {
            let (from, to) = view.uncompared()?;
            Range::new(*number, from, to - from).ok()
        })
    }

    fn check(
        &mut self,
        range: Range,
        now: u64,
        out: &mut [u8],
    ) -> Result<ReceiverStep, ReceiverError> {
        if self.phase == Phase::Check(range) && now < self.repeat_at {
            return Ok(self.wait());
        }
        self.phase = Phase::Check(range);
        self.repeat_at = now.saturating_add(self.times.check);
        self.say(Frame::Check(range), now, out)
    }

    fn leave(&mut self, now: u64, out: &mut [u8]) -> Result<ReceiverStep, ReceiverError> {
        let said = if let Phase::Leave(said) = self.phase { said } else { 0 };
        if said > 0 && now < self.repeat_at {
            return Ok(self.wait());
        }
        if said >= FAREWELLS {
            self.phase = Phase::Over;
            return Ok(ReceiverStep::Finished(self.verdict()));
        }
        self.phase = Phase::Leave(said + 1);
        self.repeat_at = now.saturating_add(self.times.retry);
        let end = match (&self.plan, self.verdict()) {
            (Plan::Dump, Verdict::Complete) => End::Complete,
            (Plan::Dump, Verdict::Differs) => End::GaveUp,
            _ => End::Left,
        };
        self.say(Frame::Done(end), now, out)
    }

    /// Waits until the phase repeats itself.
    fn wait(&self) -> ReceiverStep {
        self.wait_until(self.repeat_at)
    }

    fn wait_until(&self, until: u64) -> ReceiverStep {
        let ack = if self.seen.unsaid > 0 {
            self.seen.since.saturating_add(self.times.ack)
        } else {
            self.spoke.saturating_add(self.times.alive)
        };
        let ack = if self.greeting.is_some() { ack } else { until };
        ReceiverStep::Wait(until.min(ack))
    }

    fn say(
        &mut self,
        frame: Frame<'_>,
        now: u64,
        out: &mut [u8],
    ) -> Result<ReceiverStep, ReceiverError> {
        self.spoke = now;
        Ok(ReceiverStep::Send(self.encode(frame, out)?))
    }

    fn encode(&mut self, frame: Frame<'_>, out: &mut [u8]) -> Result<usize, WireError> {
        self.seq = self.seq.wrapping_add(1);
        codec::encode(&Packet { seq: self.seq, frame }, self.session, out)
    }
}

/// What became of a range that has come.
enum Stored {
    New,
    Known,
    /// It is not acknowledged, so that it comes again.
    Refused,
}
