//! The end that has the dump.

mod check;
mod piece;
mod session;
mod step;

use self::piece::Means;
use self::session::{Next, Session};
pub use self::step::{Outcome, SenderConfig, SenderStep};
use super::window::{Item, Slot, Window};
use super::{
    End, Frame, Greeting, Hello, MAX_FRAME, MAX_VIEWS, Packet, SMALL_FRAME, Source, Wants,
    WireError, codec,
};
use crate::chunk::Codec;

/// Sends views to a receiver. Needs no memory but the given slots; the bytes in flight are `slots ×
/// max_frame`, or [`BULK_IN_FLIGHT`](super::BULK_IN_FLIGHT) as bulks. They should cover the bytes
/// that the line carries until an answer comes: 64 slots of 256 bytes are 1.4 seconds at 115200
/// baud.
#[derive(Debug)]
pub struct Sender<'w> {
    config: SenderConfig,
    window: Window<'w>,
    /// The session that a hello has begun.
    session: Option<Session>,
    /// Sequence number of the last counted frame.
    seq: u32,
    announce_at: u64,
    /// Time of the last received frame; at first the time at which the sender was made.
    received_at: u64,
    /// Time of the last acknowledgement, and number of times that the oldest frame was sent again
    /// since.
    acknowledged: u64,
    fruitless: u32,
    /// The end, and since when.
    end: Option<(Outcome, u64)>,
    parting_due: bool,
}

impl<'w> Sender<'w> {
    /// Creates a sender; its time begins at `now`. More than [`MAX_WINDOW`](super::MAX_WINDOW)
    /// slots are of no use.
    pub fn new(config: SenderConfig, slots: &'w mut [Slot], now: u64) -> Self {
        Self {
            config,
            window: Window::new(slots),
            session: None,
            seq: 0,
            announce_at: now,
            received_at: now,
            acknowledged: now,
            fruitless: 0,
            end: None,
            parting_due: false,
        }
    }

    /// The session number, for the [`FrameReader`](super::FrameReader).
    pub fn session(&self) -> u32 {
        self.session.as_ref().map_or(0, |session| session.number)
    }

    /// Returns the outcome, once the receiver has reported it: also before the sender has lingered,
    /// in case the link is cut then.
    pub fn outcome(&self) -> Option<Outcome> {
        self.end.map(|(outcome, _)| outcome)
    }

