//! Loads the capture kernel into the crashkernel reservation.
//!
//! ```text
//! /proc, /sys ──System::read──▶ System ─┐
//! ELF files ───────────────────▶ Images ┼─plan──▶ Plan ──kexec::load──▶ first kernel
//! command line ───────────▶ PlanOptions ┘      └─pack──▶ slot image ──flash──▶ device
//! ```
//!
//! [`plan()`] is pure: it can be run on a saved copy of another machine's files, and its result can
//! be printed, written as JSON or placed by another program. Only [`kexec`] makes system calls;
//! [`reload()`] decides about them, and about the steps after a refusal.

pub mod cli;
mod error;
pub mod facts;
mod images;
mod json;
pub mod kexec;
mod plan;
mod slot;

pub use error::in_words;
pub use facts::dump_disks::{DumpDisks, FoundDumpDisk};
pub use facts::error::{PagesError, SystemError};
pub use facts::name_lines::Names;
pub use facts::pages::LivePages;
pub use facts::system::System;
pub use facts::tsc::tsc_khz;
pub use images::error::ImageError;
pub use images::files::{Images, embedded_capture_kernel, embedded_purgatory};
pub use images::kernel_image::MAX_KERNEL_SEGMENTS;
pub use json::RangeJson;
pub use kexec::error::KexecError;
pub use kexec::holder::Holder;
pub use kexec::record::{Record, now};
pub use kexec::reload::{Done, Kernel, Running, reload};
pub use kexec::state::{Known, Recorded, State, at_work};
pub use kexec::status::{Seen, Status, Verdict};
pub use plan::error::PlanError;
pub use plan::fill::plan;
pub use plan::machine::{CpuFacts, Facts};
pub use plan::report::PLAN_VERSION;
pub use plan::reuse::reusable;
pub use plan::room::DiskRoom;
pub use plan::sizes::{LevelSize, LevelSizes};
pub use plan::types::{COM1, Plan, PlanOptions, PlannedNotes, PlannedSegment, UserText};
pub use slot::flash::{FlashError, flash};
pub use slot::inspect::Inspection;
pub use slot::pack::{SlotSpec, pack, plan_slot};
