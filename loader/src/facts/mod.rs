//! Facts about the first kernel and its machine, from the files of the running system.

pub(crate) mod acpi;
mod block_devices;
pub(crate) mod cpus;
pub(crate) mod crashkernel;
pub(crate) mod dump_disks;
pub(crate) mod error;
pub(crate) mod firmware;
pub mod iomem;
pub mod iommu;
pub(crate) mod kallsyms;
pub mod kcore;
pub(crate) mod kexec_files;
pub(crate) mod live_memory;
pub(crate) mod memory;
pub(crate) mod module_evidence;
pub mod name_lines;
pub mod names;
pub mod pages;
pub(crate) mod per_cpu_evidence;
pub(crate) mod read;
pub(crate) mod scan;
pub(crate) mod setup_header;
pub mod system;
pub(crate) mod tsc;
pub(crate) mod zoneinfo;
