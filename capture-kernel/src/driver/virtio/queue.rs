//! A split virtqueue (virtio 1.2, section 2.7) with descriptors typed by direction.
//!
//! A chain takes as many descriptors as it has links. The list of free ones is memory of ours that
//! the device does not see. No interrupts, no event index: the used ring is polled.

use crate::driver::Error;
use crate::driver::dma::{DmaBuffer, SlotMemory, Stopped};
use crate::list;
use alloc::vec::Vec;
use core::ops::Range;
use core::sync::atomic::{Ordering, fence};
use virtio_drivers::transport::Transport;
use vmcore::{PhysAddr, PhysRange};
use zerocopy::{FromBytes, Immutable, IntoBytes};

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

/// One element of a chain. Only a [`DmaBuffer`] makes one that the device writes.
pub(super) struct Element {
    range: PhysRange,
    is_written: bool,
}

impl Element {
    /// Memory that the device reads. Whoever offers it holds its owner until the chain is back.
    pub(super) const fn read(range: PhysRange) -> Self {
        Self { range, is_written: false }
    }

    /// A part of a buffer that the device writes.
    pub(super) fn write(buffer: &mut DmaBuffer, part: Range<usize>) -> Self {
        Self { range: buffer.share(part), is_written: true }
    }
}

/// A chain that the device has finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Used {
    /// The first descriptor, as [`VirtQueue::offer`] has returned it.
    pub(super) chain: u16,
    /// Number of bytes written, as reported by the device; it may be any number.
    pub(super) length: u32,
}

/// A virtqueue.
pub(super) struct VirtQueue {
    memory: DmaBuffer,
    size: u16,
    available: u16,
    used: u16,
    /// The next descriptor of the same chain, or of the list of free ones.
    next: Vec<u16>,
    /// The first free descriptor, and the number of free ones.
    free: (u16, u16),
    /// The number of descriptors, for the first one of each chain that the device has; else zero.
    lengths: Vec<u16>,
}

impl VirtQueue {
    /// Queue `index` of a device that is not running yet, as long as the device allows.
    ///
    /// # Errors
    /// [`Error::QueueTooShort`] where not one chain of `least` descriptors fits,
    /// [`Error::NoMemory`].
    pub(super) fn set_up(
        transport: &mut impl Transport,
        index: u16,
        slot: SlotMemory,
        least: u16,
    ) -> Result<Self, Error> {
        let most = transport.max_queue_size(index);
        let size = u16::try_from(most).unwrap_or(MAX_SIZE).min(MAX_SIZE);
        // A split queue's size is a power of two; rounding down stays within the offered size.
        let size = size.checked_ilog2().map_or(0, |log| 1 << log);
        if size < least {
            return Err(Error::QueueTooShort(size));
        }
        let length = used_offset(size) + 6 + 8 * usize::from(size);
        let mut next = list::with_room(size.into())?;
        next.extend(1..=size);
        let lengths = list::filled(size.into(), 0)?;
        let memory = DmaBuffer::new(slot, length)?;
        let queue = Self { memory, size, available: 0, used: 0, next, free: (0, size), lengths };
        let [descriptors, available, used] = queue.areas().map(PhysAddr::get);
        transport.queue_set(index, size.into(), descriptors, available, used);
        Ok(queue)
    }

    /// Number of descriptors, used or not.
    pub(super) fn size(&self) -> usize {
        self.size.into()
    }

    /// Number of free descriptors.
    pub(super) fn room(&self) -> usize {
        self.free.1.into()
    }

    /// Physical addresses of descriptor table, available ring and used ring.
    fn areas(&self) -> [PhysAddr; 3] {
        [0, available_offset(self.size), used_offset(self.size)]
            .map(|offset| self.memory.share(offset..offset).start())
    }

    /// Offers a chain to the device; returns its first descriptor. The memory of `links` stays as
    /// it is until the chain is back or the device is stopped.
    ///
    /// # Panics
    /// There is no link, or no room for all of them.
    pub(super) fn offer(&mut self, links: impl ExactSizeIterator<Item = Element>) -> u16 {
        let count = links.len();
        assert!((1..=self.room()).contains(&count), "there is room for the chain");
        let (head, mut index) = (self.free.0, self.free.0);
        for (number, Element { range, is_written }) in (1..).zip(links) {
            let next = self.next[usize::from(index)];
            let descriptor = Descriptor {
                address: range.start().get(),
                length: u32::try_from(range.length()).expect("a piece is under 4 GiB"),
                flags: if is_written { WRITE } else { 0 } | if number < count { NEXT } else { 0 },
                next: if number < count { next } else { 0 },
            };
            self.memory.copy_from(usize::from(index) * 16, descriptor.as_bytes());
            index = next;
        }
        self.lengths[usize::from(head)] = count as u16;
        self.free = (index, self.free.1 - count as u16);
        self.publish(head);
        head
    }

