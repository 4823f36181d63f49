//! The entry code: four assembly files and the constants that they need.

#![expect(unsafe_code, reason = "assembly")]

use crate::paging::IMAGE_BASE;
use crate::segments::{CODE_DESCRIPTOR, CODE_SELECTOR, DATA_DESCRIPTOR, DATA_SELECTOR};
use core::arch::global_asm;
use handoff::BootParams;

/// Bytes of stack of purgatory and of the test guest.
const FLAT_STACK: usize = 16 << 10;
/// Bytes of stack of the capture kernel: its main function takes a third, and headers of dump
/// disks, of a KiB each, are copied in several places.
const LINUX_STACK: usize = 64 << 10;

/// The model-specific register IA32_EFER.
const EFER: u32 = 0xc000_0080;

global_asm!(include_str!("../asm/multiboot.S"));

global_asm!(
    include_str!("../asm/flat.S"),
    code = const CODE_SELECTOR,
    data = const DATA_SELECTOR,
    code_descriptor = const CODE_DESCRIPTOR,
    data_descriptor = const DATA_DESCRIPTOR,
    stack_size = const FLAT_STACK,
);

global_asm!(
    include_str!("../asm/long.S"),
    code = const CODE_SELECTOR,
    data = const DATA_SELECTOR,
    // All but PCIDE (17), CET (23) and the bits above 31
    cr4_keep = const !((1_u32 << 17) | (1 << 23)),
    // All but PG
    cr0_keep = const !(1_u32 << 31),
    efer = const EFER,
    // All but LME (8)
    efer_keep = const !(1_u32 << 8),
);

global_asm!(
    include_str!("../asm/linux.S"),
    scratch = const core::mem::offset_of!(BootParams, scratch),
    code = const CODE_SELECTOR,
    data = const DATA_SELECTOR,
    code_descriptor = const CODE_DESCRIPTOR,
    data_descriptor = const DATA_DESCRIPTOR,
    stack_size = const LINUX_STACK,
    image_base = const IMAGE_BASE,
    // CPUID.1:EDX.6
    cpuid_pae = const 1 << 6,
    // CPUID.80000001H:EDX: SYSCALL (11), NX (20), long mode (29)
    cpuid_efer_users = const (1 << 11) | (1 << 20) | (1 << 29),
    efer = const EFER,
    // LME (8) and NXE (11) off
    efer_keep = const !((1_u32 << 8) | (1 << 11)),
    // present, writable, 2 MiB
    large_page = const 0x83,
    // PAE
    cr4 = const 1 << 5,
    // PG, WP, NE, ET, PE; caches on
    cr0 = const 0x8001_0031_u32,
    post_no_pae = const 0xe1,
    post_port = const handoff::stage::POST_PORT,
);
