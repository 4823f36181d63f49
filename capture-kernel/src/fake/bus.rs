//! A fake bus of virtio devices.

use super::{Disk, FakeDevice, FakeTransport};
use crate::Clock;
use crate::bus::{Bus, Place};
use crate::driver::Error;
use core::cell::RefCell;
use dumpfile::{DiskHeader, DiskId};
use std::rc::Rc;
use std::vec::Vec;
use virtio_drivers::transport::DeviceType;
use vmcore::PhysAddr;

/// Devices with registers in memory, from 4 KiB on, and those of them that were stopped.
pub(crate) struct FakeBus<D> {
    pub(crate) devices: Vec<Rc<RefCell<D>>>,
    pub(crate) started: Vec<u64>,
    pub(crate) stopped: Vec<u64>,
}

impl<D> FakeBus<D> {
    pub(crate) fn new(devices: Vec<Rc<RefCell<D>>>) -> Self {
        Self { devices, started: Vec::new(), stopped: Vec::new() }
    }
}

impl FakeBus<Disk> {
    /// Disks that carry these ids.
    pub(crate) fn with(ids: &[DiskId]) -> Self {
        let disk = |id: &DiskId| {
            let header = DiskHeader::new(*id).encode();
            Disk::new([header, [0; 4096]].concat())
        };
        Self::new(ids.iter().map(disk).collect())
    }
}

impl<D: FakeDevice> Bus for FakeBus<D> {
    type Transport = FakeTransport<D>;

    fn devices(&self, kind: DeviceType) -> Vec<Place> {
        let count = if kind == D::KIND { self.devices.len() as u64 } else { 0 };
        (1..=count).map(|page| Place::Mmio(PhysAddr::new(page << 12))).collect()
    }

    fn start(&mut self, place: Place, _: &dyn Clock) -> Result<FakeTransport<D>, Error> {
        let Place::Mmio(at) = place else { panic!("{place}") };
        self.started.push(at.get());
        Ok(FakeTransport::new(&self.devices[(at.get() >> 12) as usize - 1]))
    }

    fn stop(&mut self, place: Place, _: &dyn Clock) {
        let Place::Mmio(at) = place else { panic!("{place}") };
        self.stopped.push(at.get());
    }
}
