//! Fakes for tests: a clock, slot memory whose physical addresses are its virtual ones, and virtio
//! devices that process their queues like devices do: by physical address.

mod console;
mod device;
mod disk;
mod mem;

pub(crate) use console::Console;
pub(crate) use device::{Base, Chain, FakeDevice, FakeTransport};
pub(crate) use disk::{Disk, Done, ORDINARY};
pub(crate) use mem::{BLOCK, Mem};

use crate::Clock;
use crate::dma::SlotMemory;
use core::cell::Cell;
use vmcore::PhysAddr;

/// A clock on which every look costs a millisecond, so that every wait ends.
#[derive(Default)]
pub(crate) struct FakeClock<'a> {
    now: Cell<u64>,
    /// What else happens while somebody waits.
    tick: Option<&'a dyn Fn()>,
}

impl<'a> FakeClock<'a> {
    /// A clock on which `tick` happens whenever somebody looks.
    pub(crate) fn with(tick: &'a dyn Fn()) -> Self {
        Self { now: Cell::default(), tick: Some(tick) }
    }
}

impl Clock for FakeClock<'_> {
    fn milliseconds(&self) -> u64 {
        if let Some(tick) = self.tick {
            tick();
        }
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
