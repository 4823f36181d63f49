//! The first kernel's memory, as its own files tell it: RAM, and where it is mapped.

use vmcore::{LinearMap, PhysAddr, RangeSet, Segment, SegmentKind};

use crate::facts::kcore::{KERNEL_MAP, KernelMap};
use crate::facts::system::{Machine, System};

/// One past the highest virtual address of i386.
const VIRTUAL_END: u64 = 1 << 32;

/// RAM, lowest first: thousands of ranges where a hypervisor has taken memory back in between.
pub(crate) type Ram = RangeSet;

/// The first kernel's linear mapping, or why it is not known.
pub(crate) fn linear_map(system: &System) -> Result<LinearMap, &'static str> {
    if system.machine == Some(Machine::X86_64) {
        // All of memory is mapped; the kernel's own image follows.
        let found = system.kcore.page_offset;
        let page_offset = found.ok_or("/proc/kcore does not tell where memory is mapped")?;
        return Ok(LinearMap { page_offset, end: PhysAddr::new(KERNEL_MAP - page_offset) });
    }
    let text = system.text.ok_or("/proc/kallsyms has no address for _text")?;
    let code = system.memory.kernel_code.ok_or("/proc/iomem has no \"Kernel code\"")?;
    let end = system.lowmem_end.ok_or("/proc/zoneinfo has no zone Normal")?;
    let page_offset = text.checked_sub(code.get()).filter(|offset| is_page_offset(*offset));
    let page_offset = page_offset.ok_or("_text is not in the mapping of \"Kernel code\"")?;
    Ok(LinearMap { page_offset, end: end.min(PhysAddr::new(VIRTUAL_END - page_offset)) })
}

/// Linux/i386 splits the address space at a multiple of 128 MiB (`CONFIG_PAGE_OFFSET`).
fn is_page_offset(offset: u64) -> bool {
    offset > 0 && offset < VIRTUAL_END && offset.is_multiple_of(128 << 20)
}

/// A second PT_LOAD for the image of an x86_64 kernel, at the virtual addresses that it is linked
/// and run at. Its bytes are part of another PT_LOAD and are not sent twice. Or why there is none.
pub(crate) fn image_load(
    map: &KernelMap,
    system: &System,
    ram: &Ram,
) -> Result<Segment, &'static str> {
    if system.memory.kernel_code != Some(map.range.start()) {
        return Err(
            "the kernel's image in /proc/kcore is not where /proc/iomem has \"Kernel code\"",
        );
    }
    if !ram.contains(map.range) || map.range.is_empty() {
        return Err("the kernel's image in /proc/kcore is not in System RAM");
    }
    Ok(Segment {
        kind: SegmentKind::Load,
        source: map.range.start(),
        vaddr: map.vaddr,
        paddr: map.range.start(),
        filesz: map.range.length(),
        memsz: map.range.length(),
        flags: vmcore::RWX,
    })
}
