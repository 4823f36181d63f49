//! A receiver and its line: the loop that moves bytes between them, and the reaction to a line that
//! is cut or silent.

use std::time::{Duration, Instant};

use dumpfile::wire::{
    Event, FrameReader, Held, MAX_BULK, MAX_FRAME, Plan, Receiver, ReceiverStep, ReceiverTimes,
    SMALL_FRAME, Verdict, Write,
};

use crate::link::{Arrived, Connector, Link};
use crate::store::Store;
use crate::{Error, LinkOptions, Source};

/// Limits of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For the other end to come, to come back, or to say something.
    pub wait: Duration,
    /// For everything, if there is a limit.
    pub timeout: Option<Duration>,
}

/// Receives the course of a transfer.
pub trait Observer {
    /// Console text from between the frames; any bytes.
    fn text(&mut self, text: &[u8]);

    /// Bytes that are there, and bytes that are wanted.
    fn progress(&mut self, done: u64, all: u64);

    /// Bytes that are hashed, and bytes that will be, once everything is there.
    fn hashing(&mut self, done: u64, all: u64);
}

/// Longest time between two saves of the map of received ranges. The map is also saved after a
/// number of frames or bulks of full size (16 KiB on a serial line, 64 MiB with bulks). A killed
/// collector loses no more than that. Replacing a file takes half a millisecond on ext4.
const SAVE_EVERY: Duration = Duration::from_secs(1);
const SAVE_EVERY_FRAMES: u64 = 64;
/// A map of many ranges is long. It is saved again only after this many times its length was
/// received, or after [`SAVE_EVERY`].
const SAVE_EVERY_MAPS: u64 = 16;
/// Interval between two progress reports.
const REPORT_EVERY: Duration = Duration::from_millis(100);
/// After so much silence the session is begun anew: the other end may have forgotten it.
const ANEW: Duration = Duration::from_secs(5);

/// Bounds of one wait for bytes: the receiver's clock has milliseconds, and people watch.
const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_millis(100);
/// Most bytes that are read at once.
const BUFFER: usize = 1 << 20;

/// The step after the receiver has sent everything.
enum Next {
    Pause(Duration),
    Over(Verdict),
}

/// The last saved map.
struct Saved {
    at: Instant,
    /// Its length in bytes.
    map: u64,
    /// Bytes received on the link since then.
    since: u64,
    /// Number of complete views at the last count.
    whole: usize,
}

/// One transfer, over as many links as it takes.
pub(crate) struct Session<'a> {
    source: &'a Source,
    connector: Connector,
    timeouts: Timeouts,
    started: Instant,
    /// Time at which something of the dump last came.
    received_at: Instant,
    /// Start of the session.
    begun: Instant,
    saved: Saved,
    reported_at: Instant,
    reader: FrameReader<Vec<u8>>,
}

impl<'a> Session<'a> {
    pub(crate) fn new(
        source: &'a Source,
        options: LinkOptions,
        timeouts: Timeouts,
    ) -> Result<Self, Error> {
        let connector =
            Connector::new(source, options).map_err(|error| unreachable(source, error))?;
        let now = Instant::now();
        let reader = FrameReader::new(vec![0; MAX_FRAME]);
        Ok(Self {
            source,
            connector,
            timeouts,
            started: now,
            received_at: now,
            begun: now,
            saved: Saved { at: now, map: 0, since: 0, whole: 0 },
            reported_at: now,
            reader,
        })
    }

    /// Creates a receiver for the frames that can come over `source`.
    pub(crate) fn receiver(source: &Source, plan: Plan, held: Option<Held>) -> Receiver {
        let receiver = Receiver::new(plan, ReceiverTimes::default(), MAX_FRAME as u32, held);
        if source.is_lossless() { receiver.taking_bulk() } else { receiver }
    }

    /// Frames that had to be thrown away so far.
    pub(crate) fn damaged(&self) -> u64 {
        self.reader.damage().frames
    }

