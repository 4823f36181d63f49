//! Buffers that the device fills whenever it likes.

use super::queue::{Element, VirtQueue};
use crate::driver::Error;
use crate::driver::dma::{DmaBuffer, SlotMemory, Stopped};
use crate::list;
use alloc::vec::Vec;
use virtio_drivers::transport::Transport;

/// A queue of buffers of the same length, all of them the device's but those that are being read.
pub(super) struct Inbox {
    index: u16,
    queue: VirtQueue,
    memory: DmaBuffer,
    /// Bytes of one buffer.
    length: usize,
    /// For each buffer that the device has, its chain.
    offered: Vec<Option<u16>>,
}

/// A buffer that the device has filled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Filled {
    buffer: u16,
    /// Bytes in it.
    pub(super) length: usize,
}

impl Inbox {
    /// Queue `index` of a device that is not running yet, with at most `most` buffers of `length`
    /// bytes. Once it runs, it needs a notification: [`Self::notify`].
    ///
    /// # Errors
    /// As [`VirtQueue::set_up`].
    pub(super) fn set_up(
        transport: &mut impl Transport,
        index: u16,
        slot: SlotMemory,
        most: u16,
        length: usize,
    ) -> Result<Self, Error> {
        let queue = VirtQueue::set_up(transport, index, slot, 1)?;
        let buffers = queue.size().min(most.into());
        let memory = DmaBuffer::new(slot, buffers * length)?;
        let offered = list::filled(buffers, None)?;
        let mut inbox = Self { index, queue, memory, length, offered };
        for buffer in 0..buffers as u16 {
            inbox.give_back(buffer);
        }
        Ok(inbox)
    }

    /// Tells the device that there are buffers.
    pub(super) fn notify(&self, transport: &mut impl Transport) {
        transport.notify(self.index);
    }

    /// Number of buffers: as many turns are enough to see all that has come by now.
    pub(super) fn buffers(&self) -> usize {
        self.offered.len()
    }

    /// The next buffer that the device has filled, to be handed back with [`Self::done`]. A device
    /// may say that it has written more than there is room for: then the buffer is full.
    ///
    /// # Errors
    /// [`Error::BadAnswer`] when the device did not have that buffer.
    pub(super) fn take(&mut self) -> Result<Option<Filled>, Error> {
        let Some(used) = self.queue.take_used()? else { return Ok(None) };
        let buffer = self.offered.iter().position(|chain| *chain == Some(used.chain));
        let buffer = buffer.ok_or(Error::BadAnswer(used.chain.into()))?;
        self.offered[buffer] = None;
        let length = self.length.min(used.length as usize);
        Ok(Some(Filled { buffer: buffer as u16, length }))
    }

    /// Copies bytes of a buffer out, from `from` on.
    pub(super) fn copy_to(&self, filled: Filled, from: usize, into: &mut [u8]) {
        self.memory.copy_to(usize::from(filled.buffer) * self.length + from, into);
    }

    /// Hands a buffer back to the device, which wants to hear of it.
    pub(super) fn done(&mut self, filled: Filled, transport: &mut impl Transport) {
        self.give_back(filled.buffer);
        self.notify(transport);
    }

    fn give_back(&mut self, buffer: u16) {
        let start = usize::from(buffer) * self.length;
        let link = Element::write(&mut self.memory, start..start + self.length);
        self.offered[usize::from(buffer)] = Some(self.queue.offer(core::iter::once(link)));
    }

    /// The device is stopped: the memory returns to the heap with the inbox.
    pub(super) fn release(&mut self, stopped: &Stopped) {
        self.queue.release(stopped);
        self.memory.release(stopped);
    }
}
