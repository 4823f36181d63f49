//! The end that has the dump.

use sha2::{Digest, Sha256};

use super::window::{Item, Slot, Window};
use super::{
    End, Frame, Greeting, Hello, MAX_FRAME, MAX_VIEWS, Packet, Range, SMALL_FRAME, ViewInfo, Wants,
    WireError, codec,
};

/// Where the bytes come from.
pub trait Source {
    /// A view; `None` from the number of views on. At most [`MAX_VIEWS`](super::MAX_VIEWS).
    fn view(&self, view: u16) -> Option<ViewInfo<'_>>;

    /// Fills `bytes` from `offset` on, which lies within the view. The same bytes each time.
    ///
    /// # Errors
    /// [`Unreadable`] when the memory cannot be read: the range becomes a hole.
    fn read(&mut self, view: u16, offset: u64, bytes: &mut [u8]) -> Result<(), Unreadable>;

    /// How many bytes from `offset` on are zero, as far as that is known without reading them.
    fn zeros(&self, _view: u16, _offset: u64) -> u64 {
        0
    }
}

/// Memory that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable;

/// How a sender behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderConfig {
    /// Tells this dump from every other.
    pub id: [u8; 16],
    /// Largest frame in bytes: [`SMALL_FRAME`] on a serial line.
    pub max_frame: usize,
    /// How long to wait for a receiver, or for a word from it, in milliseconds.
    pub patience: u64,
    /// How often to announce, in milliseconds.
    pub announce_every: u64,
    /// When a frame without an acknowledgement is sent again, in milliseconds. Doubled up to
    /// eightfold while nothing is acknowledged.
    pub retransmit_after: u64,
    /// How long to stay after the end, in case the receiver has not heard the `bye`, in milliseconds.
    pub linger: u64,
}

impl SenderConfig {
    /// For a serial line.
    pub const fn serial(id: [u8; 16]) -> Self {
        Self {
            id,
            max_frame: SMALL_FRAME,
            patience: 30_000,
            announce_every: 1000,
            retransmit_after: 500,
            linger: 2000,
        }
    }

    /// For a virtio-console port, whose frames are large.
    pub const fn console(id: [u8; 16]) -> Self {
        Self { max_frame: MAX_FRAME, ..Self::serial(id) }
    }
}

/// What the sender's caller does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SenderStep {
    /// Send the first so many bytes of the buffer, then ask again.
    Send(usize),
    /// Look for bytes from the receiver, then ask again: there is more to do.
    Busy,
    /// Ask again when bytes have come, or at this time in milliseconds.
    Wait(u64),
    /// The end.
    Finished(Outcome),
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Outcome {
    /// The receiver has everything, and has compared it.
    #[error("the collector has the whole dump, and has compared it")]
    Complete,
    /// No receiver has said hello.
    #[error("no collector answers: is `collector receive` running at the other end of the line?")]
    Nobody,
    /// The receiver has fallen silent.
    #[error("the collector has fallen silent before it had the whole dump")]
    Silent,
    /// The receiver gave up.
    #[error("the collector has given up: it says why")]
    GaveUp,
    /// The receiver speaks another version.
    #[error(
        "the collector speaks version {0} of the wire protocol, this kernel version {VERSION}: use programs of the same release on both sides",
        VERSION = super::VERSION
    )]
    Version(u8),
}

/// Sends views to a receiver. Needs no memory but the slots it is given; the bytes in flight are
/// `slots × max_frame`, which should cover what the line carries until an answer comes: 64 slots of
/// 256 bytes are 1.4 seconds at 115200 baud.
#[derive(Debug)]
pub struct Sender<'w> {
    config: SenderConfig,
    window: Window<'w>,
    /// The session that a hello has begun.
    session: Option<Session>,
    /// Sequence number of the last counted frame.
    seq: u32,
    announce_at: u64,
    /// When the receiver was last heard, at first when the sender was made.
    heard: u64,
    /// How often the oldest frame was sent again without any acknowledgement.
    fruitless: u32,
    /// The end, and since when.
    end: Option<(Outcome, u64)>,
    parting_due: bool,
}

