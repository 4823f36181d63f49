//! A session with a collector: the frames of the sender go over the link, and those of the
//! collector to the sender.

use super::source::{Compressor, Views};
use crate::Clock;
use crate::driver::Error;
use crate::driver::Link;
use crate::driver::dma::{DmaPiece, Pieces, Pool};
use crate::gather::{Added, Copies, Gather};
use crate::targets::TargetError;
use crate::targets::pages::Pages;
use core::mem;
use dumpfile::wire::{Event, FrameReader, Outcome, Range, SMALL_FRAME, Sender, SenderStep};
use handoff::Stage;
use vmcore::ReadPhys;

/// Longest wait until the sender is polled again, in milliseconds, whatever it has asked for:
/// shorter than the limit of any watchdog.
const NAP: u64 = 1000;

/// A session.
pub(super) struct Session<'t, L, M> {
    link: &'t mut L,
    clock: &'t dyn Clock,
    sender: Sender<'t>,
    reader: FrameReader<[u8; SMALL_FRAME]>,
    views: Views<'t, M>,
    /// For bytes that are sent by DMA and have to be copied before.
    pool: Option<Pool>,
    /// The last stage that was reported.
    reported: Stage,
    /// Number of bytes sent, on all views and as often as they were sent.
    bytes: u64,
}

/// The end of a session.
pub(super) struct Ended {
    pub(super) outcome: Outcome,
    /// The pages of a whole bulk, if its level leaves some out.
    pub(super) pages: Option<Pages>,
}

impl<'t, L: Link, M: ReadPhys> Session<'t, L, M> {
    pub(super) fn new(
        link: &'t mut L,
        clock: &'t dyn Clock,
        sender: Sender<'t>,
        views: Views<'t, M>,
        pool: Option<Pool>,
    ) -> Self {
        let reader = FrameReader::new([0; SMALL_FRAME]);
        Self { link, clock, sender, reader, views, pool, reported: Stage::Views, bytes: 0 }
    }

    /// Runs until the end, with room for a frame in `out`.
    ///
    /// # Errors
    /// The link fails before the collector has acknowledged everything.
    pub(super) fn run(
        mut self,
        out: &mut [u8],
        reached: &mut dyn FnMut(Stage),
    ) -> Result<Ended, TargetError> {
        let outcome = self.run_to_end(out, reached)?;
        let is_whole = outcome == Outcome::Complete;
        let pages = is_whole.then(|| self.views.bulk_pages()).flatten();
        let pages = pages.map(|(level, pages)| Pages { level, pages, bytes: self.bytes });
        Ok(Ended { outcome, pages })
    }

    fn run_to_end(
        &mut self,
        out: &mut [u8],
        reached: &mut dyn FnMut(Stage),
    ) -> Result<Outcome, TargetError> {
        loop {
            // It ends: the sender waits for the collector, and the link for its device, for so long
            // only.
            self.clock.progress();
            match (self.turn(out, reached), self.sender.outcome()) {
                (Ok(None), _) => {}
                (Ok(Some(outcome)), _) => return Ok(outcome),
                (Err(_), Some(Outcome::Complete)) => return Ok(Outcome::Complete),
                (Err(failure), _) => return Err(failure),
            }
        }
    }

    /// Receives, then does the sender's next step; returns the outcome at the end.
    fn turn(
        &mut self,
        out: &mut [u8],
        reached: &mut dyn FnMut(Stage),
    ) -> Result<Option<Outcome>, TargetError> {
        self.receive()?;
        let now = self.clock.milliseconds();
        match self.sender.poll(&mut self.views, now, out).map_err(TargetError::Frame)? {
            SenderStep::Send(length) => {
                self.bytes += length as u64;
                self.link.send(&out[..length])?;
            }
            SenderStep::Bulk { head, range } => self.send_bulk(&out[..head], range)?,
            SenderStep::Chunk { head, .. } => self.send_chunk(&out[..head])?,
            SenderStep::Busy => return Ok(None),
            SenderStep::Wait(until) => return self.wait(until).map(|()| None),
            SenderStep::Finished(outcome) => {
                self.link.drain()?;
                return Ok(Some(outcome));
            }
        }
        self.report(reached).map(|()| None)
    }

