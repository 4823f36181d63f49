//! The frames that a receiver sends, and their times.

use alloc::vec::Vec;

use super::seen::ACK_EVERY;
use super::{Phase, Plan, Receiver, ReceiverError, ReceiverStep, Seen, Verdict};
use crate::wire::{End, Frame, Hello, Packet, Range, Wants, WireError, codec};

/// Number of times that `done` is sent to a sender that does not answer.
const FAREWELLS: u8 = 5;
/// After so many retries without a welcome, another version is believed.
const BELIEVE: u64 = 4;
/// A line that loses nothing needs no repetition: so many retries pass until there is one.
const LOSSLESS: u64 = 10;

impl Receiver {
    /// Returns the next step. A frame goes into `out`, which has room for
    /// [`SMALL_FRAME`](crate::wire::SMALL_FRAME) bytes.
    ///
    /// # Errors
    /// [`ReceiverError::Version`], [`ReceiverError::NoView`], or [`ReceiverError::Wire`] when `out`
    /// is too short.
    pub fn poll(&mut self, now: u64, out: &mut [u8]) -> Result<ReceiverStep, ReceiverError> {
        if core::mem::take(&mut self.news) {
            self.quiet_since = now;
        }
        if self.ack_due(now) {
            self.seen.unsaid = 0;
            return self.ack(now, out);
        }
        match &self.phase {
            Phase::Over => return Ok(ReceiverStep::Finished(self.verdict())),
            Phase::Compare(range, sha256) => return Ok(ReceiverStep::Compare(*range, *sha256)),
            Phase::Greet if !self.has_list() => return self.greet(now, out),
            Phase::Greet => self.begin(now)?,
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

    /// Returns the verdict, once it was sent to the sender; only the answer may still come.
    pub fn reported(&self) -> Option<Verdict> {
        matches!(self.phase, Phase::Leave(_)).then(|| self.verdict())
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

    /// True if the sender pushes in this session: it does so for a receiver that wants the dump and
    /// has nothing.
    fn pushes(&self) -> bool {
        self.plan == Plan::Dump && self.held.as_ref().is_none_or(|held| held.views.is_empty())
    }

    fn has_list(&self) -> bool {
        let count = self.greeting.map(|greeting| usize::from(greeting.views));
        count.is_some_and(|count| self.views.len() >= count)
    }

    /// Goes on from the list to the views that are wanted.
    fn begin(&mut self, now: u64) -> Result<(), ReceiverError> {
        self.check_plan()?;
        let push = self.pushes();
        self.phase = if push { Phase::Push } else { Phase::Fill(Wants::default()) };
        self.asked = now;
        Ok(())
    }

    fn check_plan(&self) -> Result<(), ReceiverError> {
        let Some(wanted) = self.plan.view() else { return Ok(()) };
        if self.views.values().any(|view| view.name == wanted) {
            return Ok(());
        }
        let names: Vec<&str> = self.views.values().map(|view| &*view.name).collect();
        Err(ReceiverError::NoView { wanted: wanted.into(), there: names.join(", ") })
    }

    fn verdict(&self) -> Verdict {
        let same = self.views.values().all(|view| view.differs.is_empty());
        if same { Verdict::Complete } else { Verdict::Differs }
    }

    fn ack_due(&self, now: u64) -> bool {
        let Seen { unsaid, since, .. } = self.seen;
        let late = unsaid > 0 && now >= since.saturating_add(self.times.ack);
        let alive = now >= self.sent_at.saturating_add(self.times.alive);
        unsaid >= ACK_EVERY
            || late
            || (alive && self.greeting.is_some() && self.phase != Phase::Over)
    }

    fn ack(&mut self, now: u64, out: &mut [u8]) -> Result<ReceiverStep, ReceiverError> {
        let Seen { highest, before, .. } = self.seen;
        self.say(Frame::Ack { highest, before }, now, out)
    }

    fn greet(&mut self, now: u64, out: &mut [u8]) -> Result<ReceiverStep, ReceiverError> {
        if let Some((version, since)) = self.other_version
            && now >= since.saturating_add(self.times.retry * BELIEVE)
        {
            return Err(ReceiverError::Version(version));
        }
        if now < self.repeat_at {
            return Ok(self.wait());
        }
        self.repeat_at = now.saturating_add(self.times.retry);
        let (session, max_frame, bulk) = (self.session, self.max_frame, self.takes_bulk);
        let hello = Hello { session, max_frame, push: self.pushes(), bulk, lz4: true };
        self.say(Frame::Hello(hello), now, out)
    }

    /// Waits for missing parts, and requests them if nothing comes, or if all requested parts are
    /// there.
    fn fill(&mut self, now: u64, out: &mut [u8]) -> Result<ReceiverStep, ReceiverError> {
        let timeout = self.times.retry * if self.has_bulk() { LOSSLESS } else { 1 };
        let quiet_until = self.quiet_since.max(self.asked).saturating_add(timeout);
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
        self.asked = now;
        self.say(Frame::Want(wants), now, out)
    }

    fn next_check(&self) -> Option<Range> {
        if self.has_bulk() {
            return None;
        }
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
            self.sent_at.saturating_add(self.times.alive)
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
        self.sent_at = now;
        Ok(ReceiverStep::Send(self.encode(frame, out)?))
    }

    fn encode(&mut self, frame: Frame<'_>, out: &mut [u8]) -> Result<usize, WireError> {
        self.seq = self.seq.wrapping_add(1);
        codec::encode(&Packet { seq: self.seq, frame }, self.session, out)
    }
}
