//! The reason why a device cannot be used.

use super::nvme::status::Status;
use super::scsi;
use super::virtio::console::{PortList, PortName};
use vmcore::PhysAddr;

/// An error of a device, of its driver or of the memory that it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The device did not do something in time.
    #[error("the device did not {0} in time")]
    Timeout(&'static str),
    /// The device offers no virtio 1 interface.
    #[error(
        "a legacy-only virtio device; needs virtio 1 (QEMU: disable-modern=off, or on a \
         microvm virtio-mmio.force-legacy=off)"
    )]
    LegacyOnly,
    /// The device's addresses are translated by an IOMMU, if there is one.
    #[error(
        "the device is attached through an IOMMU (F_ACCESS_PLATFORM), and no kdump.iommu= tells \
         where that is: load with kdump-loader load"
    )]
    BehindIommu,
    /// The device does not accept the features that we need.
    #[error("the device refused the features that we need")]
    FeaturesRefused,
    /// The queue is too short for one request.
    #[error("a request queue of only {0} entries")]
    QueueTooShort(u16),
    /// The device has no configuration where it must have one.
    #[error("the device shows no configuration space")]
    NoConfiguration,
    /// The device answered with something that was never asked.
    #[error("the device completed request {0}, never asked for")]
    BadAnswer(u32),
    /// The device reported an error for a request (virtio-blk status).
    #[error("the device reported an I/O error (status {0})")]
    Io(u8),
    /// There is no heap left.
    #[error("no memory left in the slot: use a larger slot")]
    NoMemory,
    /// No console has a port of this name.
    #[error(
        "no virtio-console has a port named {name}; ports found: {found} (QEMU: -device \
         virtserialport,chardev=ID,name={name})"
    )]
    NoSuchPort {
        /// The name.
        name: PortName,
        /// The names that there are.
        found: PortList,
    },
    /// The console has only its one nameless port.
    #[error(
        "a virtio console with a single nameless port (F_MULTIPORT is not offered; QEMU: \
         virtio-serial's max_ports= above 1)"
    )]
    NoNamedPorts,
    /// The port was taken out of the machine, or is another one now.
    #[error("the console port was removed")]
    PortGone,
    /// One block has more pieces than one request to the device can carry.
    #[error(
        "the device takes too few or too short pieces in one request for memory in small parts"
    )]
    Fragmented,
    /// Memory that a device cannot fetch in place cannot be copied either.
    #[error("memory at {0} cannot be read")]
    Unreadable(PhysAddr),
    /// No 16550 answers at this I/O port.
    #[error("no 16550 answers at I/O port {0:#x}: is there a serial port, and is it switched on?")]
    NoUart(u16),
    /// The region that a memory device reports makes no sense.
    #[error("its configuration describes no region of memory")]
    BadRegion,
    /// A memory device answered with this instead of the state of its blocks.
    #[error("the device answered {0:#x} instead of the state of its blocks")]
    NoState(u16),
    /// A memory device has more separate unplugged ranges than can be recorded.
    #[error("more than {0} separate unplugged ranges")]
    TooManyHoles(usize),
    /// Bytes outside of the disk or of the partition that was opened: a mistake of ours.
    #[error("internal error: bytes outside of the partition")]
    Outside,
    /// The device lacks something that we need, or has something that we do not know.
    #[error("the device cannot be used: {0}")]
    Unsupported(&'static str),
    /// The disk has blocks of another size than 512 or 4096 bytes.
    #[error("blocks of {0} bytes; a dump disk has blocks of 512 or 4096")]
    BlockSize(u64),
    /// The device is not there any more.
    #[error("the device was removed, or has no power: its registers read as all ones")]
    Removed,
    /// No disk is at this port.
    #[error("no disk is there")]
    NoDisk,
    /// A disk is there, and the link to it does not work.
    #[error("a disk is there, but the link to it does not come up: is the cable in order?")]
    NoLink,
    /// The answer to IDENTIFY DEVICE has a wrong checksum, or none of the bits that each has.
    #[error("the disk's answer to IDENTIFY DEVICE is damaged")]
    BadIdentity,
    /// The device has read less than it was asked for.
    #[error("the device read {got} bytes instead of {wanted}")]
    Short {
        /// Bytes that were asked for.
        wanted: u32,
        /// Bytes that it reports.
        got: u32,
    },
    /// Memory of the slot that the device cannot address.
    #[error("the device cannot use the slot's memory at {0}: it has addresses of 32 bits")]
    OutOfReach(PhysAddr),
    /// The IOMMU with its registers at this address was not turned off.
    #[error("the IOMMU at {0} may still translate the device's addresses")]
    Translated(PhysAddr),
    /// The device reports that it cannot go on.
    #[error("the device reports a fatal error")]
    Fatal,
    /// The device reported an error for a command (NVMe status).
    #[error("the device reported an error: {0}")]
    Nvme(Status),
    /// The device answered for a queue that it does not have.
    #[error("the device completed a request of queue {0}, which does not exist")]
    BadQueue(u16),
    /// An offset on the disk that is not at the start of a block: a mistake of ours.
    #[error("internal error: offset {0:#x} is inside a block of the disk")]
    Misaligned(u64),
    /// A SCSI disk has not done a command.
    #[error("{0}")]
    Scsi(scsi::Failure),
}

impl Error {
    /// True where the device has answered a request, and the answer is an error: that request is
    /// back, and others can succeed.
    pub const fn is_answer(&self) -> bool {
        matches!(self, Self::Io(_) | Self::Nvme(_) | Self::Scsi(_))
    }
}
