//! Input of the checks of a vmcore.

use std::ops::Range;

use crate::check::core_file::CoreFile;
use crate::check::dead_kernel::DeadKernel;
use crate::check::truth::Truth;
use crate::host::memory::GuestMemory;

/// A vmcore, and all that is known from elsewhere of what it must hold.
#[derive(Clone, Copy)]
pub struct Evidence<'a> {
    /// The vmcore.
    pub core: &'a CoreFile,
    /// Guest memory after QEMU's end.
    pub memory: &'a GuestMemory,
    /// Its digests.
    pub truth: &'a Truth,
    /// The dead kernel's facts about itself.
    pub dead: &'a DeadKernel,
    /// Pages that the dump level leaves out, as ranges of bytes of the vmcore.
    pub left: &'a [Range<u64>],
    /// True if a stock Linux wrote the vmcore. The file may then have bytes of memory twice, as
    /// those of an x86_64 kernel's text. The first 640 KiB of memory have changed, because that
    /// Linux has used them.
    pub is_stock: bool,
}
