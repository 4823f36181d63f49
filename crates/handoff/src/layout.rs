//! Layout: constants that more than one stage depends on.

/// Size of a page, in bytes.
pub const PAGE_SIZE: u64 = 4096;

/// Every slot begins at a multiple of this, so that the capture kernel can map itself with large
/// pages wherever it was put (2 MiB).
pub const SLOT_ALIGN: u64 = 2 << 20;

/// Slots are below this physical address (4 GiB): purgatory and the capture kernel's entry run with
/// paging off.
pub const SLOT_LIMIT: u64 = 1 << 32;

/// Nothing below this physical address is ever written by the capture kernel, even when its memory
/// map lists it (1 MiB).
pub const LOW_MEMORY_END: u64 = 1 << 20;

/// The first kernel's memory that purgatory copies into the slot before it jumps: `0..640K` (paper,
/// section 4.3).
pub const BACKUP_SOURCE: u64 = 0;
/// Length of the backup region in bytes (640 KiB).
pub const BACKUP_LENGTH: u64 = 0xa_0000;
