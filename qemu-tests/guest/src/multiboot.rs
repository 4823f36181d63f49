//! What the boot loader tells a multiboot kernel (Multiboot 0.6.96, section 3.3).

#![expect(unsafe_code, reason = "the boot loader's structures are found by physical address")]

use core::ffi::CStr;

/// EAX of a kernel that a multiboot loader started.
const MAGIC: u32 = 0x2bad_b002;
/// Flag: `cmdline` is valid.
const HAS_COMMAND_LINE: u32 = 1 << 2;

/// The beginning of the multiboot information.
#[repr(C)]
struct Information {
    flags: u32,
    mem_lower: u32,
    mem_upper: u32,
    boot_device: u32,
    cmdline: u32,
}

/// The command line, if EAX holds multiboot's magic and EBX leads to one that is text.
pub(crate) fn command_line(magic: u32, information: u32) -> Option<&'static str> {
    if magic != MAGIC {
        return None;
    }
    let information: *const Information = core::ptr::with_exposed_provenance(information as usize);
    // SAFETY: the loader that passed the magic put the structure there; paging is off, and nothing
    // writes the memory below 1 MiB as long as this kernel runs.
    let text = unsafe {
        if (*information).flags & HAS_COMMAND_LINE == 0 {
            return None;
        }
        CStr::from_ptr(core::ptr::with_exposed_provenance((*information).cmdline as usize))
    };
    text.to_str().ok()
}
