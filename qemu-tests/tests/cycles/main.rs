//! Crash-and-capture cycles: each test boots a first kernel under QEMU, crashes it, and checks the
//! dump that the capture kernel saved. `cargo xtask test` builds the files that they need and
//! passes their paths.

mod backtraces;
mod basics;
mod busy_disks;
mod clock;
mod command_lines;
mod common;
mod controllers;
mod core_headers;
mod cpus;
mod crash_kinds;
mod deaths;
mod disks;
mod dma;
mod dmesg;
mod guest;
mod hangs;
mod hot_memory;
mod iommu;
mod kernels;
mod levels;
mod lines;
mod linux;
mod linux_deaths;
mod machine_checks;
mod microvm;
mod nmis;
mod oldmem;
mod own_panics;
mod pages;
mod pulls;
mod readers;
mod reload;
mod slot_damage;
mod slot_images;
mod status;
mod stock_loader;
mod takeover;
mod targets;
