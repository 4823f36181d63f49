//! The judge: readers of a vmcore that are not ours, ground truth, and checks.

pub mod arrival;
pub mod backtrace;
pub mod call_trace;
pub(crate) mod contents;
pub mod core_file;
pub(crate) mod coverage;
pub(crate) mod cpus;
pub mod crashinfo;
pub mod dead_kernel;
pub mod disk_after;
pub mod evidence;
pub mod facts;
pub mod free_pages;
pub mod judged;
pub(crate) mod kept;
pub mod left_out;
pub mod mappings;
pub(crate) mod notes;
pub mod page_flags;
pub mod page_tables;
pub mod ranges;
pub mod said;
pub mod stacks;
pub mod truth;
pub mod unwound;
pub(crate) mod vmcore;
