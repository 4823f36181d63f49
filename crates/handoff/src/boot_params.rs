//! The fields of the Linux/i386 `boot_params` page ("zero page") that we write and read.
//!
//! Source: Linux `Documentation/arch/x86/boot.rst` and `zero-page.rst`.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

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
/// How many E820 entries the page has room for (`E820_MAX_ENTRIES_ZEROPAGE`).
pub const E820_MAX_ENTRIES: usize = 128;
/// `boot_flag`: the two bytes at the end of a boot sector.
pub const BOOT_FLAG: u16 = 0xaa55;
/// `header`: the magic that says that the fields after it are there.
pub const HEADER_MAGIC: [u8; 4] = *b"HdrS";
/// The boot protocol version that we write (2.12: the last with a new field that we care for).
pub const PROTOCOL_VERSION: u16 = 0x020c;
/// `type_of_loader` of a boot loader without an assigned number.
pub const LOADER_UNDEFINED: u8 = 0xff;
/// `loadflags`: the protected-mode code is loaded high.
pub const LOADED_HIGH: u8 = 1;
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
/// Only what we use has a name; the rest is padding that stays zero.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct BootParams {
    _pad0: [u8; 0x070],
    /// Physical address of the ACPI RSDP, or zero (protocol 2.14; zero-page offset 0x070).
    pub acpi_rsdp_addr: U64,
    _pad1: [u8; 0x16c],
    /// Four bytes that the entry code may use as a stack before it has one (`scratch`).
    pub scratch: U32,
    /// How many entries of `e820_table` are valid.
    pub e820_entries: u8,
    _pad2: [u8; 0x1f1 - 0x1e9],
    /// The part that a boot loader copies from a bzImage and fills in.
    pub hdr: SetupHeader,
    _pad3: [u8; 0x2d0 - 0x268],
    /// The memory map.
    pub e820_table: [E820Entry; E820_MAX_ENTRIES],
    _pad4: [u8; 0x1000 - 0xcd0],
}

/// `struct setup_header`, protocol 2.12, at offset 0x1f1 of the zero page.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct SetupHeader {
    _pad0: [u8; 0x1fe - 0x1f1],
    /// [`BOOT_FLAG`].
    pub boot_flag: U16,
    _jump: [u8; 2],
    /// [`HEADER_MAGIC`].
    pub header: [u8; 4],
    /// Boot protocol version, major in the high byte.
    pub version: U16,
    _pad1: [u8; 0x210 - 0x208],
    /// Who loaded the kernel.
    pub type_of_loader: u8,
    /// Bit 0: [`LOADED_HIGH`].
    pub loadflags: u8,
    _pad2: [u8; 2],
    /// Physical address of the protected-mode code.
    pub code32_start: U32,
    /// Physical address of the initial ramdisk, or zero.
    pub ramdisk_image: U32,
    /// Size of the initial ramdisk in bytes.
    pub ramdisk_size: U32,
    _pad3: [u8; 0x228 - 0x220],
    /// Physical address of the NUL-terminated command line.
    pub cmd_line_ptr: U32,
    _pad4: [u8; 0x238 - 0x22c],
    /// The longest command line that the kernel takes, without its NUL.
    pub cmdline_size: U32,
    _pad5: [u8; 0x268 - 0x23c],
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
        let hdr = |field: usize| 0x1f1 + field;
        assert_eq!(hdr(offset_of!(SetupHeader, boot_flag)), 0x1fe);
        assert_eq!(hdr(offset_of!(SetupHeader, header)), 0x202);
        assert_eq!(hdr(offset_of!(SetupHeader, version)), 0x206);
        assert_eq!(hdr(offset_of!(SetupHeader, type_of_loader)), 0x210);
        assert_eq!(hdr(offset_of!(SetupHeader, loadflags)), 0x211);
        assert_eq!(hdr(offset_of!(SetupHeader, code32_start)), 0x214);
        assert_eq!(hdr(offset_of!(SetupHeader, ramdisk_image)), 0x218);
        assert_eq!(hdr(offset_of!(SetupHeader, ramdisk_size)), 0x21c);
        assert_eq!(hdr(offset_of!(SetupHeader, cmd_line_ptr)), 0x228);
        assert_eq!(hdr(offset_of!(SetupHeader, cmdline_size)), 0x238);
        assert_eq!(size_of::<E820Entry>(), 20);
    }
}
