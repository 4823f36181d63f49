//! Faults in the data that a dead kernel left, or that a loader wants to leave.

use crate::{PhysAddr, PhysRange, RangeError};

/// Most program headers of a core header. `e_phnum` has 16 bits. Its highest value (`PN_XNUM`)
/// means that the number is stored elsewhere; no kernel and no kdump tool uses it.
pub const MAX_SEGMENTS: u16 = 0xfffe;

/// The reason why a range, a header or a dump was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A range that cannot be.
    #[error(transparent)]
    Range(#[from] RangeError),
    /// A list of ranges has no room for one more.
    #[error("more than {capacity} separate memory ranges: join some or leave small ones out")]
    Full {
        /// Number of ranges that fit.
        capacity: usize,
    },
    /// Physical memory that cannot be read.
    #[error("physical memory at {at} cannot be read")]
    Unreadable {
        /// The first such address.
        at: PhysAddr,
    },
    /// A machine check came while physical memory was read.
    #[error("machine check at {at}: that memory is broken, its contents are lost")]
    MachineCheck {
        /// Address at which reading stopped.
        at: PhysAddr,
    },
    /// The heap has no room for the headers and notes of the dump.
    #[error("no memory left for the headers of the dump: give the capture kernel a larger slot")]
    NoMemory,
    /// There is no ELF magic at the address of the ELF core header.
    #[error("no ELF header at {at}: elfcorehdr= is wrong, or something has overwritten the header")]
    NotElf {
        /// The address that was looked at.
        at: PhysAddr,
    },
    /// A field of the ELF header has a value that no ELF core header of an x86 kernel has.
    #[error(
        "{field} of the ELF core header is {value:#x}: this is no core header of an x86 kernel"
    )]
    BadField {
        /// The field's name in the ELF specification.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// The program headers are not within the block that holds the ELF core header.
    #[error(
        "the program headers ({length:#x} bytes at {offset:#x}) lie outside the core header's \
         block: it is damaged, or the size in elfcorehdr= is too small"
    )]
    TableOutside {
        /// Offset of the program headers in the block, in bytes (`e_phoff`).
        offset: u64,
        /// Length of the program headers in bytes.
        length: u64,
    },
    /// A dump would have more segments than [`MAX_SEGMENTS`].
    #[error("{count} segments, but an ELF core header has at most {MAX_SEGMENTS}")]
    TooManySegments {
        /// Number of segments.
        count: usize,
    },
    /// A segment has more bytes in the file than in memory.
    #[error("segment at {at}: p_filesz {filesz:#x} is above p_memsz {memsz:#x}")]
    FileLarger {
        /// Address of its bytes.
        at: PhysAddr,
        /// `p_filesz` in bytes.
        filesz: u64,
        /// `p_memsz` in bytes.
        memsz: u64,
    },
    /// Two PT_LOADs claim the same memory.
    #[error("two PT_LOADs overlap, {first} and {second}: list each piece of memory once")]
    Overlap {
        /// The earlier one in the table.
        first: PhysRange,
        /// The later one.
        second: PhysRange,
    },
    /// A segment is at an address where this CPU has no physical memory.
    #[error("segment {range} is beyond {limit:#x}, where this CPU's physical addresses end")]
    BeyondLimit {
        /// The memory it claims.
        range: PhysRange,
        /// One past the highest physical address of the CPU.
        limit: u64,
    },
    /// A value has no room in a 32-bit ELF header.
    #[error("{field} {value:#x} does not fit into ELF32: use ELF64 core headers")]
    TooLargeForElf32 {
        /// The field's name in the ELF specification.
        field: &'static str,
        /// The value that it would need.
        value: u64,
    },
    /// The dump would be longer than 64 bits can say.
    #[error("the dump would be longer than 64 bits can say: the header is damaged")]
    TooLong,
    /// A note does not end within its area.
    #[error("the note at offset {offset:#x} does not end within its area")]
    NoteTruncated {
        /// Offset of its start in the area, in bytes.
        offset: usize,
    },
    /// A PRSTATUS note is shorter than the machine's register set, or the machine is not an x86.
    #[error("{length} bytes are no PRSTATUS note of ELF machine {machine}")]
    NotPrstatus {
        /// `e_machine` of the header.
        machine: u16,
        /// Length of the note's descriptor in bytes.
        length: usize,
    },
}
