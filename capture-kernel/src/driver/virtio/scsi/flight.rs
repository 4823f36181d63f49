//! Commands in flight: sent, repeated where a disk wants it, and taken back.

use super::super::device;
use super::super::requests::{Body, Done, Requests, Shape};
use super::exchange::{ANSWER, Address, Answer, Head};
use crate::driver::Error;
use crate::driver::dma::{DmaBuffer, MAX_PIECES, Pieces, SlotMemory};
use crate::driver::scsi::{Command, Failure, Next};
use crate::{Clock, Deadline, list};
use alloc::vec::Vec;
use core::mem::ManuallyDrop;
use virtio_drivers::transport::Transport;
use zerocopy::IntoBytes;

/// The first request queue: control and events have those before it.
const REQUESTS: u16 = 2;
/// Commands in flight: enough to keep a disk busy, few enough to wait for in a short time.
const IN_FLIGHT: u16 = 16;
/// The most bytes of one read.
pub(super) const READ: usize = 8192;
/// Times that a command is repeated after unit attentions and aborts.
const REPEATS: u8 = 8;
/// Milliseconds before a busy disk gets a command again.
const PAUSE: u64 = 10;

/// A command is late.
const UNFINISHED: Error = Error::Timeout("complete a request");

/// The command in a slot.
#[derive(Clone, Copy)]
struct Sent {
    to: Address,
    command: Command,
    deadline: Deadline,
    repeats: u8,
    /// Bytes that were not moved.
    residual: u32,
    /// The offset on the disk from which data is lost if it fails.
    writes_at: u64,
    /// It belongs to a disk that was given up.
    is_given_up: bool,
}

/// A controller's request queue.
pub(super) struct Flight<'c, T: Transport> {
    transport: ManuallyDrop<T>,
    slot: SlotMemory,
    pub(super) clock: &'c dyn Clock,
    /// Milliseconds that any one command may take.
    pub(super) timeout: u64,
    requests: Requests,
    /// For each slot, the last command in it.
    sent: Vec<Option<Sent>>,
    /// The buffer that the device fills when it is read; not here while it does.
    inbox: Option<DmaBuffer>,
    /// The disk that commands go to.
    pub(super) to: Address,
    /// The lowest offset of a write that has failed; zero when a flush has.
    failed_at: u64,
}

impl<'c, T: Transport> Flight<'c, T> {
    /// Sets the queue up and lets the device go, with `commands` in flight at most.
    ///
    /// # Errors
    /// As [`Requests::set_up`].
    pub(super) fn set_up(
        mut transport: ManuallyDrop<T>,
        slot: SlotMemory,
        clock: &'c dyn Clock,
        timeout: u64,
        commands: u32,
    ) -> Result<Self, Error> {
        let most = commands.clamp(1, IN_FLIGHT.into()) as u16;
        let head = size_of::<Head>();
        let shape = Shape { most, head, pieces: MAX_PIECES, reply: ANSWER, reply_first: true };
        let requests = Requests::set_up(&mut *transport, REQUESTS, slot, shape)?;
        let sent = list::filled(requests.slots(), None)?;
        let inbox = Some(DmaBuffer::new(slot, READ)?);
        device::go(&mut *transport);
        let (to, failed_at) = (Address::default(), u64::MAX);
        Ok(Self { transport, slot, clock, timeout, requests, sent, inbox, to, failed_at })
    }

    /// The most pieces of one command.
    pub(super) fn most_pieces(&self) -> usize {
        self.requests.most_pieces()
    }

    /// From now on commands go to this disk, of which no write has failed.
    pub(super) fn select(&mut self, to: Address) {
        (self.to, self.failed_at) = (to, u64::MAX);
    }

