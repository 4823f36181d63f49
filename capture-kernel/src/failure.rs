//! Why a dump did not leave the machine, or not this way.

use crate::driver::virtio::console::{PortList, PortName};
use core::fmt;
use dumpfile::wire::{Outcome, WireError};
use dumpfile::{DiskError, DiskId};
use vmcore::PhysAddr;

/// One reason, for the console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The device did not do something in time.
    Timeout(&'static str),
    /// The device offers no virtio 1 interface.
    LegacyOnly,
    /// The device wants addresses translated by an IOMMU.
    BehindIommu,
    /// The device does not accept the features that we need.
    FeaturesRefused,
    /// The queue is too short for one request.
    QueueTooShort(u16),
    /// The device has no configuration where it must have one.
    NoConfiguration,
    /// The device answered with something that was never asked.
    BadAnswer(u32),
    /// The device reported an error for a request (virtio-blk status).
    Io(u8),
    /// There is no heap left.
    NoMemory,
    /// The disk carries no dump-disk header that we can use.
    NotADumpDisk(DiskError),
    /// The disk carries another dump disk's header.
    OtherDumpDisk(DiskId),
    /// No disk carries the header with this id.
    NoSuchDisk(DiskId),
    /// No console has a port of this name.
    NoSuchPort {
        /// The name.
        name: PortName,
        /// The names that there are.
        found: PortList,
    },
    /// The console has only its one nameless port.
    NoNamedPorts,
    /// The port was taken out of the machine, or is another one now.
    PortGone,
    /// The dump does not fit.
    TooSmall {
        /// Bytes needed, with the header.
        need: u64,
        /// Bytes there are.
        have: u64,
    },
    /// The dump does not fit beside the complete dumps on the disk.
    DiskFull {
        /// Bytes needed.
        need: u64,
        /// The largest place, in bytes.
        have: u64,
    },
    /// The disk had no room for all of the dump. What there was room for is on it.
    NoRoom {
        /// Bytes of the dump that are on the disk or left out.
        there: u64,
        /// Bytes of the dump.
        length: u64,
    },
    /// The disk cannot be written.
    ReadOnly,
    /// One block has more pieces than one request to the device can carry.
    Fragmented,
    /// Memory that a device cannot fetch as it lies cannot be copied either.
    Unreadable(PhysAddr),
    /// The disk's blocks are larger than ours, in bytes.
    LargeBlocks(u32),
    /// No 16550 answers at this I/O port.
    NoUart(u16),
    /// The other end of a line has not taken the dump.
    Collector(Outcome),
    /// A frame could not be made: a mistake of ours.
    Frame(WireError),
    /// No target was named on the command line, and nobody has asked for the dump.
    NoTarget,
    /// The region that a memory device reports makes no sense.
    BadRegion,
    /// A memory device answered with this instead of the state of its blocks.
    NoState(u16),
    /// A memory device has more separate unplugged ranges than can be recorded.
    TooManyHoles(usize),
    /// There is nothing to send: the ELF core header was missing or refused.
    NothingToSend,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout(what) => write!(f, "the device did not {what} in time"),
            Self::LegacyOnly => f.write_str(
                "a legacy-only virtio device; needs virtio 1 (QEMU: disable-modern=off, or on a \
                 microvm virtio-mmio.force-legacy=off)",
            ),
            Self::BehindIommu => f.write_str("the device sits behind an IOMMU (F_ACCESS_PLATFORM)"),
            Self::FeaturesRefused => f.write_str("the device refused the features that we need"),
            Self::QueueTooShort(size) => write!(f, "a request queue of only {size} entries"),
            Self::NoConfiguration => f.write_str("the device shows no configuration space"),
            Self::BadAnswer(id) => write!(f, "the device completed request {id}, never asked for"),
            Self::Io(status) => write!(f, "the device reported an I/O error (status {status})"),
            Self::NoMemory => f.write_str("no memory left in the slot: use a larger slot"),
            Self::NotADumpDisk(why @ DiskError::Version(_)) => why.fmt(f),
            Self::NotADumpDisk(why) => write!(f, "not a dump disk: {why}"),
            Self::OtherDumpDisk(id) => write!(f, "a dump disk, but with id {id}"),
            Self::NoSuchDisk(id) => write!(
                f,
                "no virtio-blk disk carries a dump-disk header with id {id}; nothing was written \
                 (`kdump-collector format DISK` prints the id of the disk it formats)"
            ),
            Self::NoSuchPort { name, found } => write!(
                f,
                "no virtio-console has a port named {name}; ports found: {found} (QEMU: -device \
                 virtserialport,chardev=ID,name={name})"
            ),
            Self::NoNamedPorts => f.write_str(
                "a virtio console with a single nameless port (F_MULTIPORT is not offered; QEMU: \
                 virtio-serial's max_ports= above 1)",
            ),
            Self::PortGone => f.write_str("the console port was removed"),
            Self::TooSmall { need, have } => {
                write!(f, "the dump disk is too small: {need} bytes needed, {have} there")
            }
            Self::DiskFull { need, have } => write!(
                f,
                "no room on the dump disk beside its complete dumps: {need} bytes needed, {have} \
                 there: `kdump-collector extract` them and `kdump-collector format` it, or \
                 kdump.replace=oldest"
            ),
            Self::NoRoom { there, length } => write!(
                f,
                "the dump disk had no room for all of the dump: {there} of {length} bytes are on it, and \
                 the small views; take a larger disk"
            ),
            Self::ReadOnly => f.write_str("the disk is read-only"),
            Self::Fragmented => f.write_str(
                "the device takes too few or too short pieces in one request for memory in small parts",
            ),
            Self::Unreadable(at) => write!(f, "memory at {at} cannot be read"),
            Self::LargeBlocks(size) => {
                write!(f, "a disk with blocks of {size} bytes; at most 4096 can be used")
            }
            Self::NoUart(port) => write!(
                f,
                "no 16550 answers at I/O port {port:#x}: is there a serial port, and is it switched on?"
            ),
            Self::Collector(outcome) => outcome.fmt(f),
            Self::Frame(error) => write!(f, "internal error: {error}"),
            Self::NoTarget => f.write_str(
                "no kdump.target= on the command line that could be used, and no collector has asked \
                 for it",
            ),
            Self::BadRegion => f.write_str("its configuration describes no region of memory"),
            Self::NoState(answer) => {
                write!(f, "the device answered {answer:#x} instead of the state of its blocks")
            }
            Self::TooManyHoles(most) => write!(f, "more than {most} separate unplugged ranges"),
            Self::NothingToSend => f.write_str("vmcore has length zero"),
        }
    }
}
