//! What can be wrong with what a dead kernel left, or with what a loader wants to leave.

use core::fmt;

use crate::elfcore::MAX_SEGMENTS;
use crate::{PhysAddr, PhysRange};

/// Why a range, a header or a dump was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// A range of `length` bytes from `start` on does not end within 64 bits.
    Wraps {
        /// Physical address of the first byte.
        start: PhysAddr,
        /// Length in bytes.
        length: u64,
    },
    /// A range ends before it starts.
    Backwards {
        /// Where it is to start.
        start: PhysAddr,
        /// Where it is to end.
        end: PhysAddr,
    },
    /// A list of ranges has no room for one more.
    Full {
        /// How many ranges there is room for.
        capacity: usize,
    },
    /// Physical memory that cannot be read.
    Unreadable {
        /// The first such address.
        at: PhysAddr,
    },
    /// The heap has no room for the headers and notes of the dump.
    NoMemory,
    /// There is no ELF magic at the address of the ELF core header.
    NotElf {
        /// The address that was looked at.
        at: PhysAddr,
    },
    /// A field of the ELF header has a value that no ELF core header of an x86 kernel has.
    BadField {
        /// The field's name in the ELF specification.
        field: &'static str,
        /// What it holds.
        value: u64,
    },
    /// The program headers do not lie within the block that holds the ELF core header.
    TableOutside {
        /// Offset of the program headers in the block, in bytes (`e_phoff`).
        offset: u64,
        /// Length of the program headers in bytes.
        length: u64,
        /// Length of the block in bytes, where `elfcorehdr=` tells it.
        block: Option<u64>,
    },
    /// A dump would have more segments than [`MAX_SEGMENTS`].
    TooManySegments {
        /// How many.
        count: usize,
    },
    /// A segment has more bytes in the file than in memory.
    FileLarger {
        /// Where its bytes lie.
        source: PhysAddr,
        /// `p_filesz` in bytes.
        filesz: u64,
        /// `p_memsz` in bytes.
        memsz: u64,
    },
    /// Two PT_LOADs claim the same memory.
    Overlap {
        /// The earlier one in the table.
        first: PhysRange,
        /// The later one.
        second: PhysRange,
    },
    /// A segment lies where this CPU has no physical memory.
    BeyondLimit {
        /// The memory it claims.
        range: PhysRange,
        /// One past the highest physical address of the CPU.
        limit: u64,
    },
    /// A value has no room in a 32-bit ELF header.
    TooLargeForElf32 {
        /// The field's name in the ELF specification.
        field: &'static str,
        /// What it would have to hold.
        value: u64,
    },
    /// The dump would be longer than 64 bits can say.
    TooLong,
    /// A note does not end within its area.
    NoteTruncated {
        /// Where in the area it starts, in bytes.
        offset: usize,
    },
    /// A PRSTATUS note is shorter than the machine's register set, or the machine is not an x86.
    NotPrstatus {
        /// `e_machine` of the header.
        machine: u16,
        /// Length of the note's descriptor in bytes.
        length: usize,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Wraps { start, length } => {
                write!(f, "{length:#x} bytes at {start} wrap past 64 bits: the header is damaged")
            }
            Self::Backwards { start, end } => write!(f, "range {start}..{end} runs backwards"),
            Self::Full { capacity } => {
                write!(f, "more than {capacity} separate memory ranges: join or drop some memmap=")
            }
            Self::Unreadable { at } => write!(f, "physical memory at {at} cannot be read"),
            Self::NoMemory => f.write_str("no heap left for the dump's headers: use a larger slot"),
            Self::NotElf { at } => write!(
                f,
                "no ELF header at {at}: elfcorehdr= names a wrong address or the block is damaged"
            ),
            Self::BadField { field, value } => write!(f, "ELF core header: bad {field} {value:#x}"),
            Self::TableOutside { offset, length, block } => {
                write!(f, "program headers ({length:#x} bytes at {offset:#x}) lie outside ")?;
                match block {
                    Some(block) => write!(f, "the {block:#x} bytes that elfcorehdr= names"),
                    None => f.write_str("the ELF core header's block"),
                }
            }
            Self::TooManySegments { count } => {
                write!(f, "{count} segments: at most {MAX_SEGMENTS} fit in a dump")
            }
            _ => self.fmt_segment(f),
        }
    }
}

impl Error {
    /// The second half of `Display`: errors of one segment or note.
    fn fmt_segment(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::FileLarger { source, filesz, memsz } => {
                write!(f, "segment at {source}: p_filesz {filesz:#x} above p_memsz {memsz:#x}")
            }
            Self::Overlap { first, second } => {
                write!(f, "two PT_LOADs overlap: {first} and {second}; load the crash kernel anew")
            }
            Self::BeyondLimit { range, limit } => {
                write!(f, "segment {range} lies above {limit:#x}, the end of this CPU's memory")
            }
            Self::TooLargeForElf32 { field, value } => {
                write!(f, "{field} {value:#x} does not fit ELF32: use ELF64 core headers")
            }
            Self::TooLong => f.write_str("the dump would be longer than 64 bits can say"),
            Self::NoteTruncated { offset } => {
                write!(f, "the note at offset {offset:#x} does not end within its area")
            }
            Self::NotPrstatus { machine, length } => {
                write!(f, "{length} bytes are no PRSTATUS note of machine {machine}")
            }
            _ => f.write_str("damaged header"),
        }
    }
}

impl core::error::Error for Error {}
