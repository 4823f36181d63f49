//! Crash-and-capture cycles: each test boots a first kernel under QEMU, crashes it, and looks at
//! what the capture kernel saved. `cargo xtask test` builds what they need and says where it is.

mod command_lines;
mod common;
mod core_headers;
mod disks;
mod dmesg;
mod guest;
mod linux;
mod oldmem;
mod slot_damage;
