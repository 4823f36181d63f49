//! Loads the capture kernel into the crashkernel reservation.
//!
//! ```text
//! /proc, /sys ──System::read──▶ System ─┐
//! ELF files ───────────────────▶ Images ┼─plan──▶ Plan ──kexec::load──▶ first kernel
//! command line ───────────▶ PlanOptions ┘      └─pack──▶ slot image ──flash──▶ device
//! ```
//!
//! [`plan()`] is pure: it can be run on a saved copy of another machine's files, and its result can
//! be printed, written as JSON or placed by somebody else. Only [`kexec`] asks the kernel to do
//! anything; [`reload()`] decides when, and what to do when the kernel refuses.

mod acpi;
mod bzimage;
pub mod cli;
mod command_line;
mod contents;
mod core_header;
mod cpus;
mod crashkernel;
mod dump_disks;
mod e820;
mod elf;
mod error;
mod facts;
mod firmware;
mod flash;
mod images;
mod in_use;
mod inspect;
pub mod iomem;
mod json;
pub mod kcore;
mod kernel_image;
pub mod kexec;
mod kexec_files;
mod layout;
mod left_out;
mod lock;
mod memory;
mod pack;
mod plan;
mod purgatory;
mod record;
mod reload;
mod report;
mod reuse;
mod room;
mod setup_header;
mod state;
mod status;
pub mod system;
mod target;
mod tsc;
mod zoneinfo;

pub use dump_disks::{DumpDisks, FoundDumpDisk};
pub use elf::ImageError;
pub use error::{PlanError, in_words};
pub use facts::{CpuFacts, Facts};
pub use flash::{FlashError, flash};
pub use images::{Images, embedded_capture_kernel, embedded_purgatory};
pub use inspect::Inspection;
pub use json::RangeJson;
pub use kernel_image::MAX_KERNEL_SEGMENTS;
pub use kexec::KexecError;
pub use lock::Holder;
pub use pack::{SlotSpec, pack, plan_slot};
pub use plan::{COM1, Plan, PlanOptions, PlannedNotes, PlannedSegment, UserText, plan};
pub use record::{Record, now};
pub use reload::{Done, Kernel, ReloadError, Running, reload};
pub use report::PLAN_VERSION;
pub use reuse::reusable;
pub use room::DiskRoom;
pub use state::{Recorded, State, StateError, at_work};
pub use status::{Seen, Status, Verdict};
pub use system::{System, SystemError};
pub use tsc::tsc_khz;
