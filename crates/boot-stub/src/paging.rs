//! The capture kernel's address space: PAE, four areas, nothing else mapped.
//!
//! | area | from | mapping |
//! |---|---|---|
//! | image | [`IMAGE_BASE`] | text and rodata read-only, data and bss writable, stack guard absent |
//! | slot memory | [`SLOT_MEMORY_BASE`] | writable, only the range that the memory map grants |
//! | old memory | [`OLD_MEMORY_BASE`] | read-only, the pages of one request at a time |
//! | devices | [`DEVICE_BASE`] | uncached, writable, registers only |
//!
//! So the hardware itself holds the rule that the capture kernel writes nowhere but in its slot.
//! Known on entry: `linux.S` has paging on, with the image mapped by large pages at its physical and
//! at its virtual address. Physical addresses are `u64`, in bytes. (Intel manual, volume 3, 4.4)

#![expect(unsafe_code, reason = "page tables, and symbols of the linker script")]

use crate::machine_check;
use core::cell::UnsafeCell;
use core::ptr::{self, NonNull};
use handoff::layout::PAGE_SIZE;
use x86::controlregs;

/// Virtual address of the image.
pub const IMAGE_BASE: u32 = 0xc000_0000;
/// Virtual address of the slot memory that the kernel was granted.
pub const SLOT_MEMORY_BASE: u32 = 0xc400_0000;
/// Virtual address of the window on old memory.
pub const OLD_MEMORY_BASE: u32 = 0xd000_0000;
/// Virtual address of device registers.
pub const DEVICE_BASE: u32 = 0xe000_0000;

/// Each area is mapped by one page table: 512 pages, 2 MiB.
pub const AREA_PAGES: usize = 512;
/// Bytes in an area (2 MiB).
pub const AREA_SIZE: usize = AREA_PAGES * PAGE;

pub(crate) const PAGE: usize = PAGE_SIZE as usize;
pub(crate) const PRESENT: u64 = 1;
pub(crate) const WRITABLE: u64 = 1 << 1;
pub(crate) const UNCACHED: u64 = 1 << 3 | 1 << 4;

#[repr(C, align(4096))]
pub(crate) struct Table(pub(crate) UnsafeCell<[u64; AREA_PAGES]>);
// SAFETY: one CPU writes it; each table is reached through the one `Area` or `IdentityMap` that owns
// it.
unsafe impl Sync for Table {}

static TABLES: [Table; 4] = [const { Table(UnsafeCell::new([0; AREA_PAGES])) }; 4];

unsafe extern "C" {
    static mut boot_page_directories: [u64; 4 * AREA_PAGES];
    static linux_stack_guard: u8;
    static __image_start: u8;
    static __data_start: u8;
    static __image_end: u8;
}

/// One area: its virtual base and its page table.
struct Area {
    base: u32,
    table: &'static Table,
}

impl Area {
    /// Points page `index` at the physical page `entry` names, with the flags that it carries.
    fn set(&mut self, index: usize, entry: u64) {
        assert!(index < AREA_PAGES);
        // SAFETY: the index is inside the table, which only this `Area` writes.
        unsafe {
            ptr::write_volatile(self.table.0.get().cast::<u64>().add(index), entry);
            x86::tlb::flush(self.base as usize + index * PAGE);
        }
    }

    fn address(&self, offset: usize) -> NonNull<u8> {
        let address = ptr::with_exposed_provenance_mut(self.base as usize + offset);
        NonNull::new(address).expect("an area's base is not zero")
    }
}

/// The areas, handed out once.
pub struct AddressSpace {
    physical_minus_virtual: u32,
    /// Memory of the slot for the heap.
    pub slot_memory: SlotMemory,
    /// The read-only window.
    pub old_memory: OldMemory,
    /// Device registers.
    pub devices: Devices,
}

