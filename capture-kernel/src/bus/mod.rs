//! Buses: devices in places, found by their virtio kind.

pub mod mmio;
pub mod pci;

use crate::Clock;
use crate::driver::Error;
use crate::driver::registers::Registers;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use log::warn;
use virtio_drivers::transport::pci::bus::DeviceFunction;
use virtio_drivers::transport::{DeviceType, Transport};
use vmcore::PhysAddr;

/// Place of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A function on the PCI bus.
    Pci(DeviceFunction),
    /// Registers at this physical address.
    Mmio(PhysAddr),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pci(at) => write!(f, "PCI {at}"),
            Self::Mmio(at) => write!(f, "MMIO {at}"),
        }
    }
}

/// A way on which virtio devices are found, all of them reset.
pub trait Bus {
    /// The registers of a device.
    type Transport: Transport;

    /// Places of its devices of this kind.
    fn devices(&self, kind: DeviceType) -> Vec<Place>;

    /// Resets the device at `place` again, and only then lets it do DMA.
    ///
    /// # Errors
    /// The reason why the device cannot be used.
    fn start(&mut self, place: Place, clock: &dyn Clock) -> Result<Self::Transport, Error>;

    /// Places of its controllers of this class, subclass and programming interface, which are
    /// found by nothing else.
    fn controllers(&self, _class: [u8; 3]) -> Vec<Place> {
        Vec::new()
    }

    /// The registers in a memory BAR of the controller at `place`, `length` bytes at most. It can
    /// do no DMA yet.
    ///
    /// # Errors
    /// [`Error::NoConfiguration`].
    fn registers(
        &mut self,
        _place: Place,
        _bar: u8,
        _length: usize,
    ) -> Result<Box<dyn Registers>, Error> {
        Err(Error::NoConfiguration)
    }

    /// Lets the controller at `place`, which is quiet, do DMA.
    fn allow_dma(&mut self, _place: Place) {}

    /// From now on the device at `place` does no DMA.
    fn stop(&mut self, place: Place, clock: &dyn Clock);
}

/// Both of them, each with its devices.
pub type Buses<'b, T> = [&'b mut dyn Bus<Transport = T>; 2];

/// The first device of this kind on one of `buses` that `open` takes, and where it is. The others
/// are stopped, and the reason for each is logged.
pub fn find<T: Transport, D, E: fmt::Display + From<Error>>(
    buses: Buses<'_, T>,
    kind: DeviceType,
    clock: &dyn Clock,
    mut open: impl FnMut(T) -> Result<D, E>,
) -> Option<(Place, D)> {
    for bus in buses {
        for place in bus.devices(kind) {
            match bus.start(place, clock).map_err(E::from).and_then(&mut open) {
                Ok(device) => return Some((place, device)),
                Err(failure) => warn!("{} at {place}: {failure}", name(kind)),
            }
            bus.stop(place, clock);
        }
    }
    None
}

/// The name that QEMU and Linux use for a device of this kind, if it is one that is used here.
pub(crate) fn name(kind: DeviceType) -> &'static str {
    match kind {
        DeviceType::Block => "virtio-blk",
        DeviceType::Console => "virtio-console",
        DeviceType::Memory => "virtio-mem",
        DeviceType::ScsiHost => "virtio-scsi",
        _ => "virtio device",
    }
}
