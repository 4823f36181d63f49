//! A line of bytes to a collector: a 16550, or a port of a virtio console.

mod source;
mod talk;

use super::{BUFFER, BUFFERS, Target};
use crate::driver::Link;
use crate::driver::dma::{Pool, SlotMemory};
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

/// A collector at the other end of a line. It gets what is small and precious first, then the bulk,
/// and the other views where it asks for them.
///
/// [`Stage::FirstByte`] is reached when the first frame with contents has left the machine,
/// [`Stage::LastByte`] when the collector says that it has everything.
pub struct LineTarget<'c, L: Link, M: ReadPhys> {
    line: L,
    memory: M,
    slot: SlotMemory,
    clock: &'c dyn Clock,
    config: SenderConfig,
    say: fn(Arguments<'_>),
}

/// The least room for a frame: what is hashed goes through it page by page.
const LEAST_ROOM: usize = 4096 + 256;

impl<'c, L: Link, M: ReadPhys> LineTarget<'c, L, M> {
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

impl<L: Link, M: ReadPhys> Target for LineTarget<'_, L, M> {
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
