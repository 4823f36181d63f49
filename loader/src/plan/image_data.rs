//! Bounds of the kernel's data, for lines of VMCOREINFO: the page filter leaves out no page of it.

use crate::facts::iomem::MemoryMap;

/// Lines `SYMBOL(NAME)=ADDRESS` (virtual, hexadecimal) for the start and the end of data and bss,
/// at most 4 × 40 bytes. `offset` is a virtual address of the image less the physical one, modulo
/// 2^64.
///
/// Source: Linux, `arch/x86/kernel/setup.c`, `setup_arch` (`data_resource`, `bss_resource`).
pub(crate) fn lines(memory: &MemoryMap, offset: u64) -> String {
    let areas = [
        (memory.kernel_data, ["_sdata", "_edata"]),
        (memory.kernel_bss, ["__bss_start", "__bss_stop"]),
    ];
    let mut lines = String::new();
    for (range, names) in areas {
        let Some(range) = range else { continue };
        for (name, at) in names.into_iter().zip([range.start(), range.end()]) {
            lines += &format!("SYMBOL({name})={:x}\n", at.get().wrapping_add(offset));
        }
    }
    lines
}
