//! What the transports of virtio have in common: block devices in places, one of which is the target.

use crate::dma::SlotMemory;
use crate::target::disk::DumpDisk;
use crate::virtio::blk::VirtioBlk;
use crate::{Clock, Failure};
use alloc::vec::Vec;
use core::fmt;
use dumpfile::DiskId;
use virtio_drivers::transport::Transport;
use virtio_drivers::transport::pci::bus::DeviceFunction;
use vmcore::PhysAddr;

/// Where a device is.
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

    /// Where its block devices are.
    fn disks(&self) -> Vec<Place>;

    /// Resets the device at `place` again, and only then lets it do DMA.
    ///
    /// # Errors
    /// Why the device cannot be used.
    fn start(&mut self, place: Place, clock: &dyn Clock) -> Result<Self::Transport, Failure>;

    /// From now on the device at `place` does no DMA.
    fn stop(&mut self, place: Place, clock: &dyn Clock);
}

/// The virtio disk on one of `buses` whose header carries `id`, which has `patience` milliseconds for
/// any one request. The others are stopped; what becomes of each goes to `say`.
///
/// # Errors
/// [`Failure::NoSuchDisk`].
pub fn find_disk<'c, T: Transport>(
    buses: [&mut dyn Bus<Transport = T>; 2],
    id: DiskId,
    slot: SlotMemory,
    clock: &'c dyn Clock,
    patience: u64,
    say: &mut dyn FnMut(fmt::Arguments<'_>),
) -> Result<DumpDisk<'c, VirtioBlk<'c, T>>, Failure> {
    for bus in buses {
        for place in bus.disks() {
            let opened = bus
                .start(place, clock)
                .and_then(|transport| VirtioBlk::start(transport, slot, clock, patience))
                .and_then(|device| DumpDisk::open(device, id, slot, clock));
            match opened {
                Ok(disk) => {
                    say(format_args!("target virtio-blk at {place}, id {id}"));
                    return Ok(disk);
                }
                Err(failure) => say(format_args!("virtio-blk at {place}: {failure}")),
            }
            bus.stop(place, clock);
        }
    }
    Err(Failure::NoSuchDisk(id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{Disk, FakeClock, FakeTransport, slot};
    use core::cell::RefCell;
    use dumpfile::DiskHeader;
    use std::rc::Rc;
    use std::string::{String, ToString};
    use std::vec;

    const OURS: DiskId = DiskId([0xa5; 16]);
    const OTHER: DiskId = DiskId([1; 16]);

    /// Disks with registers in memory, from 4 KiB on, and those of them that were stopped.
    #[derive(Default)]
    struct FakeBus {
        disks: Vec<Rc<RefCell<Disk>>>,
        started: Vec<u64>,
        stopped: Vec<u64>,
    }

    impl FakeBus {
        fn with(ids: &[DiskId]) -> Self {
            let disk = |id: &DiskId| {
                let mut bytes = vec![0; 8192];
                bytes[..4096].copy_from_slice(&DiskHeader::new(*id).encode());
                Disk::new(bytes)
            };
            Self { disks: ids.iter().map(disk).collect(), ..Self::default() }
        }
    }

    impl Bus for FakeBus {
        type Transport = FakeTransport;

        fn disks(&self) -> Vec<Place> {
            (1..=self.disks.len() as u64)
                .map(|page| Place::Mmio(PhysAddr::new(page << 12)))
                .collect()
        }

        fn start(&mut self, place: Place, _: &dyn Clock) -> Result<FakeTransport, Failure> {
            let Place::Mmio(at) = place else { panic!("{place}") };
            self.started.push(at.get());
            Ok(FakeTransport::new(&self.disks[(at.get() >> 12) as usize - 1]))
        }

        fn stop(&mut self, place: Place, _: &dyn Clock) {
            let Place::Mmio(at) = place else { panic!("{place}") };
            self.stopped.push(at.get());
        }
    }

    fn find(first: &mut FakeBus, second: &mut FakeBus) -> (Option<Failure>, Vec<String>) {
        let (clock, mut said) = (FakeClock::default(), Vec::new());
        let mut say = |text: fmt::Arguments<'_>| said.push(text.to_string());
        let found = find_disk([first, second], OURS, slot(), &clock, 100, &mut say);
        (found.err(), said)
    }

    #[test]
    fn the_target_may_be_on_the_second_bus() {
        let mut first = FakeBus::with(&[OTHER]);
        let mut second = FakeBus::with(&[OTHER, OURS, OURS]);
        second.disks[0].borrow_mut().features |= 1 << 33;
        let (failure, said) = find(&mut first, &mut second);
        assert_eq!(failure, None);
        assert_eq!((first.stopped, first.disks[0].borrow().status), (vec![0x1000], 0));
        assert_eq!(
            (&second.started[..], &second.stopped[..]),
            (&[0x1000, 0x2000][..], &[0x1000][..])
        );
        assert!(said[1].contains("virtio-blk at MMIO 0x1000: ") && said[1].contains("IOMMU"));
        assert_eq!(said[2], std::format!("target virtio-blk at MMIO 0x2000, id {OURS}"));
    }

    #[test]
    fn without_the_id_nothing_is_written_and_all_are_stopped() {
        let mut buses = [FakeBus::default(), FakeBus::with(&[OTHER, OTHER])];
        let [first, second] = &mut buses;
        assert_eq!(find(first, second).0, Some(Failure::NoSuchDisk(OURS)));
        assert_eq!(second.stopped, [0x1000, 0x2000]);
        assert!(second.disks.iter().all(|disk| disk.borrow().writes == 0));
    }
}
