//! The PCI bus: configuration space through ports, and the virtio devices on it.

#![expect(unsafe_code, reason = "port I/O, and the trait of virtio-drivers for it")]

use crate::machine::registers::{self as mapped, Bar, Registers};
use crate::machine::time::Tsc;
use alloc::boxed::Box;
use alloc::vec::Vec;
use boot_stub::pci_config;
use capture_kernel::Clock;
use capture_kernel::bus::pci;
use capture_kernel::bus::pci::CopiedBars;
use capture_kernel::bus::{Bus, Place};
use capture_kernel::driver::Error;
use capture_kernel::driver::kinds::{PCI_KINDS, PciKind};
use capture_kernel::driver::registers;
use capture_kernel::driver::virtio::device;
use core::mem::ManuallyDrop;
use virtio_drivers::transport::pci::bus::{
    ConfigurationAccess, DeviceFunction, DeviceFunctionInfo, PciRoot,
};
use virtio_drivers::transport::pci::{PciTransport, VirtioPciError};
use virtio_drivers::transport::{DeviceType, SomeTransport};

/// Milliseconds that one controller may take until it is quiet. Most take a few; where one hangs,
/// the dump goes elsewhere.
const QUIET_TIMEOUT: u64 = 2000;

/// Configuration space by I/O ports.
#[derive(Clone)]
struct Ports;

fn function(at: DeviceFunction) -> pci_config::Function {
    pci_config::Function { bus: at.bus, device: at.device, function: at.function }
}

impl ConfigurationAccess for Ports {
    fn read_word(&self, at: DeviceFunction, offset: u8) -> u32 {
        function(at).read(offset)
    }

    fn write_word(&mut self, at: DeviceFunction, offset: u8, data: u32) {
        // SAFETY: our callers change command registers and size BARs; neither lets a device write
        // to memory that it could not write to before.
        unsafe { function(at).write(offset, data) }
    }

    unsafe fn unsafe_clone(&self) -> Self {
        Self
    }
}

/// Every function of the machine, none of them master of the bus.
pub(crate) struct PciBus {
    root: PciRoot<Ports>,
    functions: Vec<(DeviceFunction, DeviceFunctionInfo)>,
}

impl PciBus {
    /// Finds all functions and takes the bus away from them.
    pub(crate) fn quiet(clock: &Tsc) -> Self {
        let mut root = PciRoot::new(Ports);
        let functions = pci::functions(&root, &Ports);
        for busy in pci::quiet(&mut root, &Ports, &functions, clock) {
            log::warn!("PCI {busy}: transactions still pending; going on");
        }
        log::info!("{} PCI functions, none is bus master", functions.len());
        let mut bus = Self { root, functions };
        bus.reset_virtio(clock);
        PCI_KINDS.iter().for_each(|kind| bus.quiet_controllers(kind, clock));
        bus
    }

    /// Makes all controllers of a kind quiet, for the same reason.
    fn quiet_controllers(&mut self, kind: &PciKind, clock: &Tsc) {
        for place in self.controllers(kind.class) {
            let quiet = self
                .registers(place, kind.bar, kind.length)
                .and_then(|mut registers| (kind.quiet)(&mut *registers, clock, QUIET_TIMEOUT));
            if let Err(failure) = quiet {
                log::warn!("{} at {place}: {failure}; going on", kind.name);
            }
        }
    }

    /// Resets every virtio device, not only those that will be asked for a header: an emulated one
    /// may finish a request although it has lost the bus (QEMU's do).
    fn reset_virtio(&mut self, clock: &Tsc) {
        for (at, _) in self.functions.iter().filter(|(_, info)| pci::is_virtio(info)) {
            let common = pci::virtio_configuration(&mut self.root, &Ports, *at);
            pci::decode_memory(&mut self.root, *at);
            let status = common.and_then(|common| mapped::map(common, device::STATUS + 1));
            let Some(status) = status else {
                log::warn!("PCI {at}: a virtio device that cannot be reset; going on");
                continue;
            };
            // SAFETY: the device's own register, in a mapping that holds it.
            if !unsafe { mapped::reset(status.byte_add(device::STATUS), clock) } {
                log::warn!("PCI {at}: a virtio device that does not reset; going on");
            }
        }
    }
}

impl Bus for PciBus {
    type Transport = SomeTransport<'static>;

    fn devices(&self, kind: DeviceType) -> Vec<Place> {
        let found = self.functions.iter().filter(|(_, info)| pci::is_virtio_kind(info, kind));
        found.map(|(at, _)| Place::Pci(*at)).collect()
    }

    /// It gets the bus only when it is reset: until then it may still have the dead kernel's
    /// requests.
    fn start(&mut self, place: Place, clock: &dyn Clock) -> Result<Self::Transport, Error> {
        let Place::Pci(at) = place else { return Err(Error::NoConfiguration) };
        pci::decode_memory(&mut self.root, at);
        let mut copy = PciRoot::new(CopiedBars::new(Ports, at));
        let transport = PciTransport::new::<Registers, _>(&mut copy, at).map_err(|error| {
            log::warn!("PCI {at}: {error}");
            match error {
                VirtioPciError::MissingCommonConfig => Error::LegacyOnly,
                _ => Error::NoConfiguration,
            }
        })?;
        // Dropping a transport waits for a reset without an end.
        let mut transport = ManuallyDrop::new(transport);
        device::reset(&mut *transport, clock)?;
        pci::set_bus_master(&mut self.root, at, true);
        Ok(ManuallyDrop::into_inner(transport).into())
    }

    fn controllers(&self, class: [u8; 3]) -> Vec<Place> {
        let found = self.functions.iter().filter(|(_, info)| pci::is_class(info, class));
        found.map(|(at, _)| Place::Pci(*at)).collect()
    }

    fn registers(
        &mut self,
        place: Place,
        bar: u8,
        length: usize,
    ) -> Result<Box<dyn registers::Registers>, Error> {
        let Place::Pci(at) = place else { return Err(Error::NoConfiguration) };
        let registers = pci::registers(&Ports, at, bar, length).ok_or(Error::NoConfiguration)?;
        pci::decode_memory(&mut self.root, at);
        let bar = Bar::map(registers).ok_or(Error::NoConfiguration)?;
        Ok(Box::new(bar))
    }

    fn allow_dma(&mut self, place: Place) {
        if let Place::Pci(at) = place {
            pci::set_bus_master(&mut self.root, at, true);
        }
    }

    fn stop(&mut self, place: Place, _: &dyn Clock) {
        if let Place::Pci(at) = place {
            pci::set_bus_master(&mut self.root, at, false);
        }
    }
}
