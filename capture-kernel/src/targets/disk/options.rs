//! Options for dumps on a disk.

use dumpfile::chunk::Codec;
use dumpfile::disk::LEAST_SEGMENT;
use vmcore::{Error, PhysAddr, ReadPhys};

/// Time between headers that name newly written segments, in milliseconds.
const PACE: u64 = 1000;

/// Options for dumps on a disk.
#[derive(Clone, Copy)]
pub struct WriteOptions<'c> {
    /// The codec of the bulk.
    pub codec: Codec,
    /// True if raw chunks get checksums. Compressed ones always have them.
    pub checksums: bool,
    /// True if complete dumps may be given up for a new one.
    pub replace_complete: bool,
    /// Time between headers that name newly written segments, in milliseconds.
    pub pace: u64,
    /// Bytes that are kept in between at least.
    pub least: u64,
    /// Old memory, for checksums and compression.
    pub memory: &'c dyn ReadPhys,
}

/// Memory that cannot be read.
struct Nothing;

impl ReadPhys for Nothing {
    fn read_phys(&self, at: PhysAddr, _: &mut [u8]) -> Result<(), Error> {
        Err(Error::Unreadable { at })
    }
}

impl Default for WriteOptions<'_> {
    fn default() -> Self {
        Self {
            codec: Codec::Raw,
            checksums: false,
            replace_complete: false,
            pace: PACE,
            least: LEAST_SEGMENT,
            memory: &Nothing,
        }
    }
}