    /// Sends a command, and returns its slot without waiting for it, unless there is no room. The
    /// bytes that it writes begin at `writes_at` on the disk.
    ///
    /// # Errors
    /// This or an earlier command failed.
    pub(super) fn send(
        &mut self,
        command: Command,
        writes_at: u64,
        body: Body,
        deadline: Option<Deadline>,
    ) -> Result<u16, Error> {
        self.collect()?;
        let slot = loop {
            if let Some(slot) = self.requests.free(&body) {
                break slot;
            }
            if !self.wait_for_one()? {
                return Err(Error::Fragmented);
            }
        };
        let deadline = deadline.unwrap_or_else(|| Deadline::after(self.clock, self.timeout));
        let sent = Sent {
            to: self.to,
            command,
            deadline,
            repeats: 0,
            residual: 0,
            writes_at,
            is_given_up: false,
        };
        self.offer(slot, sent, body);
        Ok(slot)
    }

    fn offer(&mut self, slot: u16, sent: Sent, body: Body) {
        self.sent[usize::from(slot)] = Some(sent);
        let head = Head::new(sent.to, slot, sent.command);
        self.requests.offer(slot, head.as_bytes(), body, sent.deadline);
        self.transport.notify(REQUESTS);
    }

    /// Sends a command that moves no data, or some to `into` (at most [`READ`] bytes), and waits
    /// for it. Returns the number of bytes that have come. Nothing else may be in flight.
    ///
    /// # Errors
    /// The command failed, or is late.
    pub(super) fn ask(
        &mut self,
        command: Command,
        into: &mut [u8],
        deadline: Option<Deadline>,
    ) -> Result<usize, Error> {
        let body = match into.len() {
            0 => Body::Out(Pieces::new()),
            length => {
                let mut inbox = self.inbox.take().ok_or(UNFINISHED)?;
                // Bytes of an earlier answer are none of this one.
                (0..length).step_by(4).for_each(|at| inbox.write(at, 0_u32));
                Body::In(inbox, length)
            }
        };
        let slot = self.send(command, u64::MAX, body, deadline)?;
        while self.requests.has(slot) {
            self.collect_or_late()?;
        }
        let residual = self.sent[usize::from(slot)].map_or(0, |sent| sent.residual) as usize;
        if let (Some(inbox), false) = (&self.inbox, into.is_empty()) {
            inbox.copy_to(0, into);
        }
        Ok(into.len().saturating_sub(residual))
    }

    /// Takes back finished commands; true if there were any.
    fn collect(&mut self) -> Result<bool, Error> {
        let mut any = false;
        while let Some(done) = self.requests.take_back()? {
            any |= self.finish(done)?;
        }
        Ok(any)
    }

    /// The same, with an error where one is late.
    fn collect_or_late(&mut self) -> Result<bool, Error> {
        let any = self.collect()?;
        let is_late = |sent: &Sent| !sent.is_given_up && sent.deadline.is_over(self.clock);
        let mut slots = (0..).zip(&self.sent);
        if !any
            && slots
                .any(|(slot, sent)| self.requests.has(slot) && sent.as_ref().is_some_and(is_late))
        {
            return Err(UNFINISHED);
        }
        core::hint::spin_loop();
        Ok(any)
    }

    /// Looks at the answer in a slot; true if the command is over.
    fn finish(&mut self, done: Done) -> Result<bool, Error> {
        let slot = done.slot;
        let Some(mut sent) = self.sent[usize::from(slot)] else { return Ok(false) };
        if sent.is_given_up {
            self.inbox = self.inbox.take().or(done.into_buffer());
            return Ok(false);
        }
        let verdict = verdict(&mut sent, Answer::read(&self.requests, slot));
        let failure = match verdict {
            Verdict::Done => {
                self.inbox = self.inbox.take().or(done.into_buffer());
                self.sent[usize::from(slot)] = Some(Sent { writes_at: u64::MAX, ..sent });
                return Ok(true);
            }
            Verdict::Again(_) if !sent.deadline.is_over(self.clock) => {
                self.offer(slot, sent, done.body);
                return Ok(false);
            }
            Verdict::Later(_) if !sent.deadline.is_over(self.clock) => {
                Deadline::after(self.clock, PAUSE).wait(self.clock, || false);
                self.offer(slot, sent, done.body);
                return Ok(false);
            }
            Verdict::Again(failure) | Verdict::Later(failure) | Verdict::Failed(failure) => failure,
        };
        self.inbox = self.inbox.take().or(done.into_buffer());
        // A deferred error does not tell which of the earlier writes is lost.
        let is_deferred = matches!(failure, Failure::Sense(sense) if sense.is_deferred);
        self.has_failed_at(if is_deferred { 0 } else { sent.writes_at });
        self.sent[usize::from(slot)] = Some(Sent { writes_at: u64::MAX, ..sent });
        Err(Error::Scsi(failure))
    }

