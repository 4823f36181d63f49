//! Where a dump goes.

pub mod disk;
mod error;
pub mod link;
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
    /// Brings `dump` out of the machine, what is small and precious first, and marks it there as
    /// complete; or as failed, as well as that is still possible. `reached` is told of
    /// [`Stage::FirstByte`] and [`Stage::LastByte`].
    ///
    /// # Errors
    /// Why not everything is out and marked.
    fn deliver(&mut self, dump: &Dump, reached: &mut dyn FnMut(Stage)) -> Result<(), TargetError>;

    /// From now on its device does no DMA. A target whose device does not stop leaks the memory
    /// that the device may use.
    ///
    /// # Errors
    /// When the device does not stop.
    fn stop(&mut self) -> Result<(), driver::Error>;
}
