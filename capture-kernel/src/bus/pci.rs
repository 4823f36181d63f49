//! PCI: every function that a bus walk reaches, and how to keep all of them quiet but one.

use crate::{Clock, Deadline};
use alloc::vec::Vec;
use virtio_drivers::transport::DeviceType;
use virtio_drivers::transport::pci::bus::{
    CapabilityInfo, Command, ConfigurationAccess, DeviceFunction, DeviceFunctionInfo, HeaderType,
    PCI_CAP_ID_VNDR, PciRoot,
};
use virtio_drivers::transport::pci::virtio_device_type;

/// Time for pending transactions to drain, in milliseconds.
const DRAIN_TIMEOUT: u64 = 100;
/// No machine that we know has more; a walk that finds more is reading garbage.
const MAX_FUNCTIONS: usize = 4096;

/// Class code of bridges: never touched, because the path to the target may lead through them.
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

/// Offset of the command register, and above it the status register.
const COMMAND: u8 = 4;
/// Offset of the first BAR, and their number.
const BAR_0: u8 = 0x10;
const BARS: usize = 6;
/// Bits of a memory BAR that are not the address.
const BAR_FLAGS: u32 = 15;
/// Kind of a BAR: I/O (bit 0), or memory with an address of 32 or 64 bits.
const BAR_TYPE: u32 = 0b111;
const BAR_64: u32 = 0b100;
/// The largest size that a BAR is taken to have, as a power of two (16 MiB).
const LARGEST_BAR: u32 = 24;

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

/// True if it is a virtio device of this kind.
pub fn is_virtio_kind(info: &DeviceFunctionInfo, kind: DeviceType) -> bool {
    virtio_device_type(info) == Some(kind)
}

/// True if it is of this class, subclass and programming interface.
pub fn is_class(info: &DeviceFunctionInfo, class: [u8; 3]) -> bool {
    [info.class, info.subclass, info.prog_if] == class
}

/// True if it is a virtio device of any type.
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
    memory_bar(access, at, bar)?.checked_add(offset.into())
}

/// The place and the length of the first registers in a memory BAR, `most` bytes at most. A BAR is
/// as large as its address allows, or smaller.
pub fn registers(
    access: &impl ConfigurationAccess,
    at: DeviceFunction,
    bar: u8,
    most: usize,
) -> Option<(u64, usize)> {
    let address = memory_bar(access, at, bar)?;
    let largest = 1 << address.trailing_zeros().min(LARGEST_BAR);
    Some((address, most.min(largest)))
}

/// The physical address in a memory BAR, as it is: to find its size would take the device off the
/// bus.
fn memory_bar(access: &impl ConfigurationAccess, at: DeviceFunction, bar: u8) -> Option<u64> {
    let word = |bar: u8| (bar < BARS as u8).then(|| access.read_word(at, BAR_0 + 4 * bar));
    let low = word(bar)?;
    let high = match low & BAR_TYPE {
        0 => 0,
        BAR_64 => word(bar + 1)?,
        _ => return None,
    };
    let address = u64::from(high) << 32 | u64::from(low & !BAR_FLAGS);
    (address != 0).then_some(address)
}

/// Configuration space of one function, in which the command register and the BARs are copies.
///
/// virtio-drivers finds the size of a BAR anew for each structure in it, and each time takes the
/// device off the bus. Under a hypervisor each of these writes has all guest memory mapped again.
/// Here nothing is written: a BAR, whose address is a multiple of its size, is taken to be as large
/// as its address allows.
#[derive(Clone)]
pub struct CopiedBars<C> {
    access: C,
    at: DeviceFunction,
    command: u32,
    bars: [u32; BARS],
    /// The value that each memory BAR reads as after all ones were written to it; else zero.
    masks: [u32; BARS],
}

impl<C: ConfigurationAccess> CopiedBars<C> {
    /// A copy of the present state of function `at`.
    pub fn new(access: C, at: DeviceFunction) -> Self {
        let bars = core::array::from_fn(|bar| access.read_word(at, BAR_0 + 4 * bar as u8));
        let mut masks = [0; BARS];
        for bar in 0..BARS as u8 {
            let Some(address) = memory_bar(&access, at, bar) else { continue };
            let size = 1 << address.trailing_zeros().min(LARGEST_BAR);
            let index = usize::from(bar);
            masks[index] = (size as u32).wrapping_neg() | bars[index] & BAR_FLAGS;
            if bars[index] & BAR_TYPE == BAR_64 {
                masks[index + 1] = u32::MAX;
            }
        }
        Self { command: access.read_word(at, COMMAND), access, at, bars, masks }
    }

    /// The BAR that a word of configuration space is.
    fn bar(&self, at: DeviceFunction, offset: u8) -> Option<usize> {
        let bar = usize::from(offset.checked_sub(BAR_0)? / 4);
        (at == self.at && bar < BARS).then_some(bar)
    }
}

impl<C: ConfigurationAccess + Clone> ConfigurationAccess for CopiedBars<C> {
    fn read_word(&self, at: DeviceFunction, offset: u8) -> u32 {
        match self.bar(at, offset) {
            Some(bar) => self.bars[bar],
            None if at == self.at && offset == COMMAND => self.command,
            None => self.access.read_word(at, offset),
        }
    }