    /// Until the receiver is through.
    ///
    /// # Errors
    /// The error that stops it; the data received until then is in the store.
    pub(crate) fn run(
        &mut self,
        receiver: &mut Receiver,
        store: &mut dyn Store,
        observer: &mut dyn Observer,
    ) -> Result<Verdict, Error> {
        self.received_at = Instant::now();
        loop {
            let link = self.link();
            let link = link.map_err(|error| explained(self.cut(error), receiver))?;
            self.begin(receiver)?;
            let ended = self.exchange(&link, receiver, store, observer);
            let ended = ended.map_err(|error| explained(error, receiver));
            if let Err(error) = &ended {
                self.farewell(&link, receiver, error);
            }
            if let Some(verdict) = ended? {
                return Ok(verdict);
            }
            self.save(receiver, store)?;
            log::info!("{}: the other end has gone", self.source);
        }
    }

    /// The next link. Reports it if it has to wait.
    fn link(&self) -> std::io::Result<Link> {
        if let Some(link) = self.connector.open_now()? {
            return Ok(link);
        }
        log::info!("{}: the other end is not there; waiting", self.source);
        let link = self.connector.open(self.deadline())?;
        log::info!("{}: connected", self.source);
        Ok(link)
    }

    /// Begins a session.
    fn begin(&mut self, receiver: &mut Receiver) -> Result<(), Error> {
        self.reader.restart();
        self.begun = Instant::now();
        receiver.connect(session_number()?, self.now());
        Ok(())
    }

    /// Over one link: the verdict, or nothing when it was cut.
    fn exchange(
        &mut self,
        link: &Link,
        receiver: &mut Receiver,
        store: &mut dyn Store,
        observer: &mut dyn Observer,
    ) -> Result<Option<Verdict>, Error> {
        let mut bytes = vec![0; BUFFER];
        loop {
            let pause = match self.poll(link, receiver, store, &mut bytes)? {
                Next::Pause(pause) => pause,
                Next::Over(verdict) => {
                    self.report(receiver, observer, true);
                    return Ok(Some(verdict));
                }
            };
            match link.read(&mut bytes, pause) {
                Arrived::Bytes(count) => {
                    self.receive(&bytes[..count], receiver, store, observer)?
                }
                Arrived::Nothing => {}
                // The other end may go once it knows that all is there.
                Arrived::End => return Ok(receiver.reported()),
            }
            self.check_time()?;
            if self.received_at.max(self.begun).elapsed() > ANEW {
                self.begin(receiver)?;
            }
            self.save_if_due(receiver, store)?;
            self.report(receiver, observer, false);
        }
    }

    /// Sends what the receiver has to send.
    fn poll(
        &mut self,
        link: &Link,
        receiver: &mut Receiver,
        store: &mut dyn Store,
        out: &mut [u8],
    ) -> Result<Next, Error> {
        loop {
            match receiver.poll(self.now(), out)? {
                ReceiverStep::Send(length) => link.write(&out[..length]),
                ReceiverStep::Compare(range, sha256) => {
                    let same = store.hash(range)? == sha256;
                    if receiver.compared(range, same) {
                        // Save the map first: it must not name zeroed bytes.
                        self.save(receiver, store)?;
                        store.clear(range)?;
                    }
                }
                ReceiverStep::Wait(until) => {
                    let pause = Duration::from_millis(until.saturating_sub(self.now()));
                    return Ok(Next::Pause(pause.clamp(SHORTEST, LONGEST)));
                }
                ReceiverStep::Finished(verdict) => return Ok(Next::Over(verdict)),
            }
        }
    }

    fn receive(
        &mut self,
        mut input: &[u8],
        receiver: &mut Receiver,
        store: &mut dyn Store,
        observer: &mut dyn Observer,
    ) -> Result<(), Error> {
        let now = self.now();
        loop {
            self.reader.limit(receiver.frame_limit());
            let left = input.len();
            let Some(event) = self.reader.next(&mut input, receiver.session()) else { break };
            self.saved.since += (left - input.len()) as u64;
            let write = match event {
                Event::Text(text) => {
                    observer.text(text);
                    continue;
                }
                Event::OtherVersion(version) => {
                    receiver.other_version(version, now);
                    continue;
                }
                Event::Nonsense(error) => return Err(error.into()),
                Event::Frame(packet) => receiver.receive(&packet, now)?,
                Event::Piece(piece) => receiver.receive_piece(&piece)?,
                Event::Stored(stored) => {
                    receiver.receive_stored(&stored);
                    None
                }
            };
            store.prepare(receiver)?;
            if let Some(write) = write {
                written(store.write(&write), &write, receiver)?;
            }
            // Not before: time that the disk takes is not silence of the other end.
            self.received_at = Instant::now();
            self.save_if_due(receiver, store)?;
        }
        Ok(())
    }

