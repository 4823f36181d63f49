//! What the transports of virtio have in common: devices in places, one of which is the target.

use crate::dma::SlotMemory;
use crate::target::disk::DumpDisk;
use crate::virtio::blk::VirtioBlk;
use crate::virtio::console::{PortList, PortName, VirtioConsole};
use crate::{Clock, Failure};
use alloc::vec::Vec;
use core::fmt;
use dumpfile::DiskId;
use virtio_drivers::transport::pci::bus::DeviceFunction;
use virtio_drivers::transport::{DeviceType, Transport};
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

    /// Where its devices of this kind are.
    fn devices(&self, kind: DeviceType) -> Vec<Place>;

    /// Resets the device at `place` again, and only then lets it do DMA.
    ///
    /// # Errors
    /// Why the device cannot be used.
    fn start(&mut self, place: Place, clock: &dyn Clock) -> Result<Self::Transport, Failure>;

    /// From now on the device at `place` does no DMA.
    fn stop(&mut self, place: Place, clock: &dyn Clock);
}

/// Both of them, each with its devices.
pub type Buses<'b, T> = [&'b mut dyn Bus<Transport = T>; 2];

/// The first device of this kind on one of `buses` that `open` takes, and where it is. The others are
/// stopped; what becomes of each goes to `say`.
pub fn find<T: Transport, D>(
    buses: Buses<'_, T>,
    kind: DeviceType,
    clock: &dyn Clock,
    mut open: impl FnMut(T) -> Result<D, Failure>,
    say: &mut dyn FnMut(fmt::Arguments<'_>),
) -> Option<(Place, D)> {
    for bus in buses {
        for place in bus.devices(kind) {
            match bus.start(place, clock).and_then(&mut open) {
                Ok(device) => return Some((place, device)),
                Err(failure) => say(format_args!("{} at {place}: {failure}", name(kind))),
            }
            bus.stop(place, clock);
        }
    }
    None
}

/// What QEMU and Linux call a device of this kind, where it is one that can be a target.
fn name(kind: DeviceType) -> &'static str {
    match kind {
        DeviceType::Block => "virtio-blk",
        DeviceType::Console => "virtio-console",
        _ => "virtio device",
    }
}

/// The virtio disk on one of `buses` whose header carries `id`, which has `patience` milliseconds for
/// any one request. The others are stopped; what becomes of each goes to `say`.
///
/// # Errors
/// [`Failure::NoSuchDisk`].
pub fn find_disk<'c, T: Transport>(
    buses: Buses<'_, T>,
    id: DiskId,
    slot: SlotMemory,
    clock: &'c dyn Clock,
    patience: u64,
    say: &mut dyn FnMut(fmt::Arguments<'_>),
) -> Result<DumpDisk<'c, VirtioBlk<'c, T>>, Failure> {
    let open = |transport| {
        let device = VirtioBlk::start(transport, slot, clock, patience)?;
        DumpDisk::open(device, id, slot, clock)
    };
    let found = find(buses, DeviceType::Block, clock, open, say);
    let (place, disk) = found.ok_or(Failure::NoSuchDisk(id))?;
    say(format_args!("target virtio-blk at {place}, id {id}"));
    Ok(disk)
}

