//! The kernel's subsystems as typed data. A missing part is named in the data.

pub mod address_space;
mod clock;
mod date;
pub mod disks;
pub mod files;
mod holes;
pub mod hung;
pub mod interfaces;
pub mod irqs;
mod jiffies;
pub mod log;
pub mod majors;
pub mod meminfo;
pub mod modules;
pub mod mounts;
pub mod panic;
mod paths;
pub mod run_queues;
pub mod slabs;
pub mod stacks;
pub mod swap;
pub mod system;
pub mod tasks;
pub mod timers;
pub mod vmalloc;
mod vmstat;
pub mod workqueues;
pub mod zones;

use crate::Kernel;

/// Bytes of a page.
fn page_size(kernel: &Kernel<'_>) -> u64 {
    let size = vmcore::vmcoreinfo_get(kernel.vmcoreinfo(), "PAGESIZE");
    size.and_then(|size| size.parse().ok()).unwrap_or(4096)
}
