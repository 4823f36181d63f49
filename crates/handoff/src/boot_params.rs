//! The fields of the Linux/i386 `boot_params` page ("zero page") that we write and read.
//!
//! Source: Linux `Documentation/arch/x86/boot.rst` and `zero-page.rst`.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use crate::setup_header::{BOOT_FLAG, HEADER_MAGIC, LOADED_HIGH, LOADER_UNDEFINED, SetupHeader};

/// E820 type of memory that may be used.
pub const E820_RAM: u32 = 1;
/// E820 type of memory that is taken by firmware or hardware.
pub const E820_RESERVED: u32 = 2;
/// E820 type of memory that holds ACPI tables.
pub const E820_ACPI: u32 = 3;
/// E820 type of memory that ACPI firmware keeps across sleep.
pub const E820_NVS: u32 = 4;
/// E820 type of memory that was found broken.
pub const E820_UNUSABLE: u32 = 5;
/// Most E820 entries of the page (`E820_MAX_ENTRIES_ZEROPAGE`).
pub const E820_MAX_ENTRIES: usize = 128;
/// The boot protocol version that we write (2.12: the last with a new field that we care for).
pub const PROTOCOL_VERSION: u16 = 0x020c;
/// The longest command line, in bytes with its NUL, that Linux/x86 takes (`COMMAND_LINE_SIZE`).
pub const COMMAND_LINE_SIZE: usize = 2048;

/// One entry of the firmware's memory map, 20 bytes, packed.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Default,
)]
#[repr(C)]
pub struct E820Entry {
    /// First physical address, in bytes.
    pub addr: U64,
    /// Length in bytes.
    pub size: U64,
    /// [`E820_RAM`], [`E820_RESERVED`] or another number that means "leave it alone".
    pub kind: U32,
}

/// The zero page, 4096 bytes, its physical address in ESI at the 32-bit entry point.
///
/// Only the fields that we use have a name; the rest is padding that stays zero.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct BootParams {
    _pad0: [u8; 0x070],
    /// Physical address of the ACPI RSDP, or zero (protocol 2.14; zero-page offset 0x070).
    pub acpi_rsdp_addr: U64,
    _pad1: [u8; 0x16c],
    /// Four bytes that the entry code may use as a stack before it has one (`scratch`).
    pub scratch: U32,
    /// Number of valid entries of `e820_table`.
    pub e820_entries: u8,
    _pad2: [u8; SetupHeader::OFFSET - 0x1e9],
    /// The part that a boot loader copies from a bzImage and fills in.
    pub hdr: SetupHeader,
    _pad3: [u8; 0x2d0 - 0x268],
    /// The memory map.
    pub e820_table: [E820Entry; E820_MAX_ENTRIES],
    _pad4: [u8; 0x1000 - 0xcd0],
}

impl BootParams {
    /// A page with the header's fixed fields filled in and everything else zero.
    pub fn new() -> Self {
        let mut page = Self::new_zeroed();
        page.hdr.boot_flag = BOOT_FLAG.into();
        page.hdr.header = HEADER_MAGIC;
        page.hdr.version = PROTOCOL_VERSION.into();
        page.hdr.type_of_loader = LOADER_UNDEFINED;
        page.hdr.loadflags = LOADED_HIGH;
        page
    }
}

impl Default for BootParams {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::{align_of, offset_of, size_of};

    /// Offsets from Linux' `zero-page.rst` and `boot.rst`.
    #[test]
    fn layout_is_linux() {
        assert_eq!(size_of::<BootParams>(), 4096);
        assert_eq!(align_of::<BootParams>(), 1);
        assert_eq!(offset_of!(BootParams, acpi_rsdp_addr), 0x070);
        assert_eq!(offset_of!(BootParams, scratch), 0x1e4);
        assert_eq!(offset_of!(BootParams, e820_entries), 0x1e8);
        assert_eq!(offset_of!(BootParams, hdr), 0x1f1);
        assert_eq!(offset_of!(BootParams, e820_table), 0x2d0);
        assert_eq!(size_of::<E820Entry>(), 20);
    }
}
