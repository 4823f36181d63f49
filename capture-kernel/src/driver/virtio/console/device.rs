//! The device behind a console.

use crate::driver::Error;
use crate::driver::dma::{SlotMemory, Stopped};
use crate::driver::virtio::device::{self, Features};
use crate::{Clock, Deadline};
use core::mem::ManuallyDrop;
use virtio_drivers::transport::Transport;

/// The device and the things that every wait for it needs.
pub(super) struct Device<'c, T: Transport> {
    /// Never dropped: virtio-drivers' PCI transport would wait for a reset without an end.
    pub(super) transport: ManuallyDrop<T>,
    pub(super) slot: SlotMemory,
    pub(super) clock: &'c dyn Clock,
    /// Milliseconds that any one request may take.
    pub(super) timeout: u64,
}

impl<T: Transport> Device<'_, T> {
    pub(super) fn negotiate(&mut self) -> Result<(), Error> {
        let (transport, translation) = (&mut *self.transport, self.slot.translation);
        let features = device::negotiate(transport, self.clock, Features::MULTIPORT, translation)?;
        let has_names = features.contains(Features::MULTIPORT);
        has_names.then_some(()).ok_or(Error::NoNamedPorts)
    }

    pub(super) fn reset(&mut self) -> Result<Stopped, Error> {
        device::reset(&mut *self.transport, self.clock)
    }

    pub(super) fn deadline(&self) -> Deadline {
        Deadline::after(self.clock, self.timeout)
    }
}
