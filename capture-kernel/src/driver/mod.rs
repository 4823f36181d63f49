//! Drivers of devices that a dump goes to, and the traits by which targets use them.

pub mod ahci;
pub mod controller;
pub mod dma;
mod error;
pub mod kinds;
pub mod nvme;
pub mod partition;
pub mod registers;
pub mod scsi;
pub mod serial;
pub mod translation;
pub mod virtio;

pub use error::Error;

use self::dma::{Limits, Pieces};

/// A disk that takes several writes at a time. Offsets and lengths are bytes and multiples of its
/// blocks: a dump is written in multiples of 4096, but a partition may begin at any block, and a
/// partition table is read block by block.
///
/// A driver owns all memory that its device may use, until the device has answered or is stopped.
/// One that is dropped before leaks it.
pub trait BlockDevice {
    /// Size of the disk in bytes.
    fn capacity(&self) -> u64;
    /// Size of the disk's blocks in bytes.
    fn block_size(&self) -> u32;
    /// True if it cannot be written.
    fn is_read_only(&self) -> bool;
    /// Limits of one write.
    fn limits(&self) -> Limits;
    /// Reads the bytes at `at`, and waits for it.
    ///
    /// # Errors
    /// The device reports an error or does not answer.
    fn read(&mut self, at: u64, into: &mut [u8]) -> Result<(), Error>;
    /// Starts writing `pieces` at `at`.
    ///
    /// # Errors
    /// This or an earlier write failed.
    fn write(&mut self, at: u64, pieces: Pieces) -> Result<(), Error>;
    /// Waits for one write, whose pieces are then free; false if none is in flight.
    ///
    /// # Errors
    /// One failed.
    fn wait_for_one(&mut self) -> Result<bool, Error>;
    /// Waits for every write.
    ///
    /// # Errors
    /// One failed.
    fn drain(&mut self) -> Result<(), Error>;
    /// Waits for every write, whatever becomes of it.
    ///
    /// # Errors
    /// The device does not answer.
    fn settle(&mut self) -> Result<(), Error>;
    /// Every write that was started below this offset has succeeded, and no flush has failed.
    fn written_below(&self) -> u64;
    /// Waits for every write and for the device's cache.
    ///
    /// # Errors
    /// A write or the flush failed, or the device did not answer in time.
    fn flush(&mut self) -> Result<(), Error>;
    /// Stops the device: it does no DMA any more.
    ///
    /// # Errors
    /// It does not stop, or has not answered a request.
    fn stop(&mut self) -> Result<(), Error>;
}

/// A channel of bytes, both ways.
pub trait Link {
    /// Takes received bytes, up to `into.len()`, and returns their number; zero if there are none.
    /// Never waits.
    ///
    /// # Errors
    /// The device is at fault; an absent other end is no error.
    fn receive(&mut self, into: &mut [u8]) -> Result<usize, Error>;

    /// Sends all of `bytes`: they are out or copied when this returns. Waits as long as the link's
    /// timeout at most, counted from the last byte that the link has taken.
    ///
    /// # Errors
    /// The link takes no more bytes, also because the other end has been away for that long. A part
    /// of `bytes` may have gone out, or go out later.
    fn send(&mut self, bytes: &[u8]) -> Result<(), Error>;

    /// Limits of one call of [`Self::send_bulk`], without its head; [`None`] where there is no
    /// DMA.
    fn bulk(&self) -> Option<Limits>;

    /// Sends `head` (perhaps empty), as [`Self::send`] does, and directly after it the bytes of
    /// `pieces` by DMA from their place. Those may still be in flight at the return.
    ///
    /// # Errors
    /// As [`Self::send`]. Bytes that have not gone out may do so until [`Self::stop`].
    fn send_bulk(&mut self, head: &[u8], pieces: Pieces) -> Result<(), Error>;

    /// Waits until one of the things sent has left the machine, and its pieces are free; false when
    /// none is on its way.
    ///
    /// # Errors
    /// As [`Self::send`].
    fn wait_for_one(&mut self) -> Result<bool, Error>;

    /// Waits until all that was sent has left the machine, as long as the link's timeout.
    ///
    /// # Errors
    /// As [`Self::send`].
    fn drain(&mut self) -> Result<(), Error>;

    /// Stops the device: it does no DMA from now on. Bytes that have not left the machine are lost.
    ///
    /// # Errors
    /// The device does not stop: then the link leaks the memory that it may use.
    fn stop(&mut self) -> Result<(), Error>;
}