    /// Takes note of a cut link, if the caller knows of it: only announcements are sent until a
    /// receiver sends hello. If it does not know, the next hello does the same.
    pub fn disconnected(&mut self, now: u64) {
        if self.end.is_none() {
            self.session = None;
            self.window.clear();
            (self.received_at, self.announce_at) = (now, now);
        }
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
            self.received_at = now;
            return self.hello(hello, packet.seq, now);
        }
        let Some(session) = &mut self.session else { return };
        self.received_at = now;
        if packet.seq <= session.last {
            return;
        }
        session.last = packet.seq;
        match packet.frame {
            Frame::Ack { highest, before } => self.acknowledge(highest, before, now),
            Frame::Want(wants) => session.want(wants),
            Frame::Check(range) => session.check(range),
            Frame::Done(end) => self.done(end, now),
            _ => {}
        }
    }

    fn acknowledge(&mut self, highest: u32, before: u64, now: u64) {
        if highest <= self.seq && self.window.acknowledge(highest, before) {
            self.acknowledged = now;
            self.fruitless = 0;
        }
    }

    fn hello(&mut self, hello: &Hello, seq: u32, now: u64) {
        let known = self.session.as_mut().filter(|session| session.number == hello.session);
        if let Some(session) = known {
            session.welcome_due |= seq > session.last;
            session.last = session.last.max(seq);
            return;
        }
        self.window.clear();
        self.seq = 0;
        self.acknowledged = now;
        self.fruitless = 0;
        self.end = None;
        self.session = Some(Session::new(hello, self.means(hello), seq));
    }

    /// Returns the options for sending contents to the receiver that sends `hello`.
    fn means(&self, hello: &Hello) -> Means {
        let bulk = self.config.bulk && hello.bulk;
        let limit = usize::try_from(hello.max_frame).unwrap_or(MAX_FRAME);
        let limit = if bulk { SMALL_FRAME } else { limit };
        let lz4 = self.config.codec == Codec::Lz4 && hello.lz4;
        Means { max_frame: limit.min(self.config.max_frame), bulk, lz4 }
    }

    fn done(&mut self, end: End, now: u64) {
        self.parting_due = true;
        self.window.clear();
        match end {
            End::Complete => self.end = Some((Outcome::Complete, now)),
            End::GaveUp => self.end = Some((Outcome::GaveUp, now)),
            End::Left => {
                if let Some(session) = &mut self.session {
                    session.want(Wants::default());
                }
            }
        }
    }

    /// Returns the next step. A frame goes into `out`, which has room for the largest one.
    ///
    /// # Errors
    /// [`WireError::Room`] for a buffer that is too short, [`WireError::Name`] for a view with an
    /// invalid name: both are the caller's fault.
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
        let deadline = self.received_at.saturating_add(self.config.timeout);
        if now >= deadline {
            let outcome = if self.session.is_none() { Outcome::Nobody } else { Outcome::Silent };
            return Ok(SenderStep::Finished(outcome));
        }
        match &self.session {
            None => self.announce(source, now, out),
            Some(_) => self.serve(source, now, deadline, out),
        }
    }

    /// The last frame: to a receiver of another version it is the announcement, which has our
    /// version.
    fn part<S: Source>(&self, source: &S, out: &mut [u8]) -> Result<SenderStep, WireError> {
        match &self.session {
            Some(_) => self.send(Frame::Bye, 0, out),
            None => self.send(Frame::Announce(self.greeting(source)), 0, out),
        }
    }

    /// Returns the time to stay after the end. A receiver of another version sends nothing more.
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
            bulk: self.session.as_ref().map_or(self.config.bulk, |session| session.means.bulk),
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
            && !self.window.is_heavy()
            && let Some(step) = self.send_new(source, now, out)?
        {
            return Ok(step);
        }
        if let Some(step) = self.hash(source, out)? {
            return Ok(step);
        }
        Ok(SenderStep::Wait(self.expiry().map_or(deadline, |expiry| expiry.min(deadline))))
    }

    /// Returns the time at which the frame that is longest in flight is given up. As long as others
    /// are acknowledged, it only waits for its turn.
    fn expiry(&self) -> Option<u64> {
        let timeout = self.config.retransmit_after << self.fruitless.min(3);
        self.window.oldest().map(|at| at.max(self.acknowledged).saturating_add(timeout))
    }

    fn send_again<S: Source>(
        &mut self,
        item: Item,
        source: &mut S,
        now: u64,
        out: &mut [u8],
    ) -> Result<SenderStep, WireError> {
        let seq = self.seq.wrapping_add(1);
        let Some(session) = &self.session else { return Ok(SenderStep::Busy) };
        let step = piece::encode(item, source, (session.number, session.means), seq, out)?;
        self.seq = seq;
        self.window.sent_again(item, seq, now);
        Ok(step)
    }

    fn send_new<S: Source>(
        &mut self,
        source: &mut S,
        now: u64,
        out: &mut [u8],
    ) -> Result<Option<SenderStep>, WireError> {
        let Some(session) = &mut self.session else { return Ok(None) };
        let item = match session.next(source, now, out)? {
            Next::Item(item) => item,
            Next::Looking => return Ok(Some(SenderStep::Busy)),
            Next::Nothing => return Ok(None),
        };
        let seq = self.seq.wrapping_add(1);
        let step = match item {
            // Its bytes are in the buffer already.
            Item::Data(range) => piece::seal(range, session.number, seq, out)?,
            _ => piece::encode(item, source, (session.number, session.means), seq, out)?,
        };
        self.seq = seq;
        self.window.sent(item, seq, now);
        Ok(Some(step))
    }

    /// Hashes a little more of the range to check, with `out` as the buffer. The view's totals are
    /// acknowledged before that: the hash may be the last frame that the receiver waits for.
    fn hash<S: Source>(
        &mut self,
        source: &mut S,
        out: &mut [u8],
    ) -> Result<Option<SenderStep>, WireError> {
        let Some(session) = &mut self.session else { return Ok(None) };
        let counted = session.counted;
        let Some(check) = &mut session.check else { return Ok(None) };
        let range = check.range;
        if counted >> range.view() & 1 == 0 || self.window.holds(Item::Totals(range.view())) {
            return Ok(None);
        }
        check.step(source, out);
        let Some(sha256) = check.result() else { return Ok(Some(SenderStep::Busy)) };
        session.check = None;
        self.send(Frame::Checked(range, sha256), 0, out).map(Some)
    }
}
