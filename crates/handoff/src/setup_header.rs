//! Offsets of the fields of Linux' setup header, in bytes from the start of a bzImage. boot_params
//! have them at the same offsets.
//!
//! Source: Linux, `Documentation/arch/x86/boot.rst`, "The Real-Mode Kernel Header".

/// Sectors of the real-mode code, without the first (u8); see [`DEFAULT_SECTS`].
pub const SETUP_SECTS: usize = 0x1f1;
/// Length of the header, counted from [`HEADER`] (u8).
pub const JUMP: usize = 0x201;
/// The magic, [`crate::boot_params::HEADER_MAGIC`].
pub const HEADER: usize = 0x202;
/// The boot protocol's version: the major number in the high byte (u16).
pub const VERSION: usize = 0x206;
/// Flags such as [`crate::boot_params::LOADED_HIGH`] (u8).
pub const LOADFLAGS: usize = 0x211;
/// Alignment that a relocatable kernel wants, in bytes (u32).
pub const KERNEL_ALIGNMENT: usize = 0x230;
/// Not zero if the kernel is relocatable (u8).
pub const RELOCATABLE: usize = 0x234;
/// More flags, from [`VERSION_OF_XLOADFLAGS`] on (u16).
pub const XLOADFLAGS: usize = 0x236;
/// Offset of the compressed kernel, in bytes from the start of the protected-mode code (u32).
pub const PAYLOAD_OFFSET: usize = 0x248;
/// Length of the compressed kernel in bytes (u32).
pub const PAYLOAD_LENGTH: usize = 0x24c;
/// The physical address that the kernel is linked for (u64).
pub const PREF_ADDRESS: usize = 0x258;
/// Memory that the kernel takes at its start, in bytes (u32).
pub const INIT_SIZE: usize = 0x260;

/// The first version that has [`PAYLOAD_OFFSET`].
pub const VERSION_OF_PAYLOAD: u16 = 0x208;
/// The first version that has [`PREF_ADDRESS`] and [`INIT_SIZE`].
pub const VERSION_OF_PREF_ADDRESS: u16 = 0x20a;
/// The first version that has [`XLOADFLAGS`].
pub const VERSION_OF_XLOADFLAGS: u16 = 0x20c;

/// Flag of [`XLOADFLAGS`]: the kernel has a 64-bit entry, so it is an x86_64 kernel.
pub const XLF_KERNEL_64: u16 = 1;
/// Bytes of a sector of [`SETUP_SECTS`].
pub const SECTOR: usize = 512;
/// Number of sectors if [`SETUP_SECTS`] is zero.
pub const DEFAULT_SECTS: usize = 4;
