//! Targets: the places to which a dump goes.

pub mod disk;
mod error;
pub mod link;
mod pages;
mod serve;
pub mod stay;

pub use error::TargetError;
pub use serve::serve;

use crate::driver;
use crate::dump::Dump;
use handoff::Stage;

/// Number and bytes of the buffers that a target copies to.
const BUFFERS: usize = 8;
const BUFFER: usize = 16 << 10;

/// A way out of the machine.
pub trait Target {
    /// Sends `dump` out of the machine, the small views first, and marks it there as complete; or
    /// as failed, if that is still possible. Calls `reached` with [`Stage::FirstByte`] and
    /// [`Stage::LastByte`].
    ///
    /// # Errors
    /// The reason why not everything is out and marked.
    fn deliver(&mut self, dump: &Dump, reached: &mut dyn FnMut(Stage)) -> Result<(), TargetError>;

    /// Stops its device: it does no DMA from now on. A target whose device does not stop leaks the
    /// memory that the device may use.
    ///
    /// # Errors
    /// The device does not stop.
    fn stop(&mut self) -> Result<(), driver::Error>;
}
