//! Fakes for tests: a clock, slot memory whose physical addresses are its virtual ones, and virtio
//! devices that process their queues like devices do: by physical address.

mod device;
mod disk;

pub(crate) use device::{Base, Chain, FakeDevice, FakeTransport};
pub(crate) use disk::{Disk, ORDINARY};

use crate::Clock;
use crate::dma::SlotMemory;
use core::cell::Cell;
use vmcore::PhysAddr;

/// A clock on which every look costs a millisecond, so that every wait ends.
#[derive(Default)]
pub(crate) struct FakeClock {
    now: Cell<u64>,
}

impl Clock for FakeClock {
    fn milliseconds(&self) -> u64 {
        self.now.set(self.now.get() + 1);
        self.now.get()
    }
}

/// All memory of the test is the slot, at its own address.
pub(crate) fn slot() -> SlotMemory {
    SlotMemory { address: 0, start: PhysAddr::new(0), length: usize::MAX }
}

/// The physical address of bytes of the test.
pub(crate) fn physical(bytes: &[u8]) -> PhysAddr {
    PhysAddr::new(bytes.as_ptr() as u64)
}