/// The virtio console on one of `buses` that has a port called `name`. The others are stopped; what
/// becomes of each goes to `say`.
///
/// # Errors
/// [`Failure::NoSuchPort`], with the names that there are.
pub fn find_console<'c, T: Transport>(
    buses: Buses<'_, T>,
    name: PortName,
    slot: SlotMemory,
    clock: &'c dyn Clock,
    patience: u64,
    say: &mut dyn FnMut(fmt::Arguments<'_>),
) -> Result<VirtioConsole<'c, T>, Failure> {
    let mut all = PortList::default();
    let open = |transport| {
        VirtioConsole::open(transport, name, slot, clock, patience).inspect_err(|failure| {
            if let Failure::NoSuchPort { found, .. } = failure {
                all.join(found);
            }
        })
    };
    let found = find(buses, DeviceType::Console, clock, open, say);
    let (place, console) = found.ok_or(Failure::NoSuchPort { name, found: all })?;
    say(format_args!("target virtio-console at {place}, port {name}"));
    Ok(console)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{Console, Disk, FakeClock, FakeDevice, FakeTransport, slot};
    use core::cell::RefCell;
    use dumpfile::DiskHeader;
    use std::rc::Rc;
    use std::string::{String, ToString};
    use std::vec;

    const OURS: DiskId = DiskId([0xa5; 16]);
    const OTHER: DiskId = DiskId([1; 16]);

    /// Devices with registers in memory, from 4 KiB on, and those of them that were stopped.
    struct FakeBus<D> {
        devices: Vec<Rc<RefCell<D>>>,
        started: Vec<u64>,
        stopped: Vec<u64>,
    }

    impl<D> FakeBus<D> {
        fn new(devices: Vec<Rc<RefCell<D>>>) -> Self {
            Self { devices, started: Vec::new(), stopped: Vec::new() }
        }
    }

    impl FakeBus<Disk> {
        fn with(ids: &[DiskId]) -> Self {
            let disk = |id: &DiskId| {
                let mut bytes = vec![0; 8192];
                bytes[..4096].copy_from_slice(&DiskHeader::new(*id).encode());
                Disk::new(bytes)
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

        fn start(&mut self, place: Place, _: &dyn Clock) -> Result<FakeTransport<D>, Failure> {
            let Place::Mmio(at) = place else { panic!("{place}") };
            self.started.push(at.get());
            Ok(FakeTransport::new(&self.devices[(at.get() >> 12) as usize - 1]))
        }

        fn stop(&mut self, place: Place, _: &dyn Clock) {
            let Place::Mmio(at) = place else { panic!("{place}") };
            self.stopped.push(at.get());
        }
    }

    fn search(
        first: &mut FakeBus<Disk>,
        second: &mut FakeBus<Disk>,
    ) -> (Option<Failure>, Vec<String>) {
        let (clock, mut said) = (FakeClock::default(), Vec::new());
        let mut say = |text: fmt::Arguments<'_>| said.push(text.to_string());
        let found = find_disk([first, second], OURS, slot(), &clock, 100, &mut say);
        (found.err(), said)
    }

    #[test]
    fn the_target_may_be_on_the_second_bus() {
        let mut first = FakeBus::with(&[OTHER]);
        let mut second = FakeBus::with(&[OTHER, OURS, OURS]);
        second.devices[0].borrow_mut().base.features |= 1 << 33;
        let (failure, said) = search(&mut first, &mut second);
        assert_eq!(failure, None);
        assert_eq!((first.stopped, first.devices[0].borrow().base.status), (vec![0x1000], 0));
        assert_eq!(
            (&second.started[..], &second.stopped[..]),
            (&[0x1000, 0x2000][..], &[0x1000][..])
        );
        assert!(said[1].contains("virtio-blk at MMIO 0x1000: ") && said[1].contains("IOMMU"));
        assert_eq!(said[2], std::format!("target virtio-blk at MMIO 0x2000, id {OURS}"));
    }

    #[test]
    fn without_the_id_nothing_is_written_and_all_are_stopped() {
        let mut buses = [FakeBus::with(&[]), FakeBus::with(&[OTHER, OTHER])];
        let [first, second] = &mut buses;
        assert_eq!(search(first, second).0, Some(Failure::NoSuchDisk(OURS)));
        assert_eq!(second.stopped, [0x1000, 0x2000]);
        assert!(second.devices.iter().all(|disk| disk.borrow().writes == 0));
    }

    #[test]
    fn the_console_that_has_the_port_is_kept_and_the_others_are_stopped() {
        let consoles = [Console::new(), Console::new(), Console::new()];
        consoles[0].borrow_mut().ports = vec![(1, "one")];
        consoles[1].borrow_mut().base.features = 1 << 32;
        let mut first = FakeBus::new(consoles[..1].to_vec());
        let mut second = FakeBus::new(consoles[1..].to_vec());
        let (clock, mut said) = (FakeClock::default(), Vec::new());
        let mut say = |text: fmt::Arguments<'_>| said.push(text.to_string());
        let buses: Buses<'_, _> = [&mut first, &mut second];
        find_console(buses, PortName::new("kdump"), slot(), &clock, 1000, &mut say)
            .expect("is there");
        assert_eq!((first.stopped, second.stopped), (vec![0x1000], vec![0x1000]));
        assert_eq!(consoles.map(|console| console.borrow().base.status == 0), [true, false, false]);
        let one = "virtio-console at MMIO 0x1000: no virtio-console has a port named kdump; ports \
                   found: one (";
        assert!(said[0].starts_with(one), "{}", said[0]);
        assert!(said[1].contains("MMIO 0x1000: a virtio console with a single nameless port"));
        assert_eq!(said[2], "target virtio-console at MMIO 0x2000, port kdump");
    }

    #[test]
    fn without_the_port_all_names_are_said() {
        let mut buses = [Console::new(), Console::new()].map(|console| FakeBus::new(vec![console]));
        buses[1].devices[0].borrow_mut().ports = vec![(7, "\x1b[2Jx"), (8, "another-long-name")];
        let [first, second] = &mut buses;
        let clock = FakeClock::default();
        let found = find_console(
            [first, second],
            PortName::new("vmcore"),
            slot(),
            &clock,
            1000,
            &mut |_| (),
        );
        let failure = found.err().expect("is not there").to_string();
        let names = "named vmcore; ports found: hvc, org.qemu.guest_agent.0, kdump ... (QEMU";
        assert!(failure.contains(names), "{failure}");
        for bus in &buses {
            assert_eq!((&bus.stopped[..], bus.devices[0].borrow().base.status), (&[0x1000][..], 0));
        }
    }
}
