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

pub mod cli;
mod error;
pub mod facts;
mod images;
mod json;
pub mod kexec;
mod plan;
mod slot;

pub use error::{PlanError, in_words};
pub use facts::dump_disks::{DumpDisks, FoundDumpDisk};
pub use facts::system::{System, SystemError};
pub use facts::tsc::tsc_khz;
pub use images::elf::ImageError;
pub use images::embedded::{Images, embedded_capture_kernel, embedded_purgatory};
pub use images::kernel_image::MAX_KERNEL_SEGMENTS;
pub use json::RangeJson;
pub use kexec::call::KexecError;
pub use kexec::lock::Holder;
pub use kexec::record::{Record, now};
pub use kexec::reload::{Done, Kernel, ReloadError, Running, reload};
pub use kexec::state::{Recorded, State, StateError, at_work};
pub use kexec::status::{Seen, Status, Verdict};
pub use plan::assemble::{COM1, Plan, PlanOptions, PlannedNotes, PlannedSegment, UserText, plan};
pub use plan::machine::{CpuFacts, Facts};
pub use plan::report::PLAN_VERSION;
pub use plan::reuse::reusable;
pub use plan::room::DiskRoom;
pub use slot::flash::{FlashError, flash};
pub use slot::inspect::Inspection;
pub use slot::pack::{SlotSpec, pack, plan_slot};