/// What one receiver wants.
#[derive(Debug)]
struct Session {
    number: u32,
    max_frame: usize,
    welcome_due: bool,
    next_view: u16,
    /// Where pushing has come to.
    push: Option<(u16, u64)>,
    wants: Wants,
    /// How much of the wants was sent: an index, and bytes in that range.
    sent: (usize, u64),
    check: Option<Check>,
    /// Sequence number of the receiver's last frame.
    last: u32,
}

/// A range that is being hashed.
#[derive(Debug)]
struct Check {
    range: Range,
    done: u64,
    hash: Sha256,
}

/// How far one frame looks for the end of a run of zeros, in bytes.
const ZERO_SCAN: u64 = 1 << 20;

impl<'w> Sender<'w> {
    /// A sender whose time begins at `now`. More than [`MAX_WINDOW`](super::MAX_WINDOW) slots are of no use.
    pub fn new(config: SenderConfig, slots: &'w mut [Slot], now: u64) -> Self {
        Self {
            config,
            window: Window::new(slots),
            session: None,
            seq: 0,
            announce_at: now,
            heard: now,
            fruitless: 0,
            end: None,
            parting_due: false,
        }
    }

    /// The session number, for the [`FrameReader`](super::FrameReader).
    pub fn session(&self) -> u32 {
        self.session.as_ref().map_or(0, |session| session.number)
    }

    /// How it ended, once the receiver has said so: also before the sender has lingered, in case the
    /// line is cut then.
    pub fn outcome(&self) -> Option<Outcome> {
        self.end.map(|(outcome, _)| outcome)
    }

    /// Takes note of a receiver of another version.
    pub fn other_version(&mut self, version: u8, now: u64) {
        if self.session.is_none() {
            self.end.get_or_insert((Outcome::Version(version), now));
            self.parting_due = true;
        }
    }

    /// Takes a frame from the receiver.
    pub fn receive(&mut self, packet: &Packet<'_>, now: u64) {
        if let Frame::Hello(hello) = &packet.frame {
            self.heard = now;
            return self.hello(hello, packet.seq);
        }
        let Some(session) = &mut self.session else { return };
        self.heard = now;
        if packet.seq <= session.last {
            return;
        }
        session.last = packet.seq;
        match packet.frame {
            Frame::Ack { highest, before } => self.acknowledge(highest, before),
            Frame::Want(wants) => session.want(wants),
            Frame::Check(range) => session.check(range),
            Frame::Done(end) => self.done(end, now),
            _ => {}
        }
    }

    fn acknowledge(&mut self, highest: u32, before: u64) {
        if highest <= self.seq && self.window.acknowledge(highest, before) {
            self.fruitless = 0;
        }
    }

    fn hello(&mut self, hello: &Hello, seq: u32) {
        let known = self.session.as_mut().filter(|session| session.number == hello.session);
        if let Some(session) = known {
            session.welcome_due |= seq > session.last;
            session.last = session.last.max(seq);
            return;
        }
        let limit = usize::try_from(hello.max_frame).unwrap_or(MAX_FRAME);
        self.window.clear();
        self.seq = 0;
        self.fruitless = 0;
        self.end = None;
        self.session = Some(Session {
            number: hello.session,
            max_frame: limit.min(self.config.max_frame),
            welcome_due: true,
            next_view: 0,
            push: hello.push.then_some((0, 0)),
            wants: Wants::default(),
            sent: (0, 0),
            check: None,
            last: seq,
        });
    }

    fn done(&mut self, end: End, now: u64) {
        self.parting_due = true;
        self.window.clear();
        match end {
            End::Complete => self.end = Some((Outcome::Complete, now)),
            End::GaveUp => self.end = Some((Outcome::GaveUp, now)),
            End::Left => {
                if let Some(session) = &mut self.session {
                    session.push = None;
                    session.want(Wants::default());
                }
            }
        }
    }