    /// Reports the end to the other end, so that it need not wait.
    fn farewell(&self, link: &Link, receiver: &mut Receiver, error: &Error) {
        let silent = matches!(error, Error::Silent { .. });
        let mut out = [0; SMALL_FRAME];
        if let Ok(length) = receiver.give_up(&mut out)
            && !silent
        {
            link.write(&out[..length]);
        }
    }

    /// Saves the map when a view is complete, or after [`SAVE_EVERY_FRAMES`] or [`SAVE_EVERY`]. All
    /// received bytes are in the store by then.
    fn save_if_due(&mut self, receiver: &Receiver, store: &mut dyn Store) -> Result<(), Error> {
        let Some(greeting) = receiver.greeting() else { return Ok(()) };
        let frame = if receiver.has_bulk() { MAX_BULK } else { greeting.max_frame };
        let most = SAVE_EVERY_FRAMES * u64::from(frame);
        let most = most.max(SAVE_EVERY_MAPS * self.saved.map);
        let views = receiver.views().filter(|(_, view)| view.wanted.is_some());
        let whole = views.filter(|(_, view)| view.missing().next().is_none()).count();
        let more = whole > std::mem::replace(&mut self.saved.whole, whole);
        if more || self.saved.since >= most || self.saved.at.elapsed() > SAVE_EVERY {
            self.save(receiver, store)?;
        }
        Ok(())
    }

    /// Saves the map, if it is not empty.
    fn save(&mut self, receiver: &Receiver, store: &mut dyn Store) -> Result<(), Error> {
        let held = receiver.held();
        if !held.views.is_empty() {
            self.saved.map = store.save(&held)?;
            (self.saved.at, self.saved.since) = (Instant::now(), 0);
        }
        Ok(())
    }

    fn report(&mut self, receiver: &Receiver, observer: &mut dyn Observer, now: bool) {
        if now || self.reported_at.elapsed() > REPORT_EVERY {
            self.reported_at = Instant::now();
            let progress = receiver.views().map(|(_, view)| view.progress());
            let (all, done) = progress.fold((0, 0), |sum: (u64, u64), view| {
                (sum.0.saturating_add(view.0), sum.1.saturating_add(view.1))
            });
            observer.progress(done, all);
        }
    }

    /// Milliseconds since the beginning.
    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Returns the deadline of the wait for the other end.
    fn deadline(&self) -> Instant {
        let wait = self.received_at + self.timeouts.wait;
        self.timeouts.timeout.map_or(wait, |timeout| wait.min(self.started + timeout))
    }

    fn check_time(&self) -> Result<(), Error> {
        if Instant::now() < self.deadline() { Ok(()) } else { Err(self.late()) }
    }

    fn late(&self) -> Error {
        match self.timeouts.timeout {
            Some(timeout) if self.started.elapsed() >= timeout => {
                Error::TimeOver(timeout.as_secs())
            }
            _ => {
                let seconds = self.received_at.elapsed().as_secs();
                Error::Silent { link: self.source.to_string(), seconds }
            }
        }
    }

    /// Returns the reason that there is no link.
    fn cut(&self, error: std::io::Error) -> Error {
        unreachable(self.source, error)
    }
}

/// Marks bytes as missing if they could not be written.
fn written(
    result: Result<(), Error>,
    write: &Write<'_>,
    receiver: &mut Receiver,
) -> Result<(), Error> {
    if result.is_err() {
        receiver.not_written(write);
    }
    result
}

/// A sender of another version has no more to say than its greeting.
fn explained(error: Error, receiver: &Receiver) -> Error {
    let silence = matches!(error, Error::Silent { .. } | Error::TimeOver(_) | Error::Link { .. });
    receiver.suspicion().filter(|_| silence).map_or(error, Error::Receiver)
}

fn unreachable(source: &Source, error: std::io::Error) -> Error {
    Error::Link { link: source.to_string(), source: error }
}

/// A number for a session.
fn session_number() -> Result<u32, Error> {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes).map_err(Error::Random)?;
    Ok(u32::from_le_bytes(bytes) | 1)
}