    /// Hands the sender what has come; returns false if that was nothing.
    fn receive(&mut self) -> Result<bool, TargetError> {
        let mut bytes = [0; SMALL_FRAME];
        let count = self.link.receive(&mut bytes)?;
        let mut input = &bytes[..count];
        let now = self.clock.milliseconds();
        while let Some(event) = self.reader.next(&mut input, self.sender.session()) {
            match event {
                Event::Frame(packet) => self.sender.receive(&packet, now),
                Event::OtherVersion(version) => self.sender.other_version(version, now),
                Event::Text(_) | Event::Piece(_) | Event::Stored(_) | Event::Nonsense(_) => {}
            }
        }
        Ok(count > 0)
    }

    /// Waits until something has come, or for the time in milliseconds; no longer than [`NAP`].
    fn wait(&mut self, until: u64) -> Result<(), TargetError> {
        let until = until.min(self.clock.milliseconds().saturating_add(NAP));
        while self.clock.milliseconds() < until && !self.receive()? {
            core::hint::spin_loop();
        }
        Ok(())
    }

    /// Sends `head`, and the bytes of `range` from their place.
    fn send_bulk(&mut self, mut head: &[u8], range: Range) -> Result<(), TargetError> {
        let limits = self.link.bulk().ok_or(TargetError::NothingToSend)?;
        let pool = self.pool.as_ref().ok_or(TargetError::NothingToSend)?;
        let mut gather = Gather::new(Copies { pool, memory: self.views.memory }, limits, 1);
        let mut at = range.offset();
        self.bytes += head.len() as u64 + range.length();
        while at < range.end() {
            let part = self.views.part(range.view(), at, range.end() - at)?;
            match gather.add(part)? {
                Added::Taken(count) => at += count,
                Added::NoBuffer if gather.bytes() == 0 => {
                    if !self.link.wait_for_one()? {
                        return Err(TargetError::Device(Error::NoMemory));
                    }
                }
                Added::Full | Added::NoBuffer => {
                    self.link.send_bulk(mem::take(&mut head), gather.take()?.0)?;
                }
            }
        }
        Ok(self.link.send_bulk(head, gather.take()?.0)?)
    }

    /// Sends `head`, and the stored bytes of the chunk that was encoded last.
    fn send_chunk(&mut self, head: &[u8]) -> Result<(), TargetError> {
        let Self { link, pool, views, .. } = self;
        let limits = link.bulk().ok_or(TargetError::NothingToSend)?;
        let pool = pool.as_ref().ok_or(TargetError::NothingToSend)?;
        let stored = views.lz4.as_ref().map(Compressor::stored).unwrap_or_default();
        self.bytes += (head.len() + stored.len()) as u64;
        let most = usize::try_from(limits.bytes.min(limits.piece)).unwrap_or(usize::MAX);
        // A request for each buffer: the next one is filled while the device reads this one.
        let parts = stored.chunks(pool.size().min(most).max(1));
        parts.enumerate().try_for_each(|(index, part)| {
            let mut lease = pool.lease_or_wait(|| link.wait_for_one())?;
            lease[..part.len()].copy_from_slice(part);
            let mut pieces = Pieces::new();
            pieces.push(DmaPiece::Frozen(lease.freeze(part.len()), 0..part.len()));
            Ok(link.send_bulk(if index == 0 { head } else { &[] }, pieces)?)
        })
    }

    /// Reports the stages that were reached.
    fn report(&mut self, reached: &mut dyn FnMut(Stage)) -> Result<(), TargetError> {
        if self.reported == Stage::Views && self.views.touched {
            self.link.drain()?;
            self.reported = Stage::FirstByte;
            reached(Stage::FirstByte);
        }
        if self.reported != Stage::LastByte && self.sender.outcome() == Some(Outcome::Complete) {
            self.reported = Stage::LastByte;
            reached(Stage::LastByte);
        }
        Ok(())
    }
}
