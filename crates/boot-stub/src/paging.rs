//! The capture kernel's address space: PAE, four areas, nothing else mapped.
//!
//! | area | from | mapping |
//! |---|---|---|
//! | image | [`IMAGE_BASE`] | text and rodata read-only, data and bss writable, stack guard absent |
//! | slot memory | [`SLOT_MEMORY_BASE`] | writable, only the range that the memory map grants |
//! | old memory | [`OLD_MEMORY_BASE`] | read-only: pages of 4 KiB, then [`OLD_BLOCKS`] large ones |
//! | devices | [`DEVICE_BASE`] | uncached, writable, registers only |
//!
//! So the hardware itself holds the rule that the capture kernel writes nowhere but in its slot.
//! On a CPU with NX, nothing but the image's text and rodata can be executed. Known on entry:
//! `linux.S` has paging on, with the image mapped by large pages at its physical and at its virtual
//! address. Physical addresses are `u64`, in bytes. (Intel manual, volume 3, 4.4)

#![expect(unsafe_code, reason = "page tables, and symbols of the linker script")]

use crate::machine_check;
use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::ptr::{self, NonNull};
use handoff::layout::PAGE_SIZE;
use x86::controlregs;
use x86::msr::{IA32_EFER, rdmsr, wrmsr};

/// Virtual address of the image.
pub const IMAGE_BASE: u32 = 0xc000_0000;
/// Virtual address of the slot memory that the kernel was granted.
pub const SLOT_MEMORY_BASE: u32 = 0xc400_0000;
/// Virtual address of the window on old memory.
pub const OLD_MEMORY_BASE: u32 = 0xd000_0000;
/// Virtual address of device registers.
pub const DEVICE_BASE: u32 = 0xe000_0000;

/// Number of large pages of the window on old memory, after its pages of 4 KiB.
pub const OLD_BLOCKS: usize = 32;

/// Each area is mapped by one page table: 512 pages, 2 MiB. As much does a large page map.
pub const AREA_PAGES: usize = 512;
/// Bytes in an area (2 MiB).
pub const AREA_SIZE: usize = AREA_PAGES * PAGE;

pub(crate) const PAGE: usize = PAGE_SIZE as usize;
pub(crate) const PRESENT: u64 = 1;
pub(crate) const WRITABLE: u64 = 1 << 1;
pub(crate) const UNCACHED: u64 = 1 << 3 | 1 << 4;
/// An entry of a page directory is a page of 2 MiB.
pub(crate) const LARGE: u64 = 1 << 7;
const NO_EXECUTE: u64 = 1 << 63;

#[repr(C, align(4096))]
pub(crate) struct Table(pub(crate) UnsafeCell<[u64; AREA_PAGES]>);
// SAFETY: one CPU writes it; each table is reached through the one `Area` or `IdentityMap` that
// owns it.
unsafe impl Sync for Table {}

static TABLES: [Table; 4] = [const { Table(UnsafeCell::new([0; AREA_PAGES])) }; 4];

unsafe extern "C" {
    static mut boot_page_directories: [u64; 4 * AREA_PAGES];
    static linux_stack_guard: u8;
    static __image_start: u8;
    static __data_start: u8;
    static __image_end: u8;
}

/// One area: its virtual base, its page table, and the flags of entries that are no code.
struct Area {
    base: u32,
    table: &'static Table,
    /// [`NO_EXECUTE`] where the CPU has it, or zero.
    data: u64,
}

impl Area {
    /// Points page `index` at the physical page `entry` names, with the flags that it carries.
    fn set(&mut self, index: usize, entry: u64) {
        assert!(index < AREA_PAGES);
        // SAFETY: the index is inside the table, which only this `Area` writes. The CPU remembers
        // no entry that was absent (Intel manual, volume 3, 4.10.2.3).
        unsafe {
            let place = self.table.0.get().cast::<u64>().add(index);
            let before = ptr::read_volatile(place);
            ptr::write_volatile(place, entry);
            if before & PRESENT != 0 {
                x86::tlb::flush(self.base as usize + index * PAGE);
            }
        }
    }

