//! Faults that a cycle causes.

pub mod hotplug;
pub mod reseal;
