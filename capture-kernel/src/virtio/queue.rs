//! A split virtqueue (virtio 1.2, section 2.7) with descriptors typed by direction.
//!
//! The descriptor table is cut into as many fixed slots as fit; a request takes one slot, and the
//! slot's number is all there is to remember. No interrupts, no event index: the used ring is polled.

use crate::Failure;
use crate::dma::{DmaBuffer, Readable, SlotMemory, Writable};
use core::sync::atomic::{Ordering, fence};
use virtio_drivers::transport::Transport;
use vmcore::{PhysAddr, PhysRange};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// The most data descriptors that one request may have.
pub const MAX_PIECES: usize = 8;
/// Descriptors of a slot that carries pieces: header, data, status.
pub const REQUEST: u16 = MAX_PIECES as u16 + 2;
/// Descriptors of a slot that carries one buffer.
pub const BUFFER: u16 = 1;
/// The longest queue that we use, in entries.
const MAX_SIZE: u16 = 256;

const NEXT: u16 = 1;
const WRITE: u16 = 2;

/// `struct virtq_desc`.
#[derive(Clone, Copy, IntoBytes, Immutable)]
#[repr(C, packed)]
struct Descriptor {
    address: u64,
    length: u32,
    flags: u16,
    next: u16,
}

/// `struct virtq_used_elem`.
#[derive(Clone, Copy, FromBytes)]
#[repr(C)]
struct UsedElement {
    id: u32,
    length: u32,
}

/// One link of a request's chain.
#[derive(Clone, Copy, Debug)]
pub enum Link {
    /// The device reads it.
    Read(Readable),
    /// The device writes it.
    Write(Writable),
}

impl Link {
    fn range(self) -> PhysRange {
        match self {
            Self::Read(readable) => readable.range(),
            Self::Write(writable) => writable.range(),
        }
    }
}

/// What the device has finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// The slot, which exists.
    pub slot: u16,
    /// How many bytes the device says that it has written, which may be any number.
    pub length: u32,
}

/// A virtqueue.
pub struct VirtQueue {
    memory: DmaBuffer,
    size: u16,
    slot_length: u16,
    available: u16,
    used: u16,
}

impl VirtQueue {
    /// Queue `index` of a device that is not running yet, as long as the device allows, in slots of
    /// `slot_length` descriptors.
    ///
    /// # Errors
    /// [`Failure::QueueTooShort`] where not one request fits, [`Failure::NoMemory`].
    pub fn set_up(
        transport: &mut impl Transport,
        index: u16,
        slot: SlotMemory,
        slot_length: u16,
    ) -> Result<Self, Failure> {
        let most = transport.max_queue_size(index);
        let size = u16::try_from(most).unwrap_or(MAX_SIZE).min(MAX_SIZE);
        // A split queue's size is a power of two; rounding down keeps within what was offered.
        let size = size.checked_ilog2().map_or(0, |log| 1 << log);
        if size < slot_length {
            return Err(Failure::QueueTooShort(size));
        }
        let length = used_offset(size) + 6 + 8 * usize::from(size);
        let memory = DmaBuffer::new(slot, length)?;
        let queue = Self { memory, size, slot_length, available: 0, used: 0 };
        let [descriptors, available, used] = queue.areas().map(PhysAddr::get);
        transport.queue_set(index, size.into(), descriptors, available, used);
        Ok(queue)
    }

    /// How many requests fit in it at a time.
    pub fn slots(&self) -> u16 {
        self.size / self.slot_length
    }

    /// Physical addresses of descriptor table, available ring and used ring.
    fn areas(&self) -> [PhysAddr; 3] {
        [0, available_offset(self.size), used_offset(self.size)]
            .map(|offset| self.memory.physical(offset))
    }

    /// Offers a request to the device in `slot`, which must be free. The memory behind `links` must
    /// stay until it comes back.
    ///
    /// # Panics
    /// When the slot does not exist or the chain is empty or longer than a slot.
    pub fn offer(&mut self, slot: u16, links: impl ExactSizeIterator<Item = Link>) {
        let count = links.len();
        assert!(slot < self.slots() && (1..=usize::from(self.slot_length)).contains(&count));
        let head = slot * self.slot_length;
        for (index, link) in (head..).zip(links) {
            let last = usize::from(index - head) + 1 == count;
            let write = if matches!(link, Link::Write(_)) { WRITE } else { 0 };
            let descriptor = Descriptor {
                address: link.range().start().get(),
                length: u32::try_from(link.range().length()).expect("a piece is under 4 GiB"),
                flags: write | if last { 0 } else { NEXT },
                next: index + 1,
            };
            self.memory.copy_from(usize::from(index) * 16, descriptor.as_bytes());
        }
        let ring = available_offset(self.size);
        let entry = usize::from(self.available % self.size);
        self.memory.write(ring + 4 + 2 * entry, head);
        fence(Ordering::SeqCst);
        self.available = self.available.wrapping_add(1);
        self.memory.write(ring + 2, self.available);
        fence(Ordering::SeqCst);
    }

    /// A request that the device has finished, if there is one.
    ///
    /// # Errors
    /// [`Failure::BadAnswer`] when what it returns is no slot's first descriptor.
    pub fn take_used(&mut self) -> Result<Option<Used>, Failure> {
        let ring = used_offset(self.size);
        let index: u16 = self.memory.read(ring + 2);
        if index == self.used {
            return Ok(None);
        }
        fence(Ordering::SeqCst);
        let entry = usize::from(self.used % self.size);
        let element: UsedElement = self.memory.read(ring + 4 + 8 * entry);
        self.used = self.used.wrapping_add(1);
        let slot_length = u32::from(self.slot_length);
        let slot = element.id / slot_length;
        if !element.id.is_multiple_of(slot_length) || slot >= self.slots().into() {
            return Err(Failure::BadAnswer(element.id));
        }
        Ok(Some(Used { slot: slot as u16, length: element.length }))
    }
}

const fn available_offset(size: u16) -> usize {
    16 * size as usize
}

const fn used_offset(size: u16) -> usize {
    (available_offset(size) + 6 + 2 * size as usize).next_multiple_of(4)
}