    /// Points page `index` at the physical page `entry` names, which is no code.
    fn set_data(&mut self, index: usize, entry: u64) {
        self.set(index, entry | PRESENT | self.data);
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
    /// Replaces the large pages of the entry code by the four areas. `linux.S` passes
    /// `physical_minus_virtual` to main.
    ///
    /// # Safety
    /// To be called once, by the main function that `linux.S` called.
    pub unsafe fn take(physical_minus_virtual: u32) -> Self {
        let data = enable_no_execute();
        let bases = [IMAGE_BASE, SLOT_MEMORY_BASE, OLD_MEMORY_BASE, DEVICE_BASE];
        let [mut image, slot_memory, old_memory, devices] =
            core::array::from_fn(|n| Area { base: bases[n], table: &TABLES[n], data });
        map_image(&mut image, physical_minus_virtual);
        let identity = (IMAGE_BASE.wrapping_add(physical_minus_virtual) >> 21) as usize;
        // SAFETY: the directories are ours, mapped, and big enough for every 32-bit address; the
        // image stays mapped at the address that we run at.
        unsafe {
            let directories = (&raw mut boot_page_directories).cast::<u64>();
            directories.add(identity).write_volatile(0);
            for (base, table) in bases.into_iter().zip(&TABLES) {
                let physical = (table.0.get() as u32).wrapping_add(physical_minus_virtual);
                let entry = u64::from(physical) | PRESENT | WRITABLE;
                directories.add((base >> 21) as usize).write_volatile(entry);
            }
            controlregs::cr3_write(controlregs::cr3());
        }
        Self {
            physical_minus_virtual,
            slot_memory: SlotMemory { area: slot_memory },
            old_memory: OldMemory { area: old_memory },
            devices: Devices { area: devices, used: 0 },
        }
    }

    /// First and one-past-last physical byte of the running image, its bss and stack included.
    pub fn image(&self) -> (u64, u64) {
        let physical = |symbol: *const u8| {
            u64::from((symbol as u32).wrapping_add(self.physical_minus_virtual))
        };
        (physical(&raw const __image_start), physical(&raw const __image_end))
    }

    /// True if the window is really read-only: a store through it to a page of our own must fault,
    /// through a page of 4 KiB and through a large one. Both are taken back.
    pub fn window_refuses_writes(&mut self) -> bool {
        let (_, end) = self.image();
        let ours = end - PAGE_SIZE;
        // The entry code has mapped the same 2 MiB: the image begins where they do, and is no
        // longer.
        let block = ours / AREA_SIZE as u64 * AREA_SIZE as u64;
        self.old_memory.set_page(0, Some(ours));
        self.old_memory.set_block(0, Some(block));
        let refuses = [0, AREA_SIZE + (ours - block) as usize].map(|offset| {
            let address = self.old_memory.area.address(offset);
            // SAFETY: the page is the last one of our own bss, and a store that does go through is
            // reported as the failure that it is.
            !unsafe { crate::exceptions::is_writable(address.as_ptr()) }
        });
        self.old_memory.set_page(0, None);
        self.old_memory.set_block(0, None);
        refuses == [true; 2]
    }
}

/// Has the CPU obey [`NO_EXECUTE`], where it can: the bit, or zero.
fn enable_no_execute() -> u64 {
    /// CPUID.80000001H:EDX: the bit is there, and so is the register that switches it on.
    const HAS_NO_EXECUTE: u32 = 1 << 20;
    const EFER_NXE: u64 = 1 << 11;
    let cpuid = |leaf| core::arch::x86::__cpuid(leaf);
    if cpuid(0x8000_0000).eax < 0x8000_0001 || cpuid(0x8000_0001).edx & HAS_NO_EXECUTE == 0 {
        return 0;
    }
    // SAFETY: the CPU has the register and its bit, and no entry has bit 63 so far.
    unsafe { wrmsr(IA32_EFER, rdmsr(IA32_EFER) | EFER_NXE) };
    NO_EXECUTE
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
        match here {
            _ if here == guard => (),
            _ if here >= data => image.set_data(index, physical | WRITABLE),
            _ => image.set(index, physical | PRESENT),
        }
    }
}

/// Memory of the slot that the kernel was granted.
pub struct SlotMemory {
    area: Area,
}

