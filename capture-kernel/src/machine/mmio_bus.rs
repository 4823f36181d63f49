//! The virtio devices that `virtio_mmio.device=` names.

#![expect(unsafe_code, reason = "memory-mapped registers")]

use crate::machine::registers;
use crate::machine::time::Tsc;
use alloc::vec::Vec;
use capture_kernel::Clock;
use capture_kernel::bus::mmio::{self, Identity, Refusal};
use capture_kernel::bus::{Bus, Place};
use capture_kernel::driver::Error;
use core::ptr::NonNull;
use handoff::layout::PAGE_SIZE;
use virtio_drivers::transport::mmio::MmioTransport;
use virtio_drivers::transport::{DeviceType, SomeTransport};
use vmcore::{PhysAddr, PhysRange, RangeSet};

/// A device and its registers, mapped for good.
struct Device {
    place: PhysAddr,
    registers: NonNull<u8>,
    length: usize,
    identity: Identity,
}

impl Device {
    /// The device that is there, if there is one. Nothing is written.
    fn find(place: PhysRange, ram: &RangeSet) -> Result<Self, Refusal> {
        mmio::check_place(place, ram)?;
        // No device has more than that; a wrong length must not use the area up.
        let length = place.length().min(PAGE_SIZE) as usize;
        let registers = registers::map(place.start().get(), length).ok_or(Refusal::NotMapped)?;
        // SAFETY: within the mapping and aligned, as the place is; reading the registers that are
        // asked for has no effect on a device.
        let read = |offset| unsafe { registers.byte_add(offset).cast::<u32>().read_volatile() };
        let identity = mmio::identify(read)?;
        Ok(Self { place: place.start(), registers, length, identity })
    }

    /// True if it is reset in time; from then on it does no DMA.
    fn reset(&self, clock: &dyn Clock) -> bool {
        // SAFETY: the device is a virtio device, and its registers are mapped.
        unsafe { registers::reset(self.registers.byte_add(mmio::STATUS).cast::<u32>(), clock) }
    }

    fn transport(&self) -> Result<SomeTransport<'static>, Error> {
        if !self.identity.is_modern {
            return Err(Error::LegacyOnly);
        }
        // SAFETY: `length` bytes of a virtio device's registers are mapped there for good. All but
        // `reset` is up to the transport.
        let transport = unsafe { MmioTransport::new(self.registers.cast(), self.length) };
        Ok(transport.or(Err(Error::NoConfiguration))?.into())
    }
}

/// All of them.
#[derive(Default)]
pub(crate) struct MmioBus {
    devices: Vec<Device>,
}

impl MmioBus {
    /// Finds the devices whose registers are at `places`, of which none may be in `ram`, and resets
    /// each of them. There is no bus to take away from them: the reset makes them quiet.
    pub(crate) fn quiet(places: &[PhysRange], ram: &RangeSet, clock: &Tsc) -> Self {
        let mut devices = Vec::new();
        for place in places {
            match Device::find(*place, ram) {
                Ok(device) => devices.push(device),
                Err(refusal) => {
                    log::warn!("virtio_mmio.device= at {place}: {refusal}; ignored")
                }
            }
        }
        for device in devices.iter().filter(|device| !device.reset(clock)) {
            let at = device.place;
            log::warn!("MMIO {at}: a virtio device that does not reset; going on");
        }
        if !places.is_empty() {
            log::info!("{} virtio devices by virtio_mmio.device=", devices.len());
        }
        Self { devices }
    }

    fn device(&self, place: Place) -> Option<&Device> {
        self.devices.iter().find(|device| Place::Mmio(device.place) == place)
    }
}

impl Bus for MmioBus {
    type Transport = SomeTransport<'static>;

    fn devices(&self, kind: DeviceType) -> Vec<Place> {
        let found = self.devices.iter().filter(|device| device.identity.is_kind(kind));
        found.map(|device| Place::Mmio(device.place)).collect()
    }

    fn start(&mut self, place: Place, clock: &dyn Clock) -> Result<Self::Transport, Error> {
        let device = self.device(place).ok_or(Error::NoConfiguration)?;
        if !device.reset(clock) {
            return Err(Error::Timeout("reset"));
        }
        device.transport()
    }

    fn stop(&mut self, place: Place, clock: &dyn Clock) {
        if let Some(device) = self.device(place) {
            device.reset(clock);
        }
    }
}
