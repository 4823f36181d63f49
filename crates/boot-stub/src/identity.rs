//! An identity map for an image that boots with paging off: every 32-bit address is the physical
//! address, except pages that are taken out, so that an access to them faults, and one window
//! through which memory above 4 GiB is reached. PAE, pages of 2 MiB; the first 4 MiB, with the
//! image and its stacks, in pages of 4 KiB. (Intel manual, volume 3, 4.4)

#![expect(unsafe_code, reason = "page tables and control registers")]

use crate::paging::{AREA_PAGES, AREA_SIZE, LARGE, PAGE, PRESENT, Table, UNCACHED, WRITABLE};
use core::cell::UnsafeCell;
use core::ptr::{NonNull, with_exposed_provenance_mut};
use x86::controlregs::{self, Cr0, Cr4};

/// Bytes that the window shows.
pub const WINDOW_SIZE: u64 = AREA_SIZE as u64;
/// Virtual address of the window: between the devices of a PC's chipset and its ROM, where nothing
/// is.
const WINDOW: usize = 0xff80_0000;
/// From here on there are devices and no RAM (physical).
const DEVICES: u64 = 0xe000_0000;
/// As many areas of 2 MiB, from 0 on, are mapped by pages of 4 KiB.
const FINE_AREAS: usize = 2;

/// Directory pointers as CR3 finds them.
#[repr(C, align(32))]
struct Pointers(UnsafeCell<[u64; 4]>);
// SAFETY: written by the one CPU that calls `IdentityMap::build`.
unsafe impl Sync for Pointers {}

/// The page tables.
pub struct IdentityMap {
    pointers: Pointers,
    directories: [Table; 4],
    fine: [Table; FINE_AREAS],
}

/// The window on memory above 4 GiB.
pub struct Window(&'static IdentityMap);

impl IdentityMap {
    /// Page tables that map nothing.
    pub const fn new() -> Self {
        Self {
            pointers: Pointers(UnsafeCell::new([0; 4])),
            directories: [const { Table(UnsafeCell::new([0; AREA_PAGES])) }; 4],
            fine: [const { Table(UnsafeCell::new([0; AREA_PAGES])) }; FINE_AREAS],
        }
    }

    /// Maps everything but the pages at the addresses `absent`, which must be in the first 4 MiB;
    /// others are ignored. The window shows nothing yet.
    ///
    /// # Safety
    /// To be called once, with paging off, before any CPU loads the tables.
    pub unsafe fn build(&'static self, absent: impl Iterator<Item = usize>) -> Window {
        for area in 0..4 * AREA_PAGES {
            let start = (area * AREA_SIZE) as u64;
            let cache = if start >= DEVICES { UNCACHED } else { 0 };
            self.set_area(area, start | PRESENT | WRITABLE | LARGE | cache);
        }
        for page in 0..FINE_AREAS * AREA_PAGES {
            self.set_page(page, (page * PAGE) as u64 | PRESENT | WRITABLE);
        }
        for (area, table) in self.fine.iter().enumerate() {
            self.set_area(area, table.0.get() as u64 | PRESENT | WRITABLE);
        }
        for address in absent.filter(|address| *address < FINE_AREAS * AREA_SIZE) {
            self.set_page(address / PAGE, 0);
        }
        self.set_area(WINDOW / AREA_SIZE, 0);
        // The directory pointers: present is the only bit that is not reserved.
        let pointers = self.directories.each_ref().map(|table| table.0.get() as u64 | PRESENT);
        // SAFETY: no CPU uses them yet, by the caller's word.
        unsafe { self.pointers.0.get().write(pointers) }
        Window(self)
    }

    fn set_area(&self, area: usize, entry: u64) {
        set(&self.directories[area / AREA_PAGES], area % AREA_PAGES, entry);
    }

    fn set_page(&self, page: usize, entry: u64) {
        set(&self.fine[page / AREA_PAGES], page % AREA_PAGES, entry);
    }

    /// Switches paging on, on the CPU that asks.
    ///
    /// # Safety
    /// The tables must be built. Memory that is absent from them must not be in use, nor the memory
    /// at the window.
    pub unsafe fn load(&'static self) {
        // SAFETY: as the caller vouches, all that is in use keeps its address.
        unsafe {
            controlregs::cr4_write(controlregs::cr4() | Cr4::CR4_ENABLE_PAE);
            controlregs::cr3_write(self.pointers.0.get() as u64);
            controlregs::cr0_write(controlregs::cr0() | Cr0::CR0_ENABLE_PAGING);
        }
    }
}

impl Default for IdentityMap {
    fn default() -> Self {
        Self::new()
    }
}

fn set(table: &Table, index: usize, entry: u64) {
    assert!(index < AREA_PAGES);
    // SAFETY: the index is inside the table, and one CPU writes it.
    unsafe { table.0.get().cast::<u64>().add(index).write_volatile(entry) }
}

impl Window {
    /// Shows [`WINDOW_SIZE`] bytes of memory from the physical address `start`, which is cut to a
    /// multiple of that, in place of the earlier memory; returns the virtual address of `start`.
    pub fn show(&mut self, start: u64) -> NonNull<u8> {
        let first = start & !(WINDOW_SIZE - 1);
        self.0.set_area(WINDOW / AREA_SIZE, first | PRESENT | WRITABLE | LARGE);
        // SAFETY: drops the CPU's entries for the window, nothing else.
        unsafe { x86::tlb::flush(WINDOW) }
        let at = with_exposed_provenance_mut(WINDOW + (start - first) as usize);
        NonNull::new(at).expect("the window is not at zero")
    }
}

/// Switches paging off, on the CPU that asks, and leaves CR3 and CR4 as they are after a reset.
///
/// # Safety
/// The code, the stack and all else in use must be at their physical addresses.
pub unsafe fn off() {
    // SAFETY: as the caller vouches, nothing moves.
    unsafe {
        controlregs::cr0_write(controlregs::cr0() - Cr0::CR0_ENABLE_PAGING);
        controlregs::cr3_write(0);
        controlregs::cr4_write(Cr4::empty());
    }
}