    fn publish(&mut self, head: u16) {
        let ring = available_offset(self.size);
        let entry = usize::from(self.available % self.size);
        self.memory.write(ring + 4 + 2 * entry, head);
        fence(Ordering::SeqCst);
        self.available = self.available.wrapping_add(1);
        self.memory.write(ring + 2, self.available);
        fence(Ordering::SeqCst);
    }

    /// A chain that the device has finished, if there is one. Its descriptors are free again.
    ///
    /// # Errors
    /// [`Error::BadAnswer`] when what it returns is no chain that it has.
    pub(super) fn take_used(&mut self) -> Result<Option<Used>, Error> {
        let ring = used_offset(self.size);
        let index: u16 = self.memory.read(ring + 2);
        if index == self.used {
            return Ok(None);
        }
        fence(Ordering::SeqCst);
        let entry = usize::from(self.used % self.size);
        let UsedElement { id, length } = self.memory.read(ring + 4 + 8 * entry);
        self.used = self.used.wrapping_add(1);
        let known = self.lengths.get_mut(id as usize).map(core::mem::take);
        let count = known.filter(|count| *count > 0).ok_or(Error::BadAnswer(id))?;
        let chain = id as u16;
        self.put_back(chain, count);
        Ok(Some(Used { chain, length }))
    }

    /// Adds the chain's descriptors to the front of the free ones.
    fn put_back(&mut self, chain: u16, count: u16) {
        let mut last = chain;
        for _ in 1..count {
            last = self.next[usize::from(last)];
        }
        self.next[usize::from(last)] = self.free.0;
        self.free = (chain, self.free.1 + count);
    }

    /// The device is stopped: the queue's memory returns to the heap with it.
    pub(super) fn release(&mut self, stopped: &Stopped) {
        self.memory.release(stopped);
    }
}

const fn available_offset(size: u16) -> usize {
    16 * size as usize
}

const fn used_offset(size: u16) -> usize {
    (available_offset(size) + 6 + 2 * size as usize).next_multiple_of(4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{Disk, FakeDevice, FakeTransport, slot};
    use std::collections::BTreeMap;
    use std::vec::Vec;

    fn link(number: u64) -> Element {
        Element::read(PhysRange::new(PhysAddr::new(number << 12), 16).expect("no wrap"))
    }

    fn chain(number: u64, count: u64) -> Vec<Element> {
        (0..count).map(|index| link(number << 8 | index)).collect()
    }

    /// Chains of many lengths, answered in another order than offered: each is seen as it was
    /// offered.
    #[test]
    fn chains_of_any_length_share_the_descriptors() {
        let disk = Disk::new(Vec::new());
        let queue = VirtQueue::set_up(&mut FakeTransport::new(&disk), 0, slot(), 1);
        let mut queue = queue.expect("64 entries");
        let mut seen = BTreeMap::new();
        for number in 1..400_u64 {
            let count = number * 7 % 20 + 1;
            while queue.room() < count as usize {
                let (_, head) = seen.pop_first().expect("one is in flight");
                disk.borrow_mut().base().queues.get_mut(&0).expect("is set up").push(head, 7);
                let used = queue.take_used().expect("an answer").expect("there");
                assert_eq!((u32::from(used.chain), used.length), (head, 7));
            }
            let head = queue.offer(chain(number, count).into_iter());
            let mut disk = disk.borrow_mut();
            let offered = disk.base().queues.get_mut(&0).and_then(|queue| queue.pop());
            let offered = offered.expect("the device sees it");
            assert_eq!(offered.head, head);
            let expected = (0..count).map(|index| ((number << 8 | index) << 12, 16, false));
            assert!(offered.links.iter().copied().eq(expected), "chain {number}");
            seen.insert(number.wrapping_mul(0x9e37_79b9) % 1000, u32::from(head));
        }
    }

    /// Its descriptors are free once, and those of other chains stay theirs.
    #[test]
    fn a_chain_that_comes_back_twice_is_an_error_and_frees_nothing() {
        let disk = Disk::new(Vec::new());
        let queue = VirtQueue::set_up(&mut FakeTransport::new(&disk), 0, slot(), 1);
        let mut queue = queue.expect("64 entries");
        let [first, _] = [1, 2].map(|number| queue.offer(chain(number, 20).into_iter()));
        for id in [first.into(), first.into(), u32::from(first) + 1, 64, u32::MAX] {
            disk.borrow_mut().base().queues.get_mut(&0).expect("is set up").push(id, 0);
        }
        assert_eq!(queue.take_used().map(|used| used.is_some()), Ok(true));
        for id in [first.into(), u32::from(first) + 1, 64, u32::MAX] {
            assert_eq!(queue.take_used(), Err(Error::BadAnswer(id)));
        }
        assert_eq!((queue.room(), queue.take_used()), (44, Ok(None)));
        let mut indices: Vec<_> = (0..44).map(|_| queue.offer([link(9)].into_iter())).collect();
        indices.sort_unstable();
        assert!(indices.iter().eq((0..20).chain(40..64).collect::<Vec<_>>().iter()));
    }
}
