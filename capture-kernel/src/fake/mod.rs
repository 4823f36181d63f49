//! Fakes for tests: a clock, slot memory whose physical addresses are its virtual ones, and virtio
//! devices that process their queues like devices do: by physical address.

pub(crate) mod ahci;
mod bus;
mod console;
mod device;
mod disk;
mod mem;
mod nvme;
mod pages;
mod scsi;

pub(crate) use bus::FakeBus;
pub(crate) use console::Console;
pub(crate) use device::{ACCESS_PLATFORM, Base, Chain, FakeDevice, FakeTransport};
pub(crate) use disk::{Disk, Done, ORDINARY};
pub(crate) use mem::{BLOCK, Mem};
pub(crate) use nvme::{Space, Ssd, SsdRegisters};
pub(crate) use pages::Pages;
pub(crate) use scsi::{Answers, Scsi, ScsiDisk, ScsiFault};
pub(crate) use vmcore::fake::logged;

use crate::Clock;
use crate::driver::dma::{DmaPiece, SlotMemory};
use crate::driver::translation::Translation;
use core::cell::Cell;
use std::vec::Vec;
use vmcore::{Error, PhysAddr, PhysRange, ReadPhys};

/// A clock on which every look costs a millisecond, so that every wait ends.
#[derive(Default)]
pub(crate) struct FakeClock<'a> {
    now: Cell<u64>,
    /// Events that happen during a wait.
    tick: Option<&'a dyn Fn()>,
}

impl<'a> FakeClock<'a> {
    /// A clock on which `tick` happens at each reading.
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
    let (start, translation) = (PhysAddr::new(0), Translation::Unknown);
    SlotMemory { address: 0, start, length: usize::MAX, translation }
}

/// The physical address of bytes of the test.
pub(crate) fn physical(bytes: &[u8]) -> PhysAddr {
    PhysAddr::new(bytes.as_ptr() as u64)
}

/// Bytes of the test as old memory.
pub(crate) fn old(bytes: &[u8]) -> DmaPiece {
    DmaPiece::Old(PhysRange::new(physical(bytes), bytes.len() as u64).expect("no wrap"))
}

/// Old memory that is bytes of the test.
pub(crate) struct Pointers;

impl ReadPhys for Pointers {
    #[expect(unsafe_code, reason = "physical addresses of the test are pointers")]
    fn read_phys(&self, at: PhysAddr, into: &mut [u8]) -> Result<(), Error> {
        // SAFETY: the test reads its own vectors.
        let bytes = unsafe { core::slice::from_raw_parts(at.get() as *const u8, into.len()) };
        into.copy_from_slice(bytes);
        Ok(())
    }
}

/// The bytes of a piece, as a device reads them.
pub(crate) fn bytes_of(piece: &DmaPiece) -> Vec<u8> {
    let mut bytes = std::vec![0; piece.length() as usize];
    match piece {
        DmaPiece::Old(range) => Pointers.read_phys(range.start(), &mut bytes).expect("pointers"),
        DmaPiece::Frozen(frozen, part) => bytes.copy_from_slice(&frozen.bytes()[part.clone()]),
        DmaPiece::Zeros(count) => assert!(*count <= crate::driver::dma::ZEROS),
    }
    bytes
}
