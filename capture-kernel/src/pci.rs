//! PCI: every function that a bus walk reaches, and how to keep all of them quiet but one.

use crate::{Clock, Deadline};
use alloc::vec::Vec;
use virtio_drivers::transport::DeviceType;
use virtio_drivers::transport::pci::bus::{
    CapabilityInfo, Command, ConfigurationAccess, DeviceFunction, DeviceFunctionInfo, HeaderType,
    PCI_CAP_ID_VNDR, PciRoot,
};
use virtio_drivers::transport::pci::virtio_device_type;

/// How long pending transactions may take to drain, in milliseconds.
const DRAIN_PATIENCE: u64 = 100;
/// No machine that we know has more; a walk that finds more is reading garbage.
const MAX_FUNCTIONS: usize = 4096;

/// Class code of bridges: never touched, because the target may lie behind them.
const CLASS_BRIDGE: u8 = 0x06;
/// Configuration offset of primary, secondary and subordinate bus numbers of a PCI-to-PCI bridge.
const BUS_NUMBERS: u8 = 0x18;
/// Capability id of PCI Express.
const CAPABILITY_EXPRESS: u8 = 0x10;
/// A damaged list of capabilities may lead in circles: there is room for so many.
const MOST_CAPABILITIES: usize = 48;
/// `cfg_type` of a virtio capability: the common configuration.
const VIRTIO_COMMON: u16 = 1;
/// Offset of Device Control and Device Status in that capability.
const EXPRESS_DEVICE: u8 = 8;
/// Device Status, in the high half: transactions pending.
const TRANSACTIONS_PENDING: u32 = 1 << (16 + 5);

/// Every function of every bus that the dead kernel left reachable, in the order of the walk.
pub fn functions<C: ConfigurationAccess>(
    root: &PciRoot<C>,
    access: &C,
) -> Vec<(DeviceFunction, DeviceFunctionInfo)> {
    let mut found = Vec::new();
    let mut seen = [false; 256];
    let mut pending = arrayvec::ArrayVec::<u8, 256>::new();
    pending.push(0);
    seen[0] = true;
    while let Some(bus) = pending.pop() {
        for (at, info) in root.enumerate_bus(bus) {
            if info.header_type == HeaderType::PciPciBridge {
                let secondary = (access.read_word(at, BUS_NUMBERS) >> 8) as u8;
                if !core::mem::replace(&mut seen[usize::from(secondary)], true) {
                    pending.push(secondary);
                }
            }
            if found.len() < MAX_FUNCTIONS {
                found.push((at, info));
            }
        }
    }
    found
}

/// Whether it is a virtio device of this kind.
pub fn is_virtio_kind(info: &DeviceFunctionInfo, kind: DeviceType) -> bool {
    virtio_device_type(info) == Some(kind)
}

/// Whether it is a virtio device of any type.
pub fn is_virtio(info: &DeviceFunctionInfo) -> bool {
    virtio_device_type(info).is_some()
}

/// The physical address of a virtio function's common configuration (virtio 1.2, 4.1.4.3), where it
/// has one: a legacy-only device has not.
pub fn virtio_configuration<C: ConfigurationAccess>(
    root: &mut PciRoot<C>,
    access: &C,
    at: DeviceFunction,
) -> Option<u64> {
    let is_common = |capability: &CapabilityInfo| {
        capability.id == PCI_CAP_ID_VNDR && capability.private_header >> 8 == VIRTIO_COMMON
    };
    let common = root.capabilities(at).take(MOST_CAPABILITIES).find(is_common)?;
    let bar = access.read_word(at, common.offset.checked_add(4)?) as u8;
    let offset = access.read_word(at, common.offset.checked_add(8)?);
    let bar = (bar < 6).then(|| root.bar_info(at, bar).ok()).flatten()??;
    let (address, _) = bar.memory_address_size()?;
    address.checked_add(offset.into())
}

