//! A pattern in memory, so that a page which lands in the wrong place of the dump is seen.

#![expect(unsafe_code, reason = "memory that nobody uses is written by physical address")]

use crate::multiboot::Multiboot;
use core::ops::Range;

const PAGE: u64 = 4096;
/// From here on memory is the guest's: below are firmware's data, the trampoline and the boot loader's
/// information.
const LOWEST: u64 = 0x2_0000;
/// Where the guest's image begins.
const HIGH_MEMORY: u64 = 1 << 20;
/// The guest has no page tables and reaches no further.
const LIMIT: u64 = 1 << 32;
/// As many ranges of RAM as are filled at most.
const MAX_RANGES: usize = 32;

unsafe extern "C" {
    static __bss_end: u8;
}

/// Writes to the start of each whole page of free RAM its own physical address, as 8 bytes. Free is
/// what lies above 128 KiB and is neither the guest's image nor the `slot`. Nothing that the boot
/// loader left may be looked at afterwards.
///
/// # Safety
/// Nobody may have a reference into free RAM.
pub(crate) unsafe fn fill(information: Multiboot, slot: &Range<u64>) {
    let image = HIGH_MEMORY..(&raw const __bss_end) as u64;
    // The map itself may lie in memory that is about to be filled.
    let mut ranges = [const { 0..0 }; MAX_RANGES];
    for (range, ram) in ranges.iter_mut().zip(information.ram()) {
        *range = ram.start.max(LOWEST).next_multiple_of(PAGE)..ram.end.min(LIMIT);
    }
    for range in ranges {
        let end = range.end;
        for page in range.step_by(PAGE as usize).filter(|page| page + PAGE <= end) {
            let is_free = |taken: &Range<u64>| page + PAGE <= taken.start || taken.end <= page;
            if is_free(&image) && is_free(slot) {
                let at = core::ptr::with_exposed_provenance_mut::<u64>(page as usize);
                // SAFETY: RAM that, as the caller vouches, nobody uses; paging is off.
                unsafe { at.write_volatile(page) }
            }
        }
    }
}