    /// What to do now. A frame goes into `out`, which has room for the largest one.
    ///
    /// # Errors
    /// [`WireError::Room`] for a buffer that is too short, [`WireError::Name`] for a view whose name
    /// is none: both are the caller's fault.
    pub fn poll<S: Source>(
        &mut self,
        source: &mut S,
        now: u64,
        out: &mut [u8],
    ) -> Result<SenderStep, WireError> {
        if self.parting_due {
            self.parting_due = false;
            return self.part(source, out);
        }
        if let Some((outcome, since)) = self.end {
            let until = since.saturating_add(self.linger(outcome));
            return Ok(if now >= until {
                SenderStep::Finished(outcome)
            } else {
                SenderStep::Wait(until)
            });
        }
        let deadline = self.heard.saturating_add(self.config.patience);
        if now >= deadline {
            let outcome = if self.session.is_none() { Outcome::Nobody } else { Outcome::Silent };
            return Ok(SenderStep::Finished(outcome));
        }
        match &self.session {
            None => self.announce(source, now, out),
            Some(_) => self.serve(source, now, deadline, out),
        }
    }

    /// The last word: to a receiver of another version it is the announcement, which tells ours.
    fn part<S: Source>(&self, source: &S, out: &mut [u8]) -> Result<SenderStep, WireError> {
        match &self.session {
            Some(_) => self.send(Frame::Bye, 0, out),
            None => self.send(Frame::Announce(self.greeting(source)), 0, out),
        }
    }

    /// How long to stay after the end. A receiver of another version has nothing more to say.
    fn linger(&self, outcome: Outcome) -> u64 {
        if matches!(outcome, Outcome::Version(_)) { 0 } else { self.config.linger }
    }

    fn send(&self, frame: Frame<'_>, seq: u32, out: &mut [u8]) -> Result<SenderStep, WireError> {
        codec::encode(&Packet { seq, frame }, self.session(), out).map(SenderStep::Send)
    }

    fn greeting<S: Source>(&self, source: &S) -> Greeting {
        let views = (0..MAX_VIEWS).map_while(|view| source.view(view));
        let pushed = views.clone().filter(|view| view.pushed);
        Greeting {
            id: self.config.id,
            length: pushed.fold(0, |sum, view| sum.saturating_add(view.length)),
            max_frame: u32::try_from(self.config.max_frame).unwrap_or(u32::MAX),
            views: views.fold(0, |count, _| count + 1),
        }
    }

    fn announce<S: Source>(
        &mut self,
        source: &S,
        now: u64,
        out: &mut [u8],
    ) -> Result<SenderStep, WireError> {
        if now < self.announce_at {
            return Ok(SenderStep::Wait(self.announce_at));
        }
        self.announce_at = now.saturating_add(self.config.announce_every);
        self.send(Frame::Announce(self.greeting(source)), 0, out)
    }

    fn serve<S: Source>(
        &mut self,
        source: &mut S,
        now: u64,
        deadline: u64,
        out: &mut [u8],
    ) -> Result<SenderStep, WireError> {
        let Some(session) = &mut self.session else { return Ok(SenderStep::Busy) };
        if session.welcome_due {
            session.welcome_due = false;
            session.next_view = 0;
            return self.send(Frame::Welcome(self.greeting(source)), 0, out);
        }
        if self.expiry().is_some_and(|expiry| now >= expiry) {
            self.window.expire_oldest();
            self.fruitless = self.fruitless.saturating_add(1);
        }
        if let Some(item) = self.window.lost() {
            return self.send_again(item, source, now, out);
        }
        if !self.window.is_full()
            && let Some(step) = self.send_new(source, now, out)?
        {
            return Ok(step);
        }
        if let Some(step) = self.hash(source, out)? {
            return Ok(step);
        }
        Ok(SenderStep::Wait(self.expiry().map_or(deadline, |expiry| expiry.min(deadline))))
    }

