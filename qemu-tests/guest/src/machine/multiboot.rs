//! The boot loader's information for a multiboot kernel (Multiboot 0.6.96, section 3.3).

#![expect(unsafe_code, reason = "the boot loader's structures are found by physical address")]

use core::ffi::CStr;
use core::ops::Range;
use core::ptr::with_exposed_provenance;

/// EAX of a kernel that a multiboot loader started.
const MAGIC: u32 = 0x2bad_b002;
/// Flags: `cmdline`, the modules and the memory map are valid.
const HAS_COMMAND_LINE: u32 = 1 << 2;
const HAS_MODULES: u32 = 1 << 3;
const HAS_MEMORY_MAP: u32 = 1 << 6;
/// A range of the memory map that is RAM.
const RAM: u32 = 1;

/// The beginning of the multiboot information.
#[repr(C)]
struct Information {
    flags: u32,
    mem_lower: u32,
    mem_upper: u32,
    boot_device: u32,
    cmdline: u32,
    modules_count: u32,
    modules_addr: u32,
    symbols: [u32; 4],
    mmap_length: u32,
    mmap_addr: u32,
}

/// One module: its first byte, and one past its last (physical).
#[repr(C, packed)]
struct Module {
    start: u32,
    end: u32,
}

/// One range of the memory map. `size` counts the bytes after it.
#[repr(C, packed)]
struct MapEntry {
    size: u32,
    base: u64,
    length: u64,
    kind: u32,
}

/// The boot loader's information. It is in memory that the guest has not taken yet.
#[derive(Clone, Copy)]
pub(crate) struct Multiboot(&'static Information);

impl Multiboot {
    /// The information that EBX points to, if EAX holds multiboot's magic.
    pub(crate) fn new(magic: u32, information: u32) -> Option<Self> {
        if magic != MAGIC {
            return None;
        }
        // SAFETY: the loader that passed the magic put the structure there; paging is off, and the
        // guest writes no memory but its own image before it has read all of it.
        Some(Self(unsafe { &*with_exposed_provenance(information as usize) }))
    }

    /// The command line, if there is one and it is text.
    pub(crate) fn command_line(self) -> Option<&'static str> {
        if self.0.flags & HAS_COMMAND_LINE == 0 {
            return None;
        }
        // SAFETY: as in `new`.
        let text = unsafe { CStr::from_ptr(with_exposed_provenance(self.0.cmdline as usize)) };
        text.to_str().ok()
    }

    /// Address of the first module (physical), if there is one.
    pub(crate) fn first_module(self) -> Option<Range<u64>> {
        if self.0.flags & HAS_MODULES == 0 || self.0.modules_count == 0 {
            return None;
        }
        // SAFETY: as in `new`; the type has no alignment.
        let module =
            unsafe { with_exposed_provenance::<Module>(self.0.modules_addr as usize).read() };
        Some(module.start.into()..module.end.into())
    }

    /// The ranges of the memory map that are RAM (physical), in its order.
    pub(crate) fn ram(self) -> impl Iterator<Item = Range<u64>> {
        let has_map = self.0.flags & HAS_MEMORY_MAP != 0;
        let length = if has_map { self.0.mmap_length } else { 0 };
        let end = self.0.mmap_addr.saturating_add(length);
        let mut at = self.0.mmap_addr;
        core::iter::from_fn(move || {
            if end.saturating_sub(at) < size_of::<MapEntry>() as u32 {
                return None;
            }
            // SAFETY: as in `new`; the entry is inside the map, and its type has no alignment.
            let entry = unsafe { with_exposed_provenance::<MapEntry>(at as usize).read() };
            at = at.saturating_add(entry.size).saturating_add(4);
            Some((entry.kind, entry.base..entry.base.saturating_add(entry.length)))
        })
        .filter_map(|(kind, range)| (kind == RAM).then_some(range))
    }
}