    /// Changes the copies, and nothing else.
    fn write_word(&mut self, at: DeviceFunction, offset: u8, data: u32) {
        if let Some(bar) = self.bar(at, offset) {
            self.bars[bar] = if data == u32::MAX { self.masks[bar] } else { data };
        } else if at == self.at && offset == COMMAND {
            // The upper half is the status register.
            self.command = self.command & 0xffff_0000 | data & 0xffff;
        }
    }

    #[expect(unsafe_code, reason = "the trait's method is unsafe; this one is a plain clone")]
    unsafe fn unsafe_clone(&self) -> Self {
        self.clone()
    }
}

/// Takes the bus away from every endpoint and waits for transactions in flight; returns the
/// endpoints that did not finish in time.
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
    let deadline = Deadline::after(clock, DRAIN_TIMEOUT);
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
    use virtio_drivers::transport::pci::bus::BarInfo;

    type Words = BTreeMap<(u8, u8, u8), u32>;

    /// Configuration space: absent registers read as all ones.
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
    const ALL_ON: u32 = 0b111;

    fn add(space: &Space, bus: u8, device: u8, id: u32, class: u32, header: u32) {
        let mut words = space.0.borrow_mut();
        words.insert((bus, device, 0x00), id);
        words.insert((bus, device, 0x04), ALL_ON);
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
            assert_eq!(command(&space, bus, device), ALL_ON, "bridge {bus}:{device}");
        }
        set_bus_master(&mut root, found[1].0, true);
        assert_eq!(command(&space, 0, 1), ALL_ON);
        root.set_command(found[1].0, Command::empty());
        decode_memory(&mut root, found[1].0);
        assert_eq!(command(&space, 0, 1), 0b010);
    }

    /// Capabilities as QEMU's virtio-blk-pci has them: MSI-X, then the common configuration, at
    /// offset 0x2000 of BAR 4.
    #[test]
    fn the_common_configuration_is_found() {
        let space = machine();
        {
            let mut words = space.0.borrow_mut();
            words.insert((1, 0, 0x04), ALL_ON | 1 << 20);
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
        let set = |offset, word| space.0.borrow_mut().insert((1, 0, offset), word);
        set(0x20, 0xfebf_4004);
        set(0x24, 0x12);
        let high = virtio_configuration(&mut root, &space, found[3].0);
        assert_eq!(high, Some(0x12_febf_6000), "64 bits");
        set(0x20, 0xc001);
        assert_eq!(virtio_configuration(&mut root, &space, found[3].0), None, "I/O");
        set(0x88, 6);
        assert_eq!(virtio_configuration(&mut root, &space, found[3].0), None, "no such BAR");
    }

    /// A BAR of 16 KiB with an address of 64 bits. Counts the writes that reach the function.
    #[derive(Clone, Default)]
    struct Sizing(Space, Rc<core::cell::Cell<u32>>);

    impl ConfigurationAccess for Sizing {
        fn read_word(&self, at: DeviceFunction, offset: u8) -> u32 {
            self.0.read_word(at, offset)
        }

        fn write_word(&mut self, at: DeviceFunction, offset: u8, data: u32) {
            self.1.set(self.1.get() + 1);
            let data = match offset {
                0x20 => data & 0xffff_c000 | 0b1100,
                _ => data,
            };
            self.0.write_word(at, offset, data);
        }

        #[expect(unsafe_code, reason = "the trait's method is unsafe; this one is a plain clone")]
        unsafe fn unsafe_clone(&self) -> Self {
            self.clone()
        }
    }

    #[test]
    fn a_bar_is_at_least_as_large_as_it_is_and_is_not_written_to() {
        let space = machine();
        let access = Sizing(space.clone(), Rc::default());
        let at = DeviceFunction { bus: 1, device: 0, function: 0 };
        let set = |offset, word| space.0.borrow_mut().insert((1, 0, offset), word);
        set(0x10, 0xc001);
        set(0x24, 0x12);
        let size = |bar: Option<BarInfo>| bar.and_then(|bar| bar.memory_address_size());
        for (low, largest) in
            [(0xfebf_400c, 0x4000), (0xfebf_800c, 0x8000), (0x8000_000c, 1 << 24), (0xc, 1 << 24)]
        {
            set(0x20, low);
            let truth = PciRoot::new(access.clone()).bar_info(at, 4).expect("a BAR");
            let (address, real) = size(truth).expect("memory");
            let (writes, before) = (access.1.get(), space.0.borrow().clone());
            let mut copy = PciRoot::new(CopiedBars::new(access.clone(), at));
            for _ in 0..2 {
                assert_eq!(size(copy.bar_info(at, 4).expect("a BAR")), Some((address, largest)));
            }
            assert!((0x4000..=largest).contains(&real), "{real:#x}");
            assert_eq!(copy.bar_info(at, 0).expect("a BAR"), None, "I/O");
            assert_eq!(copy.bar_info(at, 1).expect("a BAR"), None, "nothing is in it");
            assert_eq!(access.1.get(), writes, "each write takes the device off the bus");
            assert_eq!(*space.0.borrow(), before, "all is as it was");
        }
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
            words.insert((1, 0, 0x04), ALL_ON | 1 << 20);
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
