//! A line of bytes to a collector: a 16550, or a port of a virtio console.

use crate::Failure;
use crate::dma::Readable;
use crate::pump::Limits;

/// A line of bytes, both ways.
pub trait Line {
    /// Takes what has come, up to `into.len()` bytes, and says how many that were; zero when there is
    /// nothing. Never waits.
    ///
    /// # Errors
    /// When the device is at fault, not when the other end is away.
    fn receive(&mut self, into: &mut [u8]) -> Result<usize, Failure>;

    /// Sends all of `bytes`: they are out or copied when this returns. Waits as long as the line's
    /// patience at most, counted from the last byte that the line has taken.
    ///
    /// # Errors
    /// When the line takes no more: also when the other end has been away for that long. A part of
    /// `bytes` may have gone out, or go out later.
    fn send(&mut self, bytes: &[u8]) -> Result<(), Failure>;

    /// What one call of [`Self::send_bulk`] takes, without its head; [`None`] where there is no DMA.
    fn bulk(&self) -> Option<Limits>;

    /// Sends `head`, as [`Self::send`] does, and right behind it the bytes of `pieces` by DMA from where
    /// they lie. Those may still be on their way when this returns, so their memory must stay as it is.
    ///
    /// # Errors
    /// As [`Self::send`]. What has not gone out may do so until [`Self::stop`].
    fn send_bulk(&mut self, head: &[u8], pieces: &[Readable]) -> Result<(), Failure>;

    /// Waits until all that was sent has left the machine, as long as the line's patience.
    ///
    /// # Errors
    /// As [`Self::send`].
    fn drain(&mut self) -> Result<(), Failure>;

    /// From now on the device does no DMA. What has not left the machine does not leave it any more.
    ///
    /// # Errors
    /// When the device does not stop: then its memory must never be used for anything else.
    fn stop(&mut self) -> Result<(), Failure>;
}
