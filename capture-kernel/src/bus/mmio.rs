//! virtio devices with their registers in memory (virtio 1.2, section 4.2). They do not say where
//! they are: `virtio_mmio.device=` does. A wrong one may name anything, so that nothing is written
//! before it is known that a virtio device is there.

use thiserror::Error;
use virtio_drivers::transport::DeviceType;
use vmcore::{PhysRange, RangeSet};

/// Offset of the device's configuration, one past the registers that all devices have.
pub const CONFIGURATION: u64 = 0x100;
/// Offset of the status register.
pub const STATUS: usize = 0x70;

const MAGIC: usize = 0x00;
const VERSION: usize = 0x04;
const DEVICE_ID: usize = 0x08;

/// Value of [`MAGIC`]: "virt".
const MAGIC_VALUE: u32 = 0x7472_6976;
const LEGACY: u32 = 1;
const MODERN: u32 = 2;
/// Device id of a place where a device could be and is not.
const NO_DEVICE: u32 = 0;

/// A virtio device, as it says itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// True if it has the registers of virtio 1; otherwise it is legacy-only.
    pub is_modern: bool,
    /// Kind of the device (virtio 1.2, section 5).
    device_id: u32,
}

impl Identity {
    /// True if it is a device of this kind.
    pub fn is_kind(self, kind: DeviceType) -> bool {
        DeviceType::try_from(self.device_id).is_ok_and(|found| found == kind)
    }
}

/// The reason why a device that `virtio_mmio.device=` names is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The registers would be in RAM.
    #[error("that is memory, not a device")]
    InMemory,
    /// They do not begin at a multiple of four.
    #[error("registers begin at a multiple of 4")]
    NotAligned,
    /// They are fewer bytes than every device has.
    #[error("registers take {CONFIGURATION} bytes at least")]
    TooSmall,
    /// They are beyond the CPU's addresses, or there is no room to map them.
    #[error("cannot be mapped")]
    NotMapped,
    /// This was read in place of the magic value.
    #[error("no virtio device is there (it reads {0:#010x})")]
    NotVirtio(u32),
    /// There is no device at the registers.
    #[error("a virtio transport without a device")]
    Empty,
    /// The registers are of a version that we do not know.
    #[error("a virtio device of version {0}, which is not known here")]
    Version(u32),
}

/// True if registers may be there, given the known RAM.
///
/// # Errors
/// The reason why not.
pub fn check_place(registers: PhysRange, ram: &RangeSet) -> Result<(), Refusal> {
    let overlaps = |ram: PhysRange| registers.start() < ram.end() && ram.start() < registers.end();
    if ram.iter().any(overlaps) {
        return Err(Refusal::InMemory);
    }
    if !registers.start().get().is_multiple_of(4) {
        return Err(Refusal::NotAligned);
    }
    (registers.length() >= CONFIGURATION).then_some(()).ok_or(Refusal::TooSmall)
}

/// The device there, by the register at an offset. Reads three registers, writes none.
///
/// # Errors
/// There is no virtio device of a known version.
pub fn identify(register: impl Fn(usize) -> u32) -> Result<Identity, Refusal> {
    let magic = register(MAGIC);
    if magic != MAGIC_VALUE {
        return Err(Refusal::NotVirtio(magic));
    }
    let is_modern = match register(VERSION) {
        LEGACY => false,
        MODERN => true,
        version => return Err(Refusal::Version(version)),
    };
    match register(DEVICE_ID) {
        NO_DEVICE => Err(Refusal::Empty),
        device_id => Ok(Identity { is_modern, device_id }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vmcore::PhysAddr;

    fn found(registers: [u32; 3]) -> Result<Identity, Refusal> {
        identify(|offset| registers[offset / 4])
    }

    /// Devices of QEMU's microvm: a disk, an empty place, and both again with `force-legacy`.
    #[test]
    fn devices_say_what_they_are() {
        let virt = u32::from_le_bytes(*b"virt");
        let disk = found([virt, 2, 2]).expect("a disk");
        assert!(disk.is_modern && disk.is_kind(DeviceType::Block));
        let legacy = found([virt, 1, 2]).expect("a disk");
        assert!(!legacy.is_modern && legacy.is_kind(DeviceType::Block));
        let network = found([virt, 2, 1]).expect("a network device");
        assert!(!network.is_kind(DeviceType::Block));
        assert_eq!(found([virt, 2, 0]), Err(Refusal::Empty));
        assert_eq!(found([virt, 1, 0]), Err(Refusal::Empty));
        assert_eq!(found([virt, 3, 2]), Err(Refusal::Version(3)));
    }

    #[test]
    fn what_is_no_virtio_device_is_not_asked_further() {
        for magic in [0, u32::MAX, u32::from_be_bytes(*b"virt")] {
            let asked = identify(|offset| if offset == 0 { magic } else { panic!("{offset:#x}") });
            assert_eq!(asked, Err(Refusal::NotVirtio(magic)));
        }
    }

    #[test]
    fn registers_are_looked_for_only_where_they_may_be() {
        let mut ram = RangeSet::new();
        let range = |start, length| PhysRange::new(PhysAddr::new(start), length).expect("no wrap");
        ram.insert(range(0x10_0000, 0x5f0_0000)).expect("room");
        let check = |start, length| check_place(range(start, length), &ram);
        assert_eq!(check(0xfeb0_0000, 512), Ok(()));
        assert_eq!(check(0x600_0000, 0x100), Ok(()), "right behind memory");
        assert_eq!(check(0xf_ff00, 0x100), Ok(()), "right before it");
        for (start, length) in [(0xf_ff00, 0x101), (0x5ff_ff00, 512), (0x200_0000, 4), (0, 1 << 40)]
        {
            assert_eq!(check(start, length), Err(Refusal::InMemory), "{start:#x}");
        }
        assert_eq!(check(0xfeb0_0002, 512), Err(Refusal::NotAligned));
        assert_eq!(check(0xfeb0_0000, 0xff), Err(Refusal::TooSmall));
    }
}
