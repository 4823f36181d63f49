//! The kinds of controllers that are looked for: one entry for each driver of disks.

use super::Error;
use super::ahci::{self, Ahci};
use super::controller::Controller;
use super::dma::{SlotMemory, Stopped};
use super::nvme::{self, Nvme};
use super::registers::Registers;
use super::virtio::blk::VirtioBlk;
use super::virtio::scsi::VirtioScsi;
use crate::Clock;
use alloc::boxed::Box;
use virtio_drivers::transport::{DeviceType, Transport};

/// Parts that a driver needs.
#[derive(Clone, Copy)]
pub struct Parts<'c> {
    /// Memory for queues and buffers.
    pub slot: SlotMemory,
    /// The time.
    pub clock: &'c dyn Clock,
    /// Milliseconds that any one request may take.
    pub timeout: u64,
}

/// A controller that is ready, or why it is not.
pub type Started<'c> = Result<Box<dyn Controller + 'c>, Error>;

/// A kind of virtio controllers.
pub struct VirtioKind<'c, T: Transport> {
    /// Kind of the device.
    pub kind: DeviceType,
    /// Resets and starts it.
    pub start: fn(T, Parts<'c>) -> Started<'c>,
}

/// The virtio controllers, in the order of the search.
pub fn virtio_kinds<'c, T: Transport + 'c>() -> [VirtioKind<'c, T>; 2] {
    [
        VirtioKind {
            kind: DeviceType::Block,
            start: |transport, Parts { slot, clock, timeout }| {
                Ok(Box::new(VirtioBlk::start(transport, slot, clock, timeout)?))
            },
        },
        VirtioKind {
            kind: DeviceType::ScsiHost,
            start: |transport, Parts { slot, clock, timeout }| {
                Ok(Box::new(VirtioScsi::start(transport, slot, clock, timeout)?))
            },
        },
    ]
}

/// A kind of PCI controllers with registers in memory.
pub struct PciKind {
    /// Its name on the console.
    pub name: &'static str,
    /// Class, subclass and programming interface of its functions.
    pub class: [u8; 3],
    /// The BAR of its registers.
    pub bar: u8,
    /// The most bytes of registers that are used.
    pub length: usize,
    /// Makes it stop all DMA, whatever the dead kernel has left it doing, and waits until it has:
    /// so many milliseconds at most. It cannot do DMA while it is called.
    pub quiet: fn(&mut dyn Registers, &dyn Clock, u64) -> Result<Stopped, Error>,
    /// Starts it. It can do DMA.
    pub start: for<'c> fn(Box<dyn Registers>, Parts<'c>) -> Started<'c>,
}

/// The PCI controllers, in the order of the search: each is made quiet before old memory is read,
/// and its disks are looked at after those of [`virtio_kinds`].
pub const PCI_KINDS: &[PciKind] = &[
    PciKind {
        name: "NVMe",
        class: [0x01, 0x08, 0x02],
        bar: 0,
        length: 0x2000,
        quiet: nvme::disable,
        start: |registers, Parts { slot, clock, timeout }| {
            Ok(Box::new(Nvme::start(registers, slot, clock, timeout)?))
        },
    },
    PciKind {
        name: "AHCI",
        class: [0x01, 0x06, 0x01],
        bar: 5,
        length: 0x1100,
        quiet: ahci::quiet,
        start: |registers, Parts { slot, clock, timeout }| {
            Ok(Box::new(Ahci::start(registers, slot, clock, timeout)?))
        },
    },
];
