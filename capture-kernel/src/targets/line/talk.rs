//! One talk with a collector: what the sender says goes over the line, and the other way round.

use super::source::{Compressor, Views};
use crate::driver::Link;
use crate::driver::dma::{DmaPiece, Pieces, Pool};
use crate::gather::{Added, Copies, Gather};
use crate::{Clock, Failure};
use core::mem;
use dumpfile::wire::{Event, FrameReader, Outcome, Range, SMALL_FRAME, Sender, SenderStep};
use handoff::Stage;
use vmcore::ReadPhys;

/// Longest wait until the sender is asked again, in milliseconds, whatever it has said:
/// shorter than any watchdog's patience.
const NAP: u64 = 1000;

/// A talk.
pub(super) struct Talk<'t, L, M> {
    line: &'t mut L,
    clock: &'t dyn Clock,
    sender: Sender<'t>,
    reader: FrameReader<[u8; SMALL_FRAME]>,
    views: Views<'t, M>,
    /// For what is sent by DMA and has to be copied before.
    pool: Option<Pool>,
    /// The last stage that was told of.
    told: Stage,
}

impl<'t, L: Link, M: ReadPhys> Talk<'t, L, M> {
    pub(super) fn new(
        line: &'t mut L,
        clock: &'t dyn Clock,
        sender: Sender<'t>,
        views: Views<'t, M>,
        pool: Option<Pool>,
    ) -> Self {
        let reader = FrameReader::new([0; SMALL_FRAME]);
        Self { line, clock, sender, reader, views, pool, told: Stage::Views }
    }

    /// Talks until the end, with room for a frame in `out`.
    ///
    /// # Errors
    /// When the line fails, unless the collector has said before that it has everything.
    pub(super) fn run(
        mut self,
        out: &mut [u8],
        reached: &mut dyn FnMut(Stage),
    ) -> Result<Outcome, Failure> {
        loop {
            // It ends: the sender waits for the collector, and the line for its device, for so long
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

    /// Listens, then does the sender's next step; how it ended, when it did.
    fn turn(
        &mut self,
        out: &mut [u8],
        reached: &mut dyn FnMut(Stage),
    ) -> Result<Option<Outcome>, Failure> {
        self.listen()?;
        let now = self.clock.milliseconds();
        match self.sender.poll(&mut self.views, now, out).map_err(Failure::Frame)? {
            SenderStep::Send(length) => self.line.send(&out[..length])?,
            SenderStep::Bulk { head, range } => self.send_bulk(&out[..head], range)?,
            SenderStep::Chunk { head, .. } => self.send_chunk(&out[..head])?,
            SenderStep::Busy => return Ok(None),
            SenderStep::Wait(until) => return self.wait(until).map(|()| None),
            SenderStep::Finished(outcome) => return self.line.drain().map(|()| Some(outcome)),
        }
        self.tell(reached).map(|()| None)
    }

    /// Hands the sender what has come; says whether that was anything.
    fn listen(&mut self) -> Result<bool, Failure> {
        let mut bytes = [0; SMALL_FRAME];
        let count = self.line.receive(&mut bytes)?;
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
    fn wait(&mut self, until: u64) -> Result<(), Failure> {
        let until = until.min(self.clock.milliseconds().saturating_add(NAP));
        while self.clock.milliseconds() < until && !self.listen()? {
            core::hint::spin_loop();
        }
        Ok(())
    }

    /// Sends `head`, and the bytes of `range` from where they lie.
    fn send_bulk(&mut self, mut head: &[u8], range: Range) -> Result<(), Failure> {
        let limits = self.line.bulk().ok_or(Failure::NothingToSend)?;
        let pool = self.pool.as_ref().ok_or(Failure::NothingToSend)?;
        let mut gather = Gather::new(Copies { pool, memory: self.views.memory }, limits, 1);
        let mut at = range.offset();
        while at < range.end() {
            let part = self.views.part(range.view(), at, range.end() - at)?;
            match gather.add(part)? {
                Added::Taken(count) => at += count,
                Added::NoBuffer if gather.bytes() == 0 => {
                    if !self.line.wait_for_one()? {
                        return Err(Failure::NoMemory);
                    }
                }
                Added::Full | Added::NoBuffer => {
                    self.line.send_bulk(mem::take(&mut head), gather.take()?.0)?;
                }
            }
        }
        self.line.send_bulk(head, gather.take()?.0)
    }

    /// Sends `head`, and the stored bytes of the chunk that was encoded last.
    fn send_chunk(&mut self, head: &[u8]) -> Result<(), Failure> {
        let Self { line, pool, views, .. } = self;
        let limits = line.bulk().ok_or(Failure::NothingToSend)?;
        let pool = pool.as_ref().ok_or(Failure::NothingToSend)?;
        let stored = views.lz4.as_ref().map(Compressor::stored).unwrap_or_default();
        let most = usize::try_from(limits.bytes.min(limits.piece)).unwrap_or(usize::MAX);
        // A request for each buffer: the next one is filled while the device reads this one.
        let parts = stored.chunks(pool.size().min(most).max(1));
        parts.enumerate().try_for_each(|(index, part)| {
            let mut lease = pool.lease_or_wait(|| line.wait_for_one())?;
            lease[..part.len()].copy_from_slice(part);
            let mut pieces = Pieces::new();
            pieces.push(DmaPiece::Frozen(lease.freeze(part.len()), 0..part.len()));
            line.send_bulk(if index == 0 { head } else { &[] }, pieces)
        })
    }

    /// Tells of the stages that were reached.
    fn tell(&mut self, reached: &mut dyn FnMut(Stage)) -> Result<(), Failure> {
        if self.told == Stage::Views && self.views.touched {
            self.line.drain()?;
            self.told = Stage::FirstByte;
            reached(Stage::FirstByte);
        }
        if self.told != Stage::LastByte && self.sender.outcome() == Some(Outcome::Complete) {
            self.told = Stage::LastByte;
            reached(Stage::LastByte);
        }
        Ok(())
    }
}
