//! Where a dump goes.

pub mod disk;

use crate::Failure;
use crate::dma::Readable;
use dumpfile::Contents;
use handoff::Stage;
use vmcore::DumpOffset;

/// What one call of [`Target::send`] may carry.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The most bytes, a multiple of 4096.
    pub bytes: u64,
    /// The most pieces.
    pub pieces: usize,
    /// The most bytes of one piece.
    pub piece: u64,
}

/// A way out of the machine for one dump.
pub trait Target {
    /// Makes ready for a dump of `length` bytes, a multiple of 4096, with these contents.
    ///
    /// # Errors
    /// When it does not fit or the target cannot be written.
    fn begin(&mut self, contents: Contents, length: u64) -> Result<(), Failure>;

    /// What [`Self::send`] takes.
    fn limits(&self) -> Limits;

    /// Takes the bytes of `pieces` as the dump's bytes from `at` on; together they are a multiple of
    /// 4096. They may still be on their way when this returns, so their memory must stay.
    ///
    /// # Errors
    /// When this or an earlier piece could not be sent.
    fn send(&mut self, at: DumpOffset, pieces: &[Readable]) -> Result<(), Failure>;

    /// Waits until everything that was sent has arrived.
    ///
    /// # Errors
    /// When something has not.
    fn drain(&mut self) -> Result<(), Failure>;

    /// Waits until everything has arrived for good and marks the dump as complete.
    ///
    /// # Errors
    /// When that cannot be had; the dump is then not marked.
    fn finish(&mut self) -> Result<(), Failure>;

    /// Marks the dump as failed at `stage`, as well as that is still possible.
    fn give_up(&mut self, stage: Stage);
}
