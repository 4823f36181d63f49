//! Loads the capture kernel into the crashkernel reservation.
//!
//! ```text
//! /proc, /sys ──System::read──▶ System ─┐
//! ELF files ───────────────────▶ Images ┼─plan──▶ Plan ──kexec::load──▶ first kernel
//! command line ───────────▶ PlanOptions ┘
//! ```
//!
//! [`plan()`] is pure: it can be run on a saved copy of another machine's files, and its result can
//! be printed, written as JSON or placed by somebody else. Only [`kexec`] asks the kernel to do
//! anything.

mod acpi;
mod command_line;
mod contents;
mod core_header;
mod cpus;
mod elf;
mod error;
mod images;
pub mod iomem;
pub mod kcore;
mod kernel_image;
pub mod kexec;
mod layout;
mod memory;
mod plan;
mod purgatory;
mod report;
mod setup_header;
mod status;
pub mod system;
mod zoneinfo;

pub use elf::ImageError;
pub use error::PlanError;
pub use images::{Images, embedded_capture_kernel, embedded_purgatory};
pub use kernel_image::MAX_KERNEL_SEGMENTS;
pub use kexec::KexecError;
pub use plan::{COM1, Plan, PlanOptions, PlannedNotes, PlannedSegment, UserText, plan};
pub use report::PLAN_VERSION;
pub use status::Status;
pub use system::{System, SystemError};
