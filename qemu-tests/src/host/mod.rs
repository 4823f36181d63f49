//! The host: QEMU and the tools around it.

pub mod controller;
pub mod deadline;
pub mod dump_disk;
pub mod gdb;
pub mod guest_dump;
pub mod image;
pub mod machine_type;
pub mod memory;
pub mod nbd;
mod partitioned;
pub mod qemu;
pub mod qmp;
pub mod scratch;