    /// When the frame that is longest in flight is given up.
    fn expiry(&self) -> Option<u64> {
        let patience = self.config.retransmit_after << self.fruitless.min(3);
        self.window.oldest().map(|at| at.saturating_add(patience))
    }

    fn send_again<S: Source>(
        &mut self,
        item: Item,
        source: &mut S,
        now: u64,
        out: &mut [u8],
    ) -> Result<SenderStep, WireError> {
        let seq = self.seq.wrapping_add(1);
        let session = self.session();
        let length = encode_item(item, source, session, seq, out)?;
        self.seq = seq;
        self.window.sent_again(item, seq, now);
        Ok(SenderStep::Send(length))
    }

    fn send_new<S: Source>(
        &mut self,
        source: &mut S,
        now: u64,
        out: &mut [u8],
    ) -> Result<Option<SenderStep>, WireError> {
        let Some(session) = &mut self.session else { return Ok(None) };
        let Some(item) = session.next_item(source, out)? else { return Ok(None) };
        let seq = self.seq.wrapping_add(1);
        let length = match item {
            // Its bytes are in the buffer already.
            Item::Data(range) => seal(range, session.number, seq, out)?,
            _ => encode_item(item, source, session.number, seq, out)?,
        };
        self.seq = seq;
        self.window.sent(item, seq, now);
        Ok(Some(SenderStep::Send(length)))
    }

    /// Hashes a little more of what is to be checked, by way of `out`.
    fn hash<S: Source>(
        &mut self,
        source: &mut S,
        out: &mut [u8],
    ) -> Result<Option<SenderStep>, WireError> {
        let Some(check) = self.session.as_mut().and_then(|session| session.check.as_mut()) else {
            return Ok(None);
        };
        check.step(source, out);
        if check.done < check.range.length() {
            return Ok(Some(SenderStep::Busy));
        }
        let (range, sha256) = (check.range, check.hash.clone().finalize().into());
        if let Some(session) = &mut self.session {
            session.check = None;
        }
        self.send(Frame::Checked(range, sha256), 0, out).map(Some)
    }
}

impl Session {
    fn want(&mut self, wants: Wants) {
        self.push = None;
        self.wants = wants;
        self.sent = (0, 0);
    }

    /// A range that is being hashed is not begun again.
    fn check(&mut self, range: Range) {
        if self.check.as_ref().is_none_or(|check| check.range != range) {
            self.check = Some(Check { range, done: 0, hash: Sha256::new() });
        }
    }

    /// What comes next: a view of the list, or the next piece of a view. The bytes of a data frame
    /// are read into their place in `out`.
    fn next_item<S: Source>(
        &mut self,
        source: &mut S,
        out: &mut [u8],
    ) -> Result<Option<Item>, WireError> {
        if source.view(self.next_view).is_some() && self.next_view < MAX_VIEWS {
            self.next_view += 1;
            return Ok(Some(Item::View(self.next_view - 1)));
        }
        let Some(rest) = self.next_range(source) else { return Ok(None) };
        let item = piece(rest, source, self.max_frame, out)?;
        let length = match item {
            Item::View(_) => 0,
            Item::Data(range) | Item::Zero(range) | Item::Hole(range) => range.length(),
        };
        match &mut self.push {
            Some((_, offset)) => *offset += length,
            None => self.sent.1 += length,
        }
        Ok(Some(item))
    }

