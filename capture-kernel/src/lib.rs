//! The parts of the capture kernel that do not touch the machine by themselves: which memory it may
//! use, PCI, virtio-mmio, virtio, the local APIC, targets, and the pump that moves a view to a
//! target.
//!
//! The machine comes in through traits: [`Clock`] for time, `ConfigurationAccess` and `Transport`
//! of virtio-drivers for devices, [`vmcore::ReadPhys`] for old memory. So all of it is tested on
//! the host over fakes; the binary beside it is the little that is left.

#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod backtraces;
pub mod bus;
pub mod clock;
pub mod devices;
pub mod disk_search;
pub mod driver;
pub mod dump;
pub mod gather;
pub mod held;
pub mod iommu;
pub mod list;
pub mod local_apic;
pub mod memory;
pub mod pump;
pub mod rate;
pub mod selection;
pub mod targets;
pub mod watch;
pub mod window;

pub use clock::{Clock, Deadline};

#[cfg(test)]
mod fake;
