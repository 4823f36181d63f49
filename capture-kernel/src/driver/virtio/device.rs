//! Steps that all virtio devices share: reset and negotiation (virtio 1.2, section 3.1).

use crate::driver::Error;
use crate::driver::dma::Stopped;
use crate::driver::translation::Translation;
use crate::{Clock, Deadline};
use bitflags::bitflags;
use virtio_drivers::transport::{DeviceStatus, Transport};

/// Time for the reset of a device, in milliseconds.
const RESET_TIMEOUT: u64 = 1000;

/// Offset of `device_status` in the common configuration (virtio 1.2, 4.1.4.3).
pub const STATUS: usize = 0x14;

bitflags! {
    /// Feature bits that we know, of all devices; the first 24 mean something else on each kind of
    /// device.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Features: u64 {
        /// `VIRTIO_BLK_F_SIZE_MAX`: there is a largest segment.
        const SIZE_MAX = 1 << 1;
        /// `VIRTIO_BLK_F_SEG_MAX`: there is a largest number of segments.
        const SEG_MAX = 1 << 2;
        /// `VIRTIO_BLK_F_RO`: the disk cannot be written.
        const READ_ONLY = 1 << 5;
        /// `VIRTIO_BLK_F_BLK_SIZE`: the disk reports the size of its blocks.
        const BLOCK_SIZE = 1 << 6;
        /// `VIRTIO_BLK_F_FLUSH`: there is a cache, and a request to flush it.
        const FLUSH = 1 << 9;
        /// `VIRTIO_CONSOLE_F_MULTIPORT`: there are ports with names, and control queues.
        const MULTIPORT = 1 << 1;
        /// `VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE`: unplugged memory must not be read.
        const UNPLUGGED_INACCESSIBLE = 1 << 1;
        /// `VIRTIO_F_VERSION_1`: virtio 1.
        const VERSION_1 = 1 << 32;
        /// `VIRTIO_F_ACCESS_PLATFORM`: addresses are the platform's, not physical.
        const ACCESS_PLATFORM = 1 << 33;
    }
}

/// Resets the device and waits until it says so: from then on it does no DMA.
///
/// # Errors
/// [`Error::Timeout`].
pub fn reset(transport: &mut impl Transport, clock: &dyn Clock) -> Result<Stopped, Error> {
    transport.set_status(DeviceStatus::empty());
    match wait_for_reset(clock, || transport.get_status().is_empty()) {
        true => Ok(Stopped::confirmed()),
        false => Err(Error::Timeout("reset")),
    }
}

/// Waits until a device is reset; false if that takes too long.
pub fn wait_for_reset(clock: &dyn Clock, is_reset: impl FnMut() -> bool) -> bool {
    Deadline::after(clock, RESET_TIMEOUT).wait(clock, is_reset)
}

/// Resets the device and agrees on `wanted` features (and on virtio 1). Queues come next, then
/// [`go`].
///
/// # Errors
/// A feature that the device lacks or refuses, [`Error::Timeout`] for the reset, or an IOMMU that
/// translates its addresses.
pub fn negotiate(
    transport: &mut impl Transport,
    clock: &dyn Clock,
    wanted: Features,
    translation: Translation,
) -> Result<Features, Error> {
    reset(transport, clock)?;
    let greeting = DeviceStatus::ACKNOWLEDGE | DeviceStatus::DRIVER;
    transport.set_status(greeting);
    let offered = Features::from_bits_truncate(transport.read_device_features());
    if !offered.contains(Features::VERSION_1) {
        return Err(Error::LegacyOnly);
    }
    if offered.contains(Features::ACCESS_PLATFORM) {
        translation.check_virtio()?;
    }
    let agreed = offered & (wanted | Features::VERSION_1 | Features::ACCESS_PLATFORM);
    transport.write_driver_features(agreed.bits());
    transport.set_status(greeting | DeviceStatus::FEATURES_OK);
    if !transport.get_status().contains(DeviceStatus::FEATURES_OK) {
        return Err(Error::FeaturesRefused);
    }
    Ok(agreed)
}

/// Tells the device that the driver is ready.
pub fn go(transport: &mut impl Transport) {
    transport.set_status(
        DeviceStatus::ACKNOWLEDGE
            | DeviceStatus::DRIVER
            | DeviceStatus::FEATURES_OK
            | DeviceStatus::DRIVER_OK,
    );
}
