//! Steps that need physical memory as it is: reading regions, the backup copy, the jump.
//!
//! Paging is off: a pointer is a physical address. The values come from a parameter block whose
//! digest was checked.

#![expect(unsafe_code, reason = "physical memory and the jump out")]

use core::arch::asm;
use handoff::purgatory::Backup;

/// The `length` bytes at physical address `start`, both below 4 GiB as the loader saw to.
pub(crate) fn physical(start: u64, length: u64) -> &'static [u8] {
    // SAFETY: the range is RAM of the slot by the verified block, and has no writer.
    unsafe { core::slice::from_raw_parts(pointer(start), length as usize) }
}

/// Copies the backup region (paper, section 4.3).
pub(crate) fn back_up(backup: &Backup) {
    // `rep movsb`, because the source begins at address 0, which no Rust pointer may be.
    // SAFETY: the destination is a declared segment of the slot by the verified block, and it does
    // not overlap the source, which is below 1 MiB.
    unsafe {
        asm!(
            "xchg esi, {source}",
            "rep movsb",
            "xchg esi, {source}",
            source = inout(reg) backup.source as u32 => _,
            inout("edi") backup.destination as u32 => _,
            inout("ecx") backup.length as u32 => _,
            options(nostack),
        );
    }
}

/// Jumps to the capture kernel by the 32-bit boot protocol.
pub(crate) fn to_kernel(entry: u32, boot_params: u32) -> ! {
    // SAFETY: paging is off, segments are flat, and `entry` was checked to be the loaded one.
    unsafe {
        asm!(
            "mov esi, ecx",
            "xor ebx, ebx",
            "xor edi, edi",
            "xor ebp, ebp",
            "jmp eax",
            in("eax") entry,
            in("ecx") boot_params,
            options(noreturn),
        )
    }
}

fn pointer(address: u64) -> *const u8 {
    core::ptr::with_exposed_provenance(address as usize)
}
