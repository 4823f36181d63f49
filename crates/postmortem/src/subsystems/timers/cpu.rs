//! The timers of one CPU.

use serde::Serialize;

use super::queue::ClockBase;
use super::wheel::Wheel;

/// The timers of a CPU.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CpuTimers {
    /// Number of the CPU.
    pub cpu: u32,
    /// Wheels of ticks.
    pub wheels: Vec<Wheel>,
    /// Queues by clock.
    pub clocks: Vec<ClockBase>,
}
