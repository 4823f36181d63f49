//! The backtrace of one CPU.

use crate::Comm;
use crate::backtrace::{Frame, Trace};

/// The backtrace of a CPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuTrace {
    /// The CPU's number, if it is known.
    pub number: Option<u32>,
    /// Pid of the task that ran there.
    pub pid: u32,
    /// Its name, if it is known.
    pub comm: Option<Comm>,
    /// True for the CPU that crashed.
    pub has_crashed: bool,
    /// False for a CPU that did not save its registers. Then the frames are those of its task when
    /// it last slept, all of them guesses.
    pub has_registers: bool,
    /// Its frames.
    pub trace: Trace,
}

impl CpuTrace {
    /// Bytes of heap that its frames take.
    pub(super) const fn heap(&self) -> usize {
        self.trace.frames.capacity() * size_of::<Frame>()
    }
}
