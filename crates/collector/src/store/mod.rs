//! Storage for received bytes.

mod files;
mod part;
mod sparse;

use dumpfile::wire::{Held, Range, Receiver, Write};

pub(crate) use files::{Files, main_view};
pub(crate) use part::Part;

use crate::Error;

/// Takes the views of a receiver. Bytes that were never written are zero.
pub(crate) trait Store {
    /// Makes room for the views that are wanted; called again whenever there may be more.
    fn prepare(&mut self, receiver: &Receiver) -> Result<(), Error>;

    /// Writes down a part of one.
    fn write(&mut self, write: &Write<'_>) -> Result<(), Error>;

    /// Makes a range zero, as if it was never written.
    fn clear(&mut self, range: Range) -> Result<(), Error>;

    /// SHA-256 of the bytes written in a range.
    fn hash(&mut self, range: Range) -> Result<[u8; 32], Error>;

    /// Saves the map of the bytes written, in place of the old one. Returns its length in bytes.
    fn save(&mut self, held: &Held) -> Result<u64, Error>;
}