/// Takes the bus away from every endpoint and waits for what is still under way; returns those that
/// did not finish in time.
pub fn quiet<C: ConfigurationAccess>(
    root: &mut PciRoot<C>,
    access: &C,
    functions: &[(DeviceFunction, DeviceFunctionInfo)],
    clock: &dyn Clock,
) -> Vec<DeviceFunction> {
    let endpoints = || functions.iter().filter(|(_, info)| info.class != CLASS_BRIDGE);
    for (at, _) in endpoints() {
        set_bus_master(root, *at, false);
    }
    let deadline = Deadline::after(clock, DRAIN_PATIENCE);
    endpoints()
        .map(|(at, _)| *at)
        .filter(|at| !deadline.wait(clock, || !has_pending_transactions(root, access, *at)))
        .collect()
}

/// Gives a function the bus, or takes it away.
pub fn set_bus_master<C: ConfigurationAccess>(
    root: &mut PciRoot<C>,
    at: DeviceFunction,
    allowed: bool,
) {
    let (_, command) = root.get_status_command(at);
    let command = match allowed {
        true => command | Command::BUS_MASTER,
        false => command - Command::BUS_MASTER,
    };
    root.set_command(at, command);
}

/// Lets a function answer at the memory addresses in its BARs.
pub fn decode_memory<C: ConfigurationAccess>(root: &mut PciRoot<C>, at: DeviceFunction) {
    let (_, command) = root.get_status_command(at);
    root.set_command(at, command | Command::MEMORY_SPACE);
}

