//! Buffers that the device fills whenever it likes.

use super::queue::{self, Link, VirtQueue};
use crate::Failure;
use crate::dma::{DmaBuffer, SlotMemory};
use alloc::vec::Vec;
use virtio_drivers::transport::Transport;

/// A queue of buffers of the same length, all of them the device's but those that are being read.
pub struct Inbox {
    index: u16,
    queue: VirtQueue,
    memory: DmaBuffer,
    /// Bytes of one buffer.
    length: usize,
    /// Which buffers the device has.
    offered: Vec<bool>,
}

/// A buffer that the device has filled.
#[derive(Clone, Copy, Debug)]
pub struct Filled {
    slot: u16,
    /// Bytes in it.
    pub length: usize,
}

impl Inbox {
    /// Queue `index` of a device that is not running yet, with at most `most` buffers of `length` bytes.
    /// When it runs it wants to hear of them: [`Self::notify`].
    ///
    /// # Errors
    /// As [`VirtQueue::set_up`].
    pub fn set_up(
        transport: &mut impl Transport,
        index: u16,
        slot: SlotMemory,
        most: u16,
        length: usize,
    ) -> Result<Self, Failure> {
        let queue = VirtQueue::set_up(transport, index, slot, queue::BUFFER)?;
        let buffers = queue.slots().min(most);
        let memory = DmaBuffer::new(slot, usize::from(buffers) * length)?;
        let offered = alloc::vec![false; buffers.into()];
        let mut inbox = Self { index, queue, memory, length, offered };
        for slot in 0..buffers {
            inbox.give_back(slot);
        }
        Ok(inbox)
    }

    /// Tells the device that there are buffers.
    pub fn notify(&self, transport: &mut impl Transport) {
        transport.notify(self.index);
    }

    /// How many buffers there are: so many turns are enough to see all that has come by now.
    pub fn buffers(&self) -> usize {
        self.offered.len()
    }

    /// The next buffer that the device has filled, to be handed back with [`Self::done`]. A device may
    /// say that it has written more than there is room for: then the buffer is full.
    ///
    /// # Errors
    /// [`Failure::BadAnswer`] when the device did not have that buffer.
    pub fn take(&mut self) -> Result<Option<Filled>, Failure> {
        let Some(used) = self.queue.take_used()? else { return Ok(None) };
        let offered = self.offered.get_mut(usize::from(used.slot)).map(core::mem::take);
        if offered != Some(true) {
            return Err(Failure::BadAnswer(used.slot.into()));
        }
        let length = self.length.min(used.length as usize);
        Ok(Some(Filled { slot: used.slot, length }))
    }

    /// Copies bytes of a buffer out, from `from` on.
    pub fn copy_to(&self, filled: Filled, from: usize, into: &mut [u8]) {
        self.memory.copy_to(usize::from(filled.slot) * self.length + from, into);
    }

    /// Hands a buffer back to the device, which wants to hear of it.
    pub fn done(&mut self, filled: Filled, transport: &mut impl Transport) {
        self.give_back(filled.slot);
        self.notify(transport);
    }

    fn give_back(&mut self, slot: u16) {
        let buffer = self.memory.writable(usize::from(slot) * self.length, self.length);
        self.queue.offer(slot, core::iter::once(Link::Write(buffer)));
        self.offered[usize::from(slot)] = true;
    }
}