impl AddressSpace {
    /// Replaces the large pages of the entry code by the four areas. `physical_minus_virtual` is
    /// what `linux.S` passed to main.
    ///
    /// # Safety
    /// To be called once, by the main function that `linux.S` called.
    pub unsafe fn take(physical_minus_virtual: u32) -> Self {
        let mut image = Area { base: IMAGE_BASE, table: &TABLES[0] };
        map_image(&mut image, physical_minus_virtual);
        let areas = [IMAGE_BASE, SLOT_MEMORY_BASE, OLD_MEMORY_BASE, DEVICE_BASE];
        let identity = (IMAGE_BASE.wrapping_add(physical_minus_virtual) >> 21) as usize;
        // SAFETY: the directories are ours, mapped, and big enough for every 32-bit address; the
        // image stays mapped at the address that we run at.
        unsafe {
            let directories = (&raw mut boot_page_directories).cast::<u64>();
            directories.add(identity).write_volatile(0);
            for (base, table) in areas.into_iter().zip(&TABLES) {
                let physical = (table.0.get() as u32).wrapping_add(physical_minus_virtual);
                let entry = u64::from(physical) | PRESENT | WRITABLE;
                directories.add((base >> 21) as usize).write_volatile(entry);
            }
            controlregs::cr3_write(controlregs::cr3());
        }
        Self {
            physical_minus_virtual,
            slot_memory: SlotMemory { area: Area { base: SLOT_MEMORY_BASE, table: &TABLES[1] } },
            old_memory: OldMemory {
                area: Area { base: OLD_MEMORY_BASE, table: &TABLES[2] },
                mapped: (0, 0),
            },
            devices: Devices { area: Area { base: DEVICE_BASE, table: &TABLES[3] }, used: 0 },
        }
    }

    /// First and one-past-last physical byte of the running image, its bss and stack included.
    pub fn image(&self) -> (u64, u64) {
        let physical = |symbol: *const u8| {
            u64::from((symbol as u32).wrapping_add(self.physical_minus_virtual))
        };
        (physical(&raw const __image_start), physical(&raw const __image_end))
    }

    /// Whether the window is really read-only: a store through it to a page of our own must fault.
    pub fn window_refuses_writes(&mut self) -> bool {
        let (_, end) = self.image();
        let ours = end - PAGE_SIZE;
        self.old_memory.map(ours, 1);
        let address = self.old_memory.area.address(0);
        self.old_memory.mapped = (0, 0);
        // SAFETY: the page behind it is the last one of our own bss, and a store that does go through
        // is reported as the failure that it is.
        !unsafe { crate::exceptions::is_writable(address.as_ptr()) }
    }
}

/// Maps each page of the image: writable from `__data_start` on, absent at the stack guard.
fn map_image(image: &mut Area, physical_minus_virtual: u32) {
    let address = |symbol: *const u8| symbol as usize;
    let data = address(&raw const __data_start);
    let guard = address(&raw const linux_stack_guard);
    let pages = (address(&raw const __image_end) - IMAGE_BASE as usize) / PAGE;
    for index in 0..pages {
        let here = IMAGE_BASE as usize + index * PAGE;
        let physical = u64::from((here as u32).wrapping_add(physical_minus_virtual));
        let writable = if here >= data { WRITABLE } else { 0 };
        if here != guard {
            image.set(index, physical | PRESENT | writable);
        }
    }
}

/// Memory of the slot that the kernel was granted.
pub struct SlotMemory {
    area: Area,
}

impl SlotMemory {
    /// Maps `length` bytes (whole pages, at most [`AREA_SIZE`]) at the physical address `start` and
    /// gives them out, zeroed. [`None`] when they do not fit.
    ///
    /// # Safety
    /// The range must be memory that the kernel was granted and that nobody else uses, and this must
    /// be called once.
    pub unsafe fn take(mut self, start: u64, length: usize) -> Option<&'static mut [u8]> {
        if !start.is_multiple_of(PAGE_SIZE) || !length.is_multiple_of(PAGE) || length > AREA_SIZE {
            return None;
        }
        for index in 0..length / PAGE {
            self.area.set(index, (start + (index * PAGE) as u64) | PRESENT | WRITABLE);
        }
        let address = self.area.address(0).as_ptr();
        // SAFETY: just mapped, writable, and by the caller's word nobody else's.
        unsafe {
            ptr::write_bytes(address, 0, length);
            Some(core::slice::from_raw_parts_mut(address, length))
        }
    }
}