fn has_pending_transactions<C: ConfigurationAccess>(
    root: &PciRoot<C>,
    access: &C,
    at: DeviceFunction,
) -> bool {
    let mut capabilities = root.capabilities(at).take(MOST_CAPABILITIES);
    let Some(express) = capabilities.find(|capability| capability.id == CAPABILITY_EXPRESS) else {
        return false;
    };
    let status = access.read_word(at, express.offset.saturating_add(EXPRESS_DEVICE));
    status & TRANSACTIONS_PENDING != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::FakeClock;
    use core::cell::RefCell;
    use std::collections::BTreeMap;
    use std::rc::Rc;

    type Words = BTreeMap<(u8, u8, u8), u32>;

    /// Configuration space: what is not there reads as all ones.
    #[derive(Clone, Default)]
    struct Space(Rc<RefCell<Words>>);

    impl ConfigurationAccess for Space {
        fn read_word(&self, at: DeviceFunction, offset: u8) -> u32 {
            let words = self.0.borrow();
            if at.function != 0 || !words.contains_key(&(at.bus, at.device, 0)) {
                return u32::MAX;
            }
            words.get(&(at.bus, at.device, offset)).copied().unwrap_or(0)
        }

        fn write_word(&mut self, at: DeviceFunction, offset: u8, data: u32) {
            let mut words = self.0.borrow_mut();
            let word = words.entry((at.bus, at.device, offset)).or_default();
            // Writing zeros to the status register changes nothing.
            *word = if offset == 4 { *word & 0xffff_0000 | data & 0xffff } else { data };
        }

        #[expect(unsafe_code, reason = "the trait's method is unsafe; this one is a plain clone")]
        unsafe fn unsafe_clone(&self) -> Self {
            self.clone()
        }
    }

    /// Bus master, memory and I/O decoding on.
    const COMMAND: u32 = 0b111;

    fn add(space: &Space, bus: u8, device: u8, id: u32, class: u32, header: u32) {
        let mut words = space.0.borrow_mut();
        words.insert((bus, device, 0x00), id);
        words.insert((bus, device, 0x04), COMMAND);
        words.insert((bus, device, 0x08), class << 24);
        words.insert((bus, device, 0x0c), header << 16);
    }

    fn command(space: &Space, bus: u8, device: u8) -> u32 {
        space.0.borrow()[&(bus, device, 0x04)] & 0xffff
    }

    const VIRTIO_BLK: u32 = 0x1042_1af4;

    /// A host bridge, a disk on bus 0, a bridge to bus 1 with another disk, and there a bridge that
    /// claims to lead back to bus 0.
    fn machine() -> Space {
        let space = Space::default();
        add(&space, 0, 0, 0x1237_8086, 0x06, 0);
        add(&space, 0, 1, 0x1001_1af4, 0x01, 0);
        add(&space, 0, 2, 0x0001_1b36, 0x06, 1);
        add(&space, 1, 0, VIRTIO_BLK, 0x01, 0);
        add(&space, 1, 1, 0x0001_1b36, 0x06, 1);
        space.0.borrow_mut().insert((0, 2, 0x18), 0x0001_0100);
        space.0.borrow_mut().insert((1, 1, 0x18), 0x0000_0001);
        space
    }

    #[test]
    fn the_walk_follows_bridges_once() {
        let space = machine();
        let found = functions(&PciRoot::new(space.clone()), &space);
        let places: Vec<_> = found.iter().map(|(at, _)| (at.bus, at.device)).collect();
        assert_eq!(places, [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]);
        let are =
            |kind| -> Vec<_> { found.iter().map(|(_, info)| is_virtio_kind(info, kind)).collect() };
        assert_eq!(are(DeviceType::Block), [false, true, false, true, false]);
        assert_eq!(are(DeviceType::Console), [false; 5]);
    }

    #[test]
    fn endpoints_lose_the_bus_and_bridges_keep_it() {
        let space = machine();
        let mut root = PciRoot::new(space.clone());
        let found = functions(&root, &space);
        assert_eq!(quiet(&mut root, &space, &found, &FakeClock::default()), []);
        assert_eq!(command(&space, 0, 1) & 0b100, 0);
        assert_eq!(command(&space, 1, 0) & 0b100, 0);
        for (bus, device) in [(0, 0), (0, 2), (1, 1)] {
            assert_eq!(command(&space, bus, device), COMMAND, "bridge {bus}:{device}");
        }
        set_bus_master(&mut root, found[1].0, true);
        assert_eq!(command(&space, 0, 1), COMMAND);
        root.set_command(found[1].0, Command::empty());
        decode_memory(&mut root, found[1].0);
        assert_eq!(command(&space, 0, 1), 0b010);
    }

    /// Capabilities as QEMU's virtio-blk-pci has them: MSI-X, then the common configuration, at offset
    /// 0x2000 of BAR 4.
    #[test]
    fn the_common_configuration_is_found() {
        let space = machine();
        {
            let mut words = space.0.borrow_mut();
            words.insert((1, 0, 0x04), COMMAND | 1 << 20);
            words.insert((1, 0, 0x34), 0x98);
            words.insert((1, 0, 0x98), 0x0004_8411);
            words.insert((1, 0, 0x84), 0x0110_0009);
            words.insert((1, 0, 0x88), 4);
            words.insert((1, 0, 0x8c), 0x2000);
            words.insert((1, 0, 0x20), 0xfebf_4000);
        }
        let mut root = PciRoot::new(space.clone());
        let found = functions(&root, &space);
        let virtio: Vec<_> = found.iter().map(|(_, info)| is_virtio(info)).collect();
        assert_eq!(virtio, [false, true, false, true, false]);
        assert_eq!(virtio_configuration(&mut root, &space, found[3].0), Some(0xfebf_6000));
        assert_eq!(virtio_configuration(&mut root, &space, found[1].0), None);
    }

    /// As on a microVM, where nothing answers at the ports.
    #[test]
    fn without_pci_there_are_no_functions() {
        let space = Space::default();
        assert_eq!(functions(&PciRoot::new(space.clone()), &space), []);
    }

    #[test]
    fn a_device_that_never_drains_is_named() {
        let space = machine();
        {
            let mut words = space.0.borrow_mut();
            // Capabilities: a list at 0x40 with PCI Express, transactions pending.
            words.insert((1, 0, 0x04), COMMAND | 1 << 20);
            words.insert((1, 0, 0x34), 0x40);
            words.insert((1, 0, 0x40), 0x10);
            words.insert((1, 0, 0x48), TRANSACTIONS_PENDING);
        }
        let mut root = PciRoot::new(space.clone());
        let found = functions(&root, &space);
        let busy = quiet(&mut root, &space, &found, &FakeClock::default());
        assert_eq!(busy, [found[3].0]);
    }
}
