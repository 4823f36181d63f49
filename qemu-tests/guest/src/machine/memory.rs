//! A pattern in memory, so that a page which lands in the wrong place of the dump is seen.

#![expect(unsafe_code, reason = "memory that nobody uses is written by physical address")]

use crate::machine::multiboot::Multiboot;
use boot_stub::identity::{WINDOW_SIZE, Window};
use boot_stub::paging::physical_limit;
use core::ops::Range;
use core::ptr::with_exposed_provenance_mut;

const PAGE: u64 = 4096;
/// From here on memory is the guest's: below are firmware's data, the trampoline and the boot
/// loader's information.
const LOWEST: u64 = 0x2_0000;
/// Start of the guest's image.
const HIGH_MEMORY: u64 = 1 << 20;
/// Up to here an address is its own physical address; the rest is reached through the window.
const MAPPED: u64 = 1 << 32;
/// As many ranges of RAM as are filled at most.
const MAX_RANGES: usize = 32;

unsafe extern "C" {
    static __bss_end: u8;
}

/// Writes to the start of each whole page of free RAM its own physical address, as 8 bytes. Free is
/// memory above 128 KiB that is neither the guest's image nor the `slot`. Data of the boot loader
/// must not be used afterwards.
///
/// # Safety
/// Nobody may have a reference into free RAM.
pub(crate) unsafe fn fill(information: Multiboot, slot: &Range<u64>, window: &mut Window) {
    let image = HIGH_MEMORY..(&raw const __bss_end) as u64;
    // The map itself may be in memory that is about to be filled.
    let mut ranges = [const { 0..0 }; MAX_RANGES];
    for (range, ram) in ranges.iter_mut().zip(information.ram()) {
        *range = ram.start.max(LOWEST).next_multiple_of(PAGE)..ram.end.min(physical_limit());
    }
    for range in ranges {
        // SAFETY: as the caller vouches; image and slot are left out.
        unsafe {
            let (low, high) = split(&range, MAPPED);
            fill_low(low, |page| is_outside(page, &image) && is_outside(page, slot));
            fill_high(high, window);
        }
    }
}

fn is_outside(page: u64, taken: &Range<u64>) -> bool {
    page + PAGE <= taken.start || taken.end <= page
}

/// The parts below and above an address.
fn split(range: &Range<u64>, at: u64) -> (Range<u64>, Range<u64>) {
    (range.start.min(at)..range.end.min(at), range.start.max(at)..range.end.max(at))
}

/// Starts of the whole pages of a range that begins with a page.
fn pages(range: Range<u64>) -> impl Iterator<Item = u64> {
    let end = range.end;
    range.step_by(PAGE as usize).filter(move |page| page + PAGE <= end)
}

/// # Safety
/// Nobody may have a reference into the pages that are free.
unsafe fn fill_low(range: Range<u64>, is_free: impl Fn(u64) -> bool) {
    for page in pages(range).filter(|page| is_free(*page)) {
        // SAFETY: RAM that, as the caller vouches, has no user, identity-mapped.
        unsafe { with_exposed_provenance_mut::<u64>(page as usize).write_volatile(page) }
    }
}

/// # Safety
/// Nobody may have a reference into the range.
unsafe fn fill_high(range: Range<u64>, window: &mut Window) {
    let mut start = range.start;
    while start < range.end {
        let end = range.end.min((start + 1).next_multiple_of(WINDOW_SIZE));
        let shown = window.show(start).cast::<u64>();
        for page in pages(start..end) {
            // SAFETY: the window shows the page, which as the caller vouches has no user.
            unsafe { shown.byte_add((page - start) as usize).write_volatile(page) }
        }
        start = end;
    }
}
