//! Crash-and-capture cycles under QEMU, and the ground truth.
//!
//! ```text
//! first_kernel ─ prepare ─▶ qemu ─ console, gdb ─▶ session ─▶ truth, facts ─▶ checks ─▶ report
//! ```
//!
//! A cycle boots a first kernel, has the capture kernel loaded, crashes the machine and looks at
//! what arrives. The judge shares no code with the judged: the vmcore is read by goblin and gdb,
//! memory by the file behind QEMU's RAM, and what the dead kernel knew by its own words on the
//! console. Building images is xtask's work; here they are paths.

pub mod arrival;
pub mod bzimage;
pub mod checks;
pub mod collector_process;
pub mod console;
pub mod core_file;
pub mod cycle;
pub mod dead_kernel;
pub mod deadline;
pub mod delivery;
pub mod dump_disk;
pub mod facts;
pub mod first_kernel;
pub mod gdb;
pub mod guest;
pub mod guest_dump;
pub mod hotplug;
pub mod image;
pub mod initramfs;
pub mod kexec_tools;
pub mod line;
pub mod machine_type;
pub mod mappings;
pub mod memory;
pub mod nbd;
pub mod page_tables;
pub mod qemu;
pub mod qmp;
pub mod ranges;
pub mod receiving;
pub mod report;
pub mod reseal;
pub mod scratch;
pub mod session;
pub mod slot;
pub mod stock_capture;
pub mod timeline;
pub mod truth;
pub mod virtio_modules;

pub use cycle::{Config, Crash, Fault, NmiPlace, run};
pub use deadline::Interrupt;
pub use delivery::{Delivery, Fate, Noise, Pull, Targets, Way};
pub use first_kernel::FirstKernel;
pub use guest::Loading;
pub use guest_dump::GuestDump;
pub use hotplug::Hotplug;
pub use kexec_tools::KexecTools;
pub use machine_type::MachineType;
pub use report::{Banner, Check, Outcome, Report, Verdict};
pub use stock_capture::StockCapture;