    /// A write from this offset on is lost.
    pub(super) fn has_failed_at(&mut self, at: u64) {
        self.failed_at = self.failed_at.min(at);
    }

    /// Waits for one command; false if none is in flight.
    ///
    /// # Errors
    /// One failed, or is late.
    pub(super) fn wait_for_one(&mut self) -> Result<bool, Error> {
        while self.awaited() > 0 {
            if self.collect_or_late()? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Number of commands that are waited for.
    fn awaited(&self) -> usize {
        let given_up = (0..).zip(&self.sent).filter(|(slot, sent)| {
            self.requests.has(*slot) && sent.is_some_and(|sent| sent.is_given_up)
        });
        self.requests.in_flight() - given_up.count()
    }

    /// Every write that was sent below this offset has succeeded.
    pub(super) fn written_below(&self) -> u64 {
        let writes = self.sent.iter().flatten().filter(|sent| !sent.is_given_up);
        writes.map(|sent| sent.writes_at).fold(self.failed_at, u64::min)
    }

    /// Waits no more for the commands that are in flight now: their disk does not answer, and
    /// others may. Their memory stays theirs.
    pub(super) fn give_up(&mut self) {
        for (slot, sent) in (0..).zip(&mut self.sent) {
            if let Some(sent) = sent.as_mut().filter(|_| self.requests.has(slot)) {
                sent.is_given_up = true;
            }
        }
        if self.inbox.is_none() {
            self.inbox = DmaBuffer::new(self.slot, READ).ok();
        }
    }

    /// Stops the device: it does no DMA any more.
    ///
    /// # Errors
    /// It does not stop, or has not answered a command.
    pub(super) fn stop(&mut self) -> Result<(), Error> {
        if !self.requests.is_idle() {
            // QEMU holds the machine in a reset until the disk has answered every request.
            return Err(UNFINISHED);
        }
        let stopped = device::reset(&mut *self.transport, self.clock)?;
        self.requests.release(&stopped);
        if let Some(inbox) = &mut self.inbox {
            inbox.release(&stopped);
        }
        Ok(())
    }
}

/// The next step with a command.
enum Verdict {
    Done,
    /// The same at once, else it has failed.
    Again(Failure),
    /// The same after a pause, else it has failed.
    Later(Failure),
    Failed(Failure),
}

/// Decides by the answer, and counts repeats. A write or a read must have moved all bytes.
fn verdict(sent: &mut Sent, answer: Answer) -> Verdict {
    let moves_all = matches!(sent.command, Command::Read(..) | Command::Write(..));
    let mut done = |residual| {
        sent.residual = residual;
        match residual {
            1.. if moves_all => Verdict::Failed(Failure::Short),
            _ => Verdict::Done,
        }
    };
    let again = |failure, repeats: &mut u8| {
        *repeats += 1;
        if *repeats > REPEATS { Verdict::Failed(failure) } else { Verdict::Again(failure) }
    };
    match answer {
        Answer::Done(residual) => done(residual),
        Answer::Sense(sense, residual) => {
            let failure = Failure::Sense(sense);
            match sense.next() {
                Next::Done => done(residual),
                Next::Again => again(failure, &mut sent.repeats),
                Next::Later => Verdict::Later(failure),
                Next::Start | Next::Failed => Verdict::Failed(failure),
            }
        }
        Answer::Busy(failure) => Verdict::Later(failure),
        Answer::Dropped(failure) => again(failure, &mut sent.repeats),
        Answer::Failed(failure) => Verdict::Failed(failure),
    }
}
