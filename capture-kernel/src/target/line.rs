//! A line of bytes to a collector: a 16550, or a port of a virtio console.

mod source;
mod talk;

use super::{BUFFER, BUFFERS, Target};
use crate::dma::{Limits, Pieces, Pool, SlotMemory};
use crate::dump::Dump;
use crate::{Clock, Failure};
use alloc::vec::Vec;
use core::fmt::Arguments;
use dumpfile::chunk::Codec;
use dumpfile::wire::{MAX_WINDOW, Outcome, Sender, SenderConfig, Slot};
use handoff::Stage;
use source::{Compressor, Views};
use talk::Talk;
use vmcore::ReadPhys;

/// A line of bytes, both ways.
pub trait Line {
    /// Takes what has come, up to `into.len()` bytes, and says how many that were; zero when there
    /// is nothing. Never waits.
    ///
    /// # Errors
    /// When the device is at fault, not when the other end is away.
    fn receive(&mut self, into: &mut [u8]) -> Result<usize, Failure>;

    /// Sends all of `bytes`: they are out or copied when this returns. Waits as long as the line's
    /// patience at most, counted from the last byte that the line has taken.
    ///
    /// # Errors
    /// When the line takes no more: also when the other end has been away for that long. A part of
    /// `bytes` may have gone out, or go out later.
    fn send(&mut self, bytes: &[u8]) -> Result<(), Failure>;

    /// Limits of one call of [`Self::send_bulk`], without its head; [`None`] where there is no
    /// DMA.
    fn bulk(&self) -> Option<Limits>;

    /// Sends `head` (perhaps empty), as [`Self::send`] does, and right behind it the bytes of
    /// `pieces` by DMA from where they lie. Those may still be on their way when this returns.
    ///
    /// # Errors
    /// As [`Self::send`]. What has not gone out may do so until [`Self::stop`].
    fn send_bulk(&mut self, head: &[u8], pieces: Pieces) -> Result<(), Failure>;

    /// Waits until one of the things sent has left the machine, and its pieces are free; false when
    /// none is on its way.
    ///
    /// # Errors
    /// As [`Self::send`].
    fn wait_for_one(&mut self) -> Result<bool, Failure>;

    /// Waits until all that was sent has left the machine, as long as the line's patience.
    ///
    /// # Errors
    /// As [`Self::send`].
    fn drain(&mut self) -> Result<(), Failure>;

    /// From now on the device does no DMA. What has not left the machine does not leave it any
    /// more.
    ///
    /// # Errors
    /// When the device does not stop: then the line leaks the memory that it may use.
    fn stop(&mut self) -> Result<(), Failure>;
}

/// A collector at the other end of a line. It gets what is small and precious first, then the bulk,
/// and the other views where it asks for them.
///
/// [`Stage::FirstByte`] is reached when the first frame with contents has left the machine,
/// [`Stage::LastByte`] when the collector says that it has everything.
pub struct LineTarget<'c, L: Line, M: ReadPhys> {
    line: L,
    memory: M,
    slot: SlotMemory,
    clock: &'c dyn Clock,
    config: SenderConfig,
    say: fn(Arguments<'_>),
}

/// The least room for a frame: what is hashed goes through it page by page.
const LEAST_ROOM: usize = 4096 + 256;

impl<'c, L: Line, M: ReadPhys> LineTarget<'c, L, M> {
    /// `line` as a target for what lies in `memory`. The id in `config` does not count: the dump
    /// has one.
    pub fn new(
        line: L,
        memory: M,
        slot: SlotMemory,
        clock: &'c dyn Clock,
        config: SenderConfig,
    ) -> Self {
        Self { line, memory, slot, clock, config, say: |_| () }
    }

    /// The same, with a console for what people may want to know.
    #[must_use]
    pub fn saying(self, say: fn(Arguments<'_>)) -> Self {
        Self { say, ..self }
    }
}

impl<L: Line, M: ReadPhys> Target for LineTarget<'_, L, M> {
    fn deliver(&mut self, dump: &Dump, reached: &mut dyn FnMut(Stage)) -> Result<(), Failure> {
        if dump.views().next().is_none() {
            return Err(Failure::NothingToSend);
        }
        let Self { line, memory, slot, clock, config, say } = self;
        let bulk = config.bulk && line.bulk().is_some();
        let config = SenderConfig { id: dump.id, bulk, ..*config };
        let mut slots = list(MAX_WINDOW, Slot::default())?;
        let mut room = list(config.max_frame.max(LEAST_ROOM), 0)?;
        let pool = bulk.then(|| Pool::new(*slot, BUFFERS, BUFFER)).transpose()?;
        let lz4 = match config.codec {
            Codec::Raw => None,
            // The small views come first, also in memory.
            Codec::Lz4 => Compressor::new(dump.later.most()).ok(),
        };
        if config.codec == Codec::Lz4 && lz4.is_none() {
            say(format_args!("no room for lz4 in this slot: memory is sent as it is"));
        }
        let views = Views::new(dump, memory, lz4);
        let sender = Sender::new(config, &mut slots, clock.milliseconds());
        match Talk::new(line, *clock, sender, views, pool).run(&mut room, reached)? {
            Outcome::Complete if dump.bulk.is_none() => Err(Failure::NothingToSend),
            Outcome::Complete => Ok(()),
            outcome => Err(Failure::Collector(outcome)),
        }
    }

    fn stop(&mut self) -> Result<(), Failure> {
        self.line.stop()
    }
}

/// `count` times `value`, if the heap has room.
fn list<T: Clone>(count: usize, value: T) -> Result<Vec<T>, Failure> {
    let mut list = Vec::new();
    list.try_reserve_exact(count).or(Err(Failure::NoMemory))?;
    list.resize(count, value);
    Ok(list)
}

#[cfg(test)]
mod tests;
