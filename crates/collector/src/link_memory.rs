//! The vmcore of a capture kernel at the other end of a line: blocks are pulled as they are read.

use std::collections::HashMap;
use std::fmt;
use std::sync::Mutex;

use vmcore::{PhysAddr, ReadPhys};

use crate::{Error, LinkOptions, Observer, Source, Timeouts, read};

/// Bytes that are pulled at once: each pull is a session of its own.
const BLOCK: u64 = 64 << 10;
/// Bytes that the headers and notes of a vmcore fit in.
const FRONT: u64 = 64 << 10;
/// Most blocks that are kept: 256 MiB.
const MOST: usize = 4096;

/// A vmcore over a line.
pub(crate) struct LinkMemory {
    source: Source,
    options: LinkOptions,
    timeouts: Timeouts,
    /// Length in bytes, once the headers are known.
    length: u64,
    blocks: Mutex<HashMap<u64, Vec<u8>>>,
}

impl fmt::Debug for LinkMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the vmcore over {}", self.source)
    }
}

/// Nobody watches single blocks.
struct Nobody;

impl Observer for Nobody {
    fn text(&mut self, _: &[u8]) {}

    fn progress(&mut self, _: u64, _: u64) {}

    fn hashing(&mut self, _: u64, _: u64) {}
}

impl LinkMemory {
    /// Pulls the front of the vmcore.
    ///
    /// # Errors
    /// The reason why it did not come.
    pub(crate) fn open(
        source: &Source,
        options: LinkOptions,
        timeouts: Timeouts,
    ) -> Result<Self, Error> {
        let source = source.clone();
        let memory = Self { source, options, timeouts, length: FRONT, blocks: Mutex::default() };
        let front = memory.pull(0, FRONT)?;
        memory.keep(0, front);
        Ok(memory)
    }

    /// Sets the length in bytes, as the headers have it.
    pub(crate) fn set_length(&mut self, length: u64) {
        self.length = length;
        // The first block has only the front.
        if length > FRONT
            && let Ok(blocks) = self.blocks.get_mut()
        {
            blocks.clear();
        }
    }

    fn pull(&self, start: u64, length: u64) -> Result<Vec<u8>, Error> {
        let Self { source, options, timeouts, .. } = self;
        read::read(source, ("vmcore", start, length), *options, *timeouts, &mut Nobody)
    }

    fn keep(&self, start: u64, block: Vec<u8>) {
        if let Ok(mut blocks) = self.blocks.lock() {
            if blocks.len() >= MOST {
                blocks.clear();
            }
            blocks.insert(start, block);
        }
    }

    /// Copies from the block at `start`, if it is there.
    fn copy(&self, start: u64, offset: usize, into: &mut [u8]) -> bool {
        let Ok(blocks) = self.blocks.lock() else { return false };
        let bytes = blocks.get(&start).and_then(|block| block.get(offset..)?.get(..into.len()));
        bytes.map(|bytes| into.copy_from_slice(bytes)).is_some()
    }

    fn read_block(&self, start: u64, offset: usize, into: &mut [u8]) -> Result<(), Error> {
        if self.copy(start, offset, into) {
            return Ok(());
        }
        let block = self.pull(start, BLOCK.min(self.length.saturating_sub(start)))?;
        let bytes = block.get(offset..).and_then(|rest| rest.get(..into.len()));
        if let Some(bytes) = bytes {
            into.copy_from_slice(bytes);
        }
        self.keep(start, block);
        Ok(())
    }
}

impl ReadPhys for LinkMemory {
    fn read_phys(&self, at: PhysAddr, into: &mut [u8]) -> Result<(), vmcore::Error> {
        let unreadable = vmcore::Error::Unreadable { at };
        let end = at.checked_add(into.len() as u64).ok_or(unreadable)?;
        if end.get() > self.length {
            return Err(unreadable);
        }
        let mut done = 0;
        while done < into.len() {
            let next = at.get() + done as u64;
            let offset = next % BLOCK;
            let count = (BLOCK - offset).min((into.len() - done) as u64) as usize;
            let part = &mut into[done..done + count];
            self.read_block(next - offset, offset as usize, part).map_err(|error| {
                log::warn!("{}: {error}", self.source);
                unreadable
            })?;
            done += count;
        }
        Ok(())
    }
}
