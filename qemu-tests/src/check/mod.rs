//! The judge: readers of a vmcore that are not ours, ground truth, and checks.

pub mod arrival;
pub mod checks;
pub mod core_file;
pub mod dead_kernel;
pub mod facts;
pub mod mappings;
pub mod page_tables;
pub mod ranges;
pub mod truth;
