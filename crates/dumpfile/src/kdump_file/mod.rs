//! kdump-compressed files, version 6: the format of makedumpfile and of QEMU's `dump-guest-memory`
//! (makedumpfile, `diskdump_mod.h`; the successor of diskdump).
//!
//! | blocks of 4096 bytes | contents |
//! |---|---|
//! | 1 | header |
//! | `sub_blocks` | sub header, followed by the notes |
//! | half of `bitmap_blocks` | a bit for each page frame: it is RAM |
//! | the other half | a bit for each page frame: it is in the file |
//! | | a descriptor for each page in the file, ascending |
//! | | the bytes of the pages, each compressed by itself |
//!
//! Numbers are little-endian, and as wide as those of the dead kernel's machine. Bit N is bit N % 8
//! of byte N / 8. Pages of zeros share the bytes of one page.

mod bitmap;
mod header;
mod page;
#[cfg(test)]
mod tests;

pub use bitmap::PageBitmap;
pub use header::{KdumpHeader, Machine, Part, UTSNAME_FIELD, Utsname};
pub use page::{DESCRIPTOR, PageCodec, PageDescriptor};

/// First bytes of a file.
pub const SIGNATURE: [u8; 8] = *b"KDUMP   ";
/// Bytes of a block and of a page.
pub const BLOCK: u64 = 4096;
/// Bytes at the front of a file that hold both headers.
pub const HEADERS: usize = 2 * BLOCK as usize;
/// Most page frames of a file: 64 TiB of memory. Their bits take 2 GiB.
pub const MOST_PAGES: u64 = 1 << 34;

/// A reason why bytes are not a kdump-compressed file, or not one that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KdumpError {
    /// The signature is missing.
    #[error("it is no kdump-compressed file")]
    NotOurs,
    /// The headers are cut off.
    #[error("its headers are cut off: copy it again")]
    Cut,
    /// The version is not known.
    #[error("it has version {0}, and versions 1 to 6 are known")]
    Version(u32),
    /// The fields fit neither an i386 nor an x86_64 machine.
    #[error("its header is not that of an i386 or x86_64 machine with pages of 4096 bytes")]
    Machine,
    /// The file is one of several.
    #[error(
        "it is one part of a dump that was split (makedumpfile --split): `makedumpfile \
         --reassemble PART... FILE` puts the parts together"
    )]
    Split,
    /// A field has a value that it cannot have.
    #[error("{field} of its header is {value:#x}, which cannot be: it is damaged")]
    Field {
        /// The field's name in `diskdump_mod.h`.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// A page descriptor has a value that it cannot have.
    #[error("a page descriptor has size {size} and flags {flags:#x}: it is damaged")]
    Descriptor {
        /// `size`.
        size: u32,
        /// `flags`.
        flags: u32,
    },
    /// The heap has no room.
    #[error("there is not enough memory for its bitmaps")]
    NoMemory,
}
