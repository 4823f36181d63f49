//! The flat segments of every image: their selectors and descriptors.

/// Selector of the flat 4 GiB code segment: Linux' `__BOOT_CS`.
pub const CODE_SELECTOR: u16 = 0x10;
/// Selector of the flat 4 GiB data segment: Linux' `__BOOT_DS`.
pub const DATA_SELECTOR: u16 = 0x18;
/// Base 0, limit 4 GiB, ring 0, execute/read, accessed (so that the CPU need not write it).
pub(crate) const CODE_DESCRIPTOR: u64 = 0x00cf_9b00_0000_ffff;
/// Base 0, limit 4 GiB, ring 0, read/write, accessed.
pub(crate) const DATA_DESCRIPTOR: u64 = 0x00cf_9300_0000_ffff;