/// Bytes of a line: what [`OldMemory::is_zero`] takes is a multiple of it.
pub const LINE: usize = 64;

/// The read-only window on old memory.
pub struct OldMemory {
    area: Area,
    /// First physical page that the window shows, and how many.
    mapped: (u64, usize),
}

impl OldMemory {
    /// Copies bytes from the physical address `at`. The caller sees to it that the range is below
    /// [`physical_limit`].
    ///
    /// # Errors
    /// The physical address where a machine check stopped it.
    pub fn read(&mut self, mut at: u64, into: &mut [u8]) -> Result<(), u64> {
        for piece in into.chunks_mut(AREA_SIZE - PAGE) {
            let offset = (at % PAGE_SIZE) as usize;
            let pages = (offset + piece.len()).div_ceil(PAGE);
            self.map(at - offset as u64, pages);
            let from = self.area.address(offset).as_ptr();
            // SAFETY: the window shows `pages` pages, which hold the piece; what lies there is plain
            // bytes of a kernel that no longer runs, copied without a reference to them.
            let copied = unsafe { machine_check::copy(from, piece.as_mut_ptr(), piece.len()) };
            copied.map_err(|before| at + before as u64)?;
            at += piece.len() as u64;
        }
        Ok(())
    }

    /// Whether the `length` bytes from `at` on are zero, which lie in one page: whole lines of 64 bytes, at
    /// least one. Each of them is looked at. The caller sees to it that they are below [`physical_limit`].
    ///
    /// # Errors
    /// The physical address where a machine check stopped it.
    pub fn is_zero(&mut self, at: u64, length: usize) -> Result<bool, u64> {
        let offset = (at % PAGE_SIZE) as usize;
        assert!(length > 0 && offset + length <= PAGE && (offset | length).is_multiple_of(LINE));
        self.map(at - offset as u64, 1);
        let from = self.area.address(offset).as_ptr();
        // SAFETY: the window shows the page; what lies there is plain bytes of a kernel that no longer
        // runs, looked at without a reference to them.
        unsafe { machine_check::is_zero(from, length) }.map_err(|before| at + before as u64)
    }

    /// Shows `pages` pages from the page-aligned physical address `start` on, and no others.
    fn map(&mut self, start: u64, pages: usize) {
        if self.mapped == (start, pages) {
            return;
        }
        for index in pages..self.mapped.1 {
            self.area.set(index, 0);
        }
        for index in 0..pages {
            self.area.set(index, (start + (index * PAGE) as u64) | PRESENT);
        }
        self.mapped = (start, pages);
    }
}

/// Uncached mappings of device registers, never taken back.
pub struct Devices {
    area: Area,
    used: usize,
}

impl Devices {
    /// Maps `length` bytes of registers at the physical address `start`, which may lie above 4 GiB.
    /// [`None`] when the area is full or the range is beyond the CPU's addresses.
    pub fn map(&mut self, start: u64, length: usize) -> Option<NonNull<u8>> {
        let end = start.checked_add(length as u64)?;
        let offset = (start % PAGE_SIZE) as usize;
        let pages = offset.checked_add(length)?.div_ceil(PAGE);
        if end > physical_limit() || pages > AREA_PAGES - self.used {
            return None;
        }
        let first = self.used;
        for index in 0..pages {
            let physical = start - offset as u64 + (index * PAGE) as u64;
            self.area.set(first + index, physical | PRESENT | WRITABLE | UNCACHED);
        }
        self.used += pages;
        Some(self.area.address(first * PAGE + offset))
    }
}

/// One past the highest physical address of this CPU: 2 to the MAXPHYADDR of CPUID, at most 2^52.
pub fn physical_limit() -> u64 {
    let cpuid = |leaf| core::arch::x86::__cpuid(leaf);
    let bits = match cpuid(0x8000_0000).eax {
        top if top >= 0x8000_0008 => cpuid(0x8000_0008).eax & 0xff,
        _ => 36,
    };
    1 << bits.clamp(32, 52)
}
