//! The first kernel's memory, as its own files tell it: RAM, and where it is mapped.

use vmcore::{LinearMap, MemoryRanges, PhysAddr};

use crate::error::PlanError;
use crate::system::System;

/// How many separate ranges of RAM there is room for; real machines have some dozens at most.
pub(crate) const MAX_RANGES: usize = 512;
/// One past the highest virtual address of i386.
const VIRTUAL_END: u64 = 1 << 32;

/// RAM, lowest first.
pub(crate) type Ram = MemoryRanges<MAX_RANGES>;

/// All RAM of the first kernel less what is reserved for a crash kernel.
pub(crate) fn crash_memory_ranges(system: &System) -> Result<Ram, PlanError> {
    let memory = &system.memory;
    if memory.ram.iter().all(|range| range.is_empty()) {
        return Err(PlanError::NoRam);
    }
    Ok(vmcore::crash_memory_ranges(memory.ram.iter().copied(), &memory.reservations)?)
}

/// The first kernel's linear mapping, or why it is not known.
pub(crate) fn linear_map(system: &System) -> Result<LinearMap, &'static str> {
    let text = system.text.ok_or("/proc/kallsyms has no address for _text")?;
    let code = system.memory.kernel_code.ok_or("/proc/iomem has no \"Kernel code\"")?;
    let end = system.lowmem_end.ok_or("/proc/zoneinfo has no zone Normal")?;
    let page_offset = text.checked_sub(code.get()).filter(|offset| is_page_offset(*offset));
    let page_offset = page_offset.ok_or("_text does not lie where \"Kernel code\" is mapped")?;
    Ok(LinearMap { page_offset, end: end.min(PhysAddr::new(VIRTUAL_END - page_offset)) })
}

/// Linux/i386 splits the address space at a multiple of 128 MiB (`CONFIG_PAGE_OFFSET`).
fn is_page_offset(offset: u64) -> bool {
    offset > 0 && offset < VIRTUAL_END && offset.is_multiple_of(128 << 20)
}
