//! Linux' setup header: what a kernel image says of itself, and what a boot loader fills in. It
//! lies at the same offset in a bzImage and in boot_params.
//!
//! Source: Linux, `Documentation/arch/x86/boot.rst`, "The Real-Mode Kernel Header".

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// `boot_flag`: the two bytes at the end of a boot sector.
pub const BOOT_FLAG: u16 = 0xaa55;
/// `header`: the magic that says that the fields after it are there.
pub const HEADER_MAGIC: [u8; 4] = *b"HdrS";
/// `type_of_loader` of a boot loader without an assigned number.
pub const LOADER_UNDEFINED: u8 = 0xff;
/// Flag of `loadflags`: the protected-mode code is loaded high.
pub const LOADED_HIGH: u8 = 1;
/// Flag of `xloadflags`: the kernel has a 64-bit entry, so it is an x86_64 kernel.
pub const XLF_KERNEL_64: u16 = 1;

/// The first version that has `payload_offset` and `payload_length`.
pub const VERSION_OF_PAYLOAD: u16 = 0x208;
/// The first version that has `pref_address` and `init_size`.
pub const VERSION_OF_PREF_ADDRESS: u16 = 0x20a;
/// The first version that has `xloadflags`.
pub const VERSION_OF_XLOADFLAGS: u16 = 0x20c;

/// Bytes of a sector of `setup_sects`.
pub const SECTOR: usize = 512;
/// Number of sectors if `setup_sects` is zero.
const DEFAULT_SECTS: u8 = 4;

/// `struct setup_header`, protocol 2.12. Fields that nobody here uses have no name.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct SetupHeader {
    /// Sectors of the real-mode code, without the first; zero is four.
    pub setup_sects: u8,
    _pad0: [u8; 0x1fe - 0x1f2],
    /// [`BOOT_FLAG`].
    pub boot_flag: U16,
    _jump: u8,
    /// Length of the header, counted from `header`.
    pub length: u8,
    /// [`HEADER_MAGIC`].
    pub header: [u8; 4],
    /// Boot protocol version, major in the high byte.
    pub version: U16,
    _pad1: [u8; 0x210 - 0x208],
    /// The boot loader of the kernel.
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
    _pad4: [u8; 0x230 - 0x22c],
    /// Alignment that a relocatable kernel wants, in bytes.
    pub kernel_alignment: U32,
    /// Not zero if the kernel is relocatable.
    pub relocatable_kernel: u8,
    _pad5: u8,
    /// [`XLF_KERNEL_64`] and others, from [`VERSION_OF_XLOADFLAGS`] on.
    pub xloadflags: U16,
    /// The longest command line that the kernel takes, without its NUL.
    pub cmdline_size: U32,
    _pad6: [u8; 0x248 - 0x23c],
    /// Offset of the compressed kernel, in bytes from the start of the protected-mode code.
    pub payload_offset: U32,
    /// Length of the compressed kernel in bytes.
    pub payload_length: U32,
    _pad7: [u8; 0x258 - 0x250],
    /// The physical address that the kernel is linked for.
    pub pref_address: U64,
    /// Memory that the kernel takes at its start, in bytes.
    pub init_size: U32,
    _pad8: [u8; 0x268 - 0x264],
}

impl SetupHeader {
    /// Offset in a bzImage and in boot_params, in bytes.
    pub const OFFSET: usize = 0x1f1;

    /// The header of a bzImage or a boot_params page; `None` where there is none, or not all of it.
    pub fn find(bytes: &[u8]) -> Option<&Self> {
        let (header, _) = Self::ref_from_prefix(bytes.get(Self::OFFSET..)?).ok()?;
        (header.header == HEADER_MAGIC).then_some(header)
    }

    /// Offset of the protected-mode code in a bzImage, in bytes.
    pub fn code_offset(&self) -> usize {
        let sectors = if self.setup_sects == 0 { DEFAULT_SECTS } else { self.setup_sects };
        (usize::from(sectors) + 1) * SECTOR
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::{align_of, offset_of, size_of};

    /// Offsets from Linux' `boot.rst`.
    #[test]
    fn layout_is_linux() {
        let at = |field: usize| SetupHeader::OFFSET + field;
        assert_eq!((at(size_of::<SetupHeader>()), align_of::<SetupHeader>()), (0x268, 1));
        assert_eq!(at(offset_of!(SetupHeader, setup_sects)), 0x1f1);
        assert_eq!(at(offset_of!(SetupHeader, boot_flag)), 0x1fe);
        assert_eq!(at(offset_of!(SetupHeader, length)), 0x201);
        assert_eq!(at(offset_of!(SetupHeader, header)), 0x202);
        assert_eq!(at(offset_of!(SetupHeader, version)), 0x206);
        assert_eq!(at(offset_of!(SetupHeader, type_of_loader)), 0x210);
        assert_eq!(at(offset_of!(SetupHeader, loadflags)), 0x211);
        assert_eq!(at(offset_of!(SetupHeader, code32_start)), 0x214);
        assert_eq!(at(offset_of!(SetupHeader, ramdisk_image)), 0x218);
        assert_eq!(at(offset_of!(SetupHeader, ramdisk_size)), 0x21c);
        assert_eq!(at(offset_of!(SetupHeader, cmd_line_ptr)), 0x228);
        assert_eq!(at(offset_of!(SetupHeader, kernel_alignment)), 0x230);
        assert_eq!(at(offset_of!(SetupHeader, relocatable_kernel)), 0x234);
        assert_eq!(at(offset_of!(SetupHeader, xloadflags)), 0x236);
        assert_eq!(at(offset_of!(SetupHeader, cmdline_size)), 0x238);
        assert_eq!(at(offset_of!(SetupHeader, payload_offset)), 0x248);
        assert_eq!(at(offset_of!(SetupHeader, payload_length)), 0x24c);
        assert_eq!(at(offset_of!(SetupHeader, pref_address)), 0x258);
        assert_eq!(at(offset_of!(SetupHeader, init_size)), 0x260);
    }
}
