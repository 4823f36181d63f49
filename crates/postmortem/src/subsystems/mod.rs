//! The kernel's subsystems as typed data. A missing part is named in the data.

mod holes;
pub mod meminfo;
pub mod modules;
pub mod mounts;
mod paths;
pub mod swap;
mod vmstat;
pub mod zones;