    /// What is left of the range that is being sent, within its view.
    fn next_range<S: Source>(&mut self, source: &S) -> Option<Range> {
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

impl Check {
    /// Hashes as much as fits into `buffer`. What cannot be read, or lies past the view's end, counts
    /// as zero.
    fn step<S: Source>(&mut self, source: &mut S, buffer: &mut [u8]) {
        let view = self.range.view();
        let left = self.range.length() - self.done;
        let offset = self.range.offset() + self.done;
        let length =
            usize::try_from(left).unwrap_or(usize::MAX).min(codec::data_capacity(buffer.len()));
        let bytes = &mut buffer[..length];
        let inside = source.view(view).is_some_and(|info| offset + length as u64 <= info.length);
        if inside {
            read_around_holes(source, view, offset, bytes);
        } else {
            bytes.fill(0);
        }
        self.hash.update(&*bytes);
        self.done += length as u64;
    }
}

/// How finely holes are told from what can be read, in bytes: a line can be read as a whole or not
/// at all, as memory is poisoned line by line.
const LINE: u64 = 64;

/// How many of `length` bytes from `offset` on lie in the same line.
fn in_line(offset: u64, length: u64) -> u64 {
    length.min(LINE - offset % LINE)
}

/// Reads what can be read; the other lines are zero.
fn read_around_holes<S: Source>(source: &mut S, view: u16, offset: u64, bytes: &mut [u8]) {
    if source.read(view, offset, bytes).is_ok() {
        return;
    }
    let (mut at, mut rest) = (offset, bytes);
    while !rest.is_empty() {
        let length = in_line(at, rest.len() as u64);
        let (line, behind) = rest.split_at_mut(length as usize);
        if source.read(view, at, line).is_err() {
            line.fill(0);
        }
        (at, rest) = (at + length, behind);
    }
}

/// The next piece of `rest`. The bytes of a data frame are read into their place in `out`.
fn piece<S: Source>(
    rest: Range,
    source: &mut S,
    max_frame: usize,
    out: &mut [u8],
) -> Result<Item, WireError> {
    let (view, offset) = (rest.view(), rest.offset());
    let range = |length| Range::new(view, offset, length);
    let known = source.zeros(view, offset).min(rest.length());
    if known >= LINE {
        return range(known).map(Item::Zero);
    }
    let most = codec::data_capacity(max_frame);
    let length = usize::try_from(rest.length()).unwrap_or(most).min(most);
    let bytes = room(out, length)?;
    if source.read(view, offset, bytes).is_err() {
        let line = in_line(offset, length as u64);
        let read = source.read(view, offset, &mut bytes[..line as usize]);
        return range(line).map(if read.is_ok() { Item::Data } else { Item::Hole });
    }
    if leading_zeros(bytes) < length {
        return range(length as u64).map(Item::Data);
    }
    range(zero_run(rest, length as u64, source, bytes)).map(Item::Zero)
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
fn seal(range: Range, session: u32, seq: u32, out: &mut [u8]) -> Result<usize, WireError> {
    let length = usize::try_from(range.length()).unwrap_or(usize::MAX);
    codec::seal_data(out, session, seq, range.view(), range.offset(), length)
}

/// A counted frame, with its bytes read from the source.
fn encode_item<S: Source>(
    item: Item,
    source: &mut S,
    session: u32,
    seq: u32,
    out: &mut [u8],
) -> Result<usize, WireError> {
    let mut encode = |frame| codec::encode(&Packet { seq, frame }, session, out);
    match item {
        Item::View(view) => match source.view(view) {
            Some(info) => encode(Frame::View(view, info)),
            None => Err(WireError::View(view)),
        },
        Item::Zero(range) => encode(Frame::Zero(range)),
        Item::Hole(range) => encode(Frame::Hole(range)),
        Item::Data(range) => {
            let bytes = room(out, usize::try_from(range.length()).unwrap_or(usize::MAX))?;
            match source.read(range.view(), range.offset(), bytes) {
                Ok(()) => seal(range, session, seq, out),
                Err(Unreadable) => {
                    let hole = Packet { seq, frame: Frame::Hole(range) };
                    codec::encode(&hole, session, out)
                }
            }
        }
    }
}
