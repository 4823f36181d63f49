//! A submission queue and its completion queue (NVM Express Base 2.0, section 3.3). No interrupts:
//! completions are polled.

use super::command::{COMMAND, Command};
use super::control::Control;
use crate::driver::Error;
use crate::driver::dma::{DmaBuffer, SlotMemory, Stopped};
use crate::driver::registers::Registers;
use core::sync::atomic::{Ordering, fence};
use zerocopy::IntoBytes;

/// Bytes of a completion.
const COMPLETION: usize = 16;
/// Each queue begins on a page of its own.
const QUEUE: usize = 4096;
/// The longest queue that we use, in entries: a page of commands.
pub(super) const MOST_ENTRIES: u16 = (QUEUE / COMMAND) as u16;

/// Phase bit of a completion, in the word that also has the command's number.
const PHASE: u32 = 1 << 16;

/// An answer of the controller.
#[derive(Clone, Copy)]
pub(super) struct Completion {
    /// Number of the command, as the controller says.
    pub(super) id: u16,
    /// The word with the status.
    pub(super) status: u32,
}

/// Two rings in memory, and our places in them.
pub(super) struct Queue {
    memory: DmaBuffer,
    /// 0 for the admin queue, 1 for the I/O queue.
    id: u16,
    entries: u16,
    tail: u16,
    head: u16,
    /// Phase bit of the next completion.
    phase: u32,
    /// Completions that the controller does not know to be taken.
    untold: u16,
}

impl Queue {
    /// Empty queues number `id` of so many entries each, 2 to [`MOST_ENTRIES`].
    ///
    /// # Errors
    /// [`Error::NoMemory`].
    pub(super) fn new(slot: SlotMemory, id: u16, entries: u16) -> Result<Self, Error> {
        let memory = DmaBuffer::new(slot, QUEUE + usize::from(entries) * COMPLETION)?;
        Ok(Self { memory, id, entries, tail: 0, head: 0, phase: PHASE, untold: 0 })
    }

    /// Entries of each of both. One command fewer can be in flight.
    pub(super) const fn entries(&self) -> u16 {
        self.entries
    }

    /// Physical addresses of commands and completions, for the controller.
    pub(super) fn places(&self) -> [u64; 2] {
        [0, QUEUE].map(|at| self.memory.share(at..at).start().get())
    }

    /// Gives a command to the controller. At most `entries` - 1 are in flight.
    pub(super) fn submit<R: Registers>(&mut self, control: &mut Control<'_, R>, command: Command) {
        self.memory.copy_from(usize::from(self.tail) * COMMAND, command.as_bytes());
        self.tail = (self.tail + 1) % self.entries;
        fence(Ordering::SeqCst);
        control.ring(self.id, 0, self.tail);
    }

    /// The next answer, if there is one.
    ///
    /// # Errors
    /// [`Error::BadQueue`] when it is for another queue.
    pub(super) fn take<R: Registers>(
        &mut self,
        control: &mut Control<'_, R>,
    ) -> Result<Option<Completion>, Error> {
        let at = QUEUE + usize::from(self.head) * COMPLETION;
        let status: u32 = self.memory.read(at + 12);
        if status & PHASE != self.phase {
            return Ok(None);
        }
        fence(Ordering::SeqCst);
        let queue = (self.memory.read::<u32>(at + 8) >> 16) as u16;
        self.head += 1;
        if self.head == self.entries {
            (self.head, self.phase) = (0, self.phase ^ PHASE);
        }
        self.untold += 1;
        if self.untold >= self.entries / 2 {
            self.untold = 0;
            control.ring(self.id, 1, self.head);
        }
        match queue == self.id {
            true => Ok(Some(Completion { id: status as u16, status })),
            false => Err(Error::BadQueue(queue)),
        }
    }

    /// The controller is stopped: the memory returns to the heap with the queue.
    pub(super) fn release(&mut self, stopped: &Stopped) {
        self.memory.release(stopped);
    }
}