impl SlotMemory {
    /// Maps `length` bytes (whole pages, at most [`AREA_SIZE`]) at the physical address `start` and
    /// gives them out as they are: to make 2 MiB zero would take longer than all else up to there.
    /// [`None`] when they do not fit.
    ///
    /// # Safety
    /// The range must be memory that the kernel was granted and that has no other user, and this
    /// must be called once.
    pub unsafe fn take(
        mut self,
        start: u64,
        length: usize,
    ) -> Option<&'static mut [MaybeUninit<u8>]> {
        if !start.is_multiple_of(PAGE_SIZE) || !length.is_multiple_of(PAGE) || length > AREA_SIZE {
            return None;
        }
        for index in 0..length / PAGE {
            self.area.set_data(index, (start + (index * PAGE) as u64) | WRITABLE);
        }
        let address = self.area.address(0).as_ptr();
        // SAFETY: just mapped, writable, and by the caller's word without another user.
        Some(unsafe { core::slice::from_raw_parts_mut(address.cast(), length) })
    }
}

/// Bytes of a line: [`OldMemory::is_zero`] takes multiples of it.
pub const LINE: usize = 64;

/// The read-only window on old memory: [`AREA_PAGES`] pages of 4 KiB, followed by [`OLD_BLOCKS`]
/// large pages. The caller decides about the memory in each; an offset counts from the window's
/// start.
pub struct OldMemory {
    area: Area,
}

impl OldMemory {
    /// Bytes in the window.
    const SIZE: usize = (1 + OLD_BLOCKS) * AREA_SIZE;

    /// Shows the page at the physical address `start`, below [`physical_limit`], as page `index`;
    /// or nothing there.
    pub fn set_page(&mut self, index: usize, start: Option<u64>) {
        match start {
            Some(start) => {
                assert!(start.is_multiple_of(PAGE_SIZE));
                self.area.set_data(index, start);
            }
            None => self.area.set(index, 0),
        }
    }

    /// Shows the [`AREA_SIZE`] bytes at the physical address `start`, a multiple of that and below
    /// [`physical_limit`], in large page `slot`; or nothing there. All of them must be RAM: with
    /// large pages the CPU may read ahead, and registers of devices and RAM differ in how they are
    /// cached.
    pub fn set_block(&mut self, slot: usize, start: Option<u64>) {
        assert!(slot < OLD_BLOCKS && start.is_none_or(|at| at.is_multiple_of(AREA_SIZE as u64)));
        let entry = start.map_or(0, |start| start | PRESENT | LARGE | self.area.data);
        let address = self.area.base as usize + (1 + slot) * AREA_SIZE;
        // SAFETY: the directories are ours and have an entry for every 2 MiB of 32 bits; those
        // after the window's page table are written here only, by one CPU. The old mapping is
        // dropped whole by any address in it.
        unsafe {
            let directories = (&raw mut boot_page_directories).cast::<u64>();
            directories.add(address / AREA_SIZE).write_volatile(entry);
            x86::tlb::flush(address);
        }
    }

    /// Copies the bytes of the window at `offset`.
    ///
    /// # Errors
    /// Number of bytes copied before a machine check stopped it.
    pub fn copy(&self, offset: usize, into: &mut [u8]) -> Result<(), usize> {
        let from = self.address(offset, into.len());
        // SAFETY: only read-only mappings of old memory are ever in the window, and an address that
        // is not mapped there ends in the failure action. The memory has plain bytes of a kernel
        // that no longer runs, copied without a reference to them.
        unsafe { machine_check::copy(from, into.as_mut_ptr(), into.len()) }
    }

    /// True when the `length` bytes that the window shows at `offset` are zero: whole lines of 64
    /// bytes, at least one. Each of them is looked at.
    ///
    /// # Errors
    /// Number of bytes looked at before a machine check stopped it.
    pub fn is_zero(&self, offset: usize, length: usize) -> Result<bool, usize> {
        assert!(length > 0 && (offset | length).is_multiple_of(LINE));
        let from = self.address(offset, length);
        // SAFETY: as for `copy`.
        unsafe { machine_check::is_zero(from, length) }
    }

    /// The virtual address of `length` bytes from `offset` on, all of which are in the window.
    fn address(&self, offset: usize, length: usize) -> *const u8 {
        assert!(offset.checked_add(length).is_some_and(|end| end <= Self::SIZE));
        self.area.address(offset).as_ptr()
    }
}

/// Uncached mappings of device registers, never taken back.
pub struct Devices {
    area: Area,
    used: usize,
}

impl Devices {
    /// Maps `length` bytes of registers at the physical address `start`, which may be above 4 GiB.
    /// [`None`] if the area is full or the range is beyond the CPU's addresses.
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
            self.area.set_data(first + index, physical | WRITABLE | UNCACHED);
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
