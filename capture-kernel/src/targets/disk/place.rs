//! Places on a disk: of a dump, of a block, of a view.

use crate::driver::BlockDevice;
use crate::driver::Error;
use crate::driver::dma::{DmaPiece, Limits, Pieces, Pool};
use crate::pump::Sink;
use dumpfile::disk::{BLOCK, DumpHeader, Placement};
use vmcore::DumpOffset;

/// The place of a dump on a disk.
pub(super) struct Place {
    pub(super) header: DumpHeader,
    /// Start of its region in bytes from the disk's start.
    pub(super) region: u64,
    /// Length of its region in bytes.
    pub(super) length: u64,
    /// Number of pages that are kept in doubt, if pages were counted for the place.
    pub(super) in_doubt: u64,
}

impl Place {
    pub(super) const fn new(header: DumpHeader, placed: &Placement, in_doubt: u64) -> Self {
        Self { header, region: placed.entry.offset, length: placed.entry.length, in_doubt }
    }

    /// Place of the next header: the first block, and from then on either block in turn.
    pub(super) const fn header_at(&self) -> u64 {
        self.region + (self.header.generation + 1) % 2 * BLOCK as u64
    }
}

/// Starts writing the block that `encode` makes.
pub(super) fn write_block(
    device: &mut impl BlockDevice,
    pool: &Pool,
    at: u64,
    encode: impl FnOnce(&mut [u8; BLOCK]),
) -> Result<(), Error> {
    let mut lease = pool.lease_or_wait(|| device.wait_for_one())?;
    encode(lease.first_chunk_mut().expect("a buffer has room for a block"));
    let block = DmaPiece::Frozen(lease.freeze(BLOCK), 0..BLOCK);
    device.write(at, [block].into_iter().collect())
}

/// A place on a disk for a view.
pub(super) struct At<'d, D: BlockDevice> {
    pub(super) device: &'d mut D,
    /// The place of the view's first byte.
    pub(super) at: u64,
}

impl<D: BlockDevice> Sink for At<'_, D> {
    fn limits(&self) -> Limits {
        self.device.limits()
    }

    fn send(&mut self, at: DumpOffset, pieces: Pieces) -> Result<(), Error> {
        self.device.write(self.at + at.get(), pieces)
    }

    fn wait_for_one(&mut self) -> Result<bool, Error> {
        self.device.wait_for_one()
    }

    fn drain(&mut self) -> Result<(), Error> {
        self.device.drain()
    }
}
