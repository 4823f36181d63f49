//! Steps on the way to a unit that is off, and how they fail.

use crate::{Clock, Deadline};
use thiserror::Error;

/// Time for each step of a unit, in milliseconds.
pub(super) const TIMEOUT: u64 = 1000;
/// Time for steps that are not needed for the dump.
pub(super) const SHORT_TIMEOUT: u64 = 100;

/// State of a unit before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Was {
    On,
    Off,
}

/// The reason why a unit may go on translating.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum Trouble {
    /// The registers would be in RAM.
    #[error("that is memory, not an IOMMU")]
    InMemory,
    /// They begin elsewhere than firmware may put them.
    #[error("registers begin at a multiple of {0:#x}")]
    NotAligned(u64),
    /// They are beyond the CPU's addresses, or there is no room to map them.
    #[error("cannot be mapped")]
    NotMapped,
    /// This was read in place of a register.
    #[error("no IOMMU answers there (it reads {0:#010x})")]
    Absent(u32),
    /// The unit did not do something in time.
    #[error("the IOMMU did not {0} in time")]
    Timeout(&'static str),
}

/// Waits until `done`; `step` is the text of the error.
pub(super) fn wait(
    clock: &dyn Clock,
    milliseconds: u64,
    step: &'static str,
    done: impl FnMut() -> bool,
) -> Result<(), Trouble> {
    let is_done = Deadline::after(clock, milliseconds).wait(clock, done);
    is_done.then_some(()).ok_or(Trouble::Timeout(step))
}
