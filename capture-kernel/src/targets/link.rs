//! A link to a collector: a 16550, or a port of a virtio console.

mod pace;
mod session;
mod source;

pub use pace::pace;

use super::{BUFFER, BUFFERS, Target};
use crate::driver::dma::{Pool, SlotMemory};
use crate::driver::{self, Link};
use crate::dump::Dump;
use crate::selection::Zeros;
use crate::targets::TargetError;
use crate::{Clock, list};
use dumpfile::chunk::Codec;
use dumpfile::wire::{MAX_WINDOW, Outcome, Sender, SenderConfig, Slot};
use handoff::Stage;
use log::{info, warn};
use session::Session;
use source::{Compressor, Views};
use vmcore::ReadPhys;

/// A collector at the other end of a link. It gets what is small and precious first, then the bulk,
/// and the other views where it asks for them.
///
/// [`Stage::FirstByte`] is reached when the first frame with contents has left the machine,
/// [`Stage::LastByte`] when the collector says that it has everything.
pub struct LinkTarget<'c, L: Link, M: ReadPhys> {
    link: L,
    memory: M,
    slot: SlotMemory,
    clock: &'c dyn Clock,
    config: SenderConfig,
}

/// The least room for a frame: hashed bytes go through it page by page.
const LEAST_ROOM: usize = 4096 + 256;

impl<'c, L: Link, M: ReadPhys> LinkTarget<'c, L, M> {
    /// `link` as a target for what lies in `memory`. The id in `config` does not count: the dump
    /// has one.
    pub fn new(
        link: L,
        memory: M,
        slot: SlotMemory,
        clock: &'c dyn Clock,
        config: SenderConfig,
    ) -> Self {
        Self { link, memory, slot, clock, config }
    }
}

impl<L: Link, M: ReadPhys> Target for LinkTarget<'_, L, M> {
    fn deliver(&mut self, dump: &Dump, reached: &mut dyn FnMut(Stage)) -> Result<(), TargetError> {
        if dump.is_empty() {
            return Err(TargetError::NothingToSend);
        }
        let Self { link, memory, slot, clock, config } = self;
        let bulk = config.bulk && link.bulk().is_some();
        let config = SenderConfig { id: dump.id, bulk, ..*config };
        let mut slots = list::filled(MAX_WINDOW, Slot::default())?;
        let mut room = list::filled(config.max_frame.max(LEAST_ROOM), 0)?;
        let pool = bulk.then(|| Pool::new(*slot, BUFFERS, BUFFER)).transpose()?;
        let lz4 = match config.codec {
            Codec::Raw => None,
            // The small views come first, also in memory.
            Codec::Lz4 => Compressor::new(dump.later.most()).ok(),
        };
        if config.codec == Codec::Lz4 && lz4.is_none() {
            warn!("no room for lz4 in this slot: memory is sent as it is");
        }
        // The encoder leaves out pages of zeros.
        let zeros = if lz4.is_none() { Zeros::Test } else { Zeros::Keep };
        let bulk = dump.bulk_at(dump.level.unwrap_or_default(), zeros);
        let views = Views::new(dump, bulk.as_ref(), memory, lz4);
        let sender = Sender::new(config, &mut slots, clock.milliseconds());
        let ended = Session::new(link, *clock, sender, views, pool).run(&mut room, reached)?;
        if let Some(pages) = &ended.pages {
            info!("{pages}");
        }
        match ended.outcome {
            Outcome::Complete if dump.bulk.is_none() => Err(TargetError::NothingToSend),
            Outcome::Complete => Ok(()),
            outcome => Err(TargetError::Collector(outcome)),
        }
    }

    fn stop(&mut self) -> Result<(), driver::Error> {
        self.link.stop()
    }
}

#[cfg(test)]
mod tests;
