//! The block by which the loader gives purgatory the regions to check, the memory to save and the
//! address to jump to.
//!
//! It is in purgatory's own image under the symbol [`PARAMS_SYMBOL`]; the loader fills it in before
//! the image is handed to the kernel. All addresses are physical, all lengths are bytes.
//!
//! The block carries a digest of itself, taken with the digest field as zeros, and purgatory checks
//! that first: as long as it does not match, no pointer in the block is followed.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::block::{Block, BlockHeader};

/// The symbol of the block in purgatory's ELF image.
pub const PARAMS_SYMBOL: &str = "PURGATORY_PARAMS";
/// The symbol of the 32-bit entry point in purgatory's ELF image.
pub const ENTRY32_SYMBOL: &str = "purgatory_entry32";
/// The symbol of the 64-bit entry point, for x86_64 first kernels: 64-bit mode with memory mapped
/// where it is.
pub const ENTRY64_SYMBOL: &str = "purgatory_entry64";
/// First and one-past-last byte of the constant part of purgatory (text and rodata): hashed as a
/// region of its own, under the name [`REGION_PURGATORY`].
pub const CONSTANT_SYMBOLS: (&str, &str) = ("__purgatory_start", "__purgatory_constant_end");

/// Most regions of the block.
pub const MAX_REGIONS: usize = 16;

/// Name of the region that holds purgatory's own text and rodata.
pub const REGION_PURGATORY: &str = "purgatory";
/// Name of the regions that hold the capture kernel's segments.
pub const REGION_KERNEL: &str = "kernel";
/// Name of the region that holds the initramfs of a Linux as capture kernel.
pub const REGION_INITRD: &str = "initrd";
/// Name of the region that holds the boot_params page.
pub const REGION_BOOT_PARAMS: &str = "boot_params";
/// Name of the region that holds the command line.
pub const REGION_COMMAND_LINE: &str = "command line";
/// Name of the region that holds the ELF core header.
pub const REGION_ELFCOREHDR: &str = "elfcorehdr";

/// On a mismatch: stop where we are.
pub const ON_MISMATCH_HALT: u32 = 0;
/// On a mismatch: reset the machine.
pub const ON_MISMATCH_RESET: u32 = 1;

/// The block's state: every region has its digest.
pub const STATE_SEALED: u32 = 0;
/// The block's state: the ELF core header is still to be built, by the first kernel.
pub const STATE_UNSEALED: u32 = 1;

/// One region whose bytes must be the same as at the time of loading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Region {
    /// Name for people, in ASCII, padded with NULs.
    pub name: [u8; 16],
    /// Physical address of the first byte.
    pub start: u64,
    /// Length in bytes.
    pub length: u64,
    /// SHA-256 of the bytes.
    pub digest: [u8; 32],
}

/// Memory that purgatory copies before the capture kernel runs (paper, section 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Backup {
    /// Physical address that is copied from.
    pub source: u64,
    /// Physical address in the slot that is copied to.
    pub destination: u64,
    /// Length in bytes. Zero is an error, not "nothing to do".
    pub length: u64,
}

/// The parameter block itself.
#[derive(Clone, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct PurgatoryParams {
    /// Magic, version, size and digest.
    pub block: BlockHeader,
    /// Physical entry point of the capture kernel (32-bit boot protocol).
    pub entry: u32,
    /// Value of ESI there: the physical address of its boot_params.
    pub boot_params: u32,
    /// I/O port of the 16550 that messages go to, or zero for silence.
    pub console_port: u32,
    /// [`ON_MISMATCH_HALT`] or [`ON_MISMATCH_RESET`].
    pub on_mismatch: u32,
    /// Memory that is saved before the jump.
    pub backup: Backup,
    /// Number of `regions` in use.
    pub region_count: u32,
    /// [`STATE_SEALED`] or [`STATE_UNSEALED`].
    pub state: u32,
    /// The regions to check, in this order.
    pub regions: [Region; MAX_REGIONS],
}

impl Region {
    /// A region with the first 16 bytes of `name`, and a digest that is still to be filled in.
    pub fn new(name: &str, start: u64, length: u64) -> Self {
        let mut region = Self { name: [0; 16], start, length, digest: [0; 32] };
        for (to, from) in region.name.iter_mut().zip(name.bytes()) {
            *to = from;
        }
        region
    }

    /// The name without its padding; `"?"` when the bytes are not text.
    pub fn name(&self) -> &str {
        let length = self.name.iter().position(|byte| *byte == 0).unwrap_or(self.name.len());
        core::str::from_utf8(&self.name[..length]).unwrap_or("?")
    }
}

impl Block for PurgatoryParams {
    const MAGIC: [u8; 8] = *b"KDRSPURG";
    const VERSION: u32 = 1;

    fn header_mut(&mut self) -> &mut BlockHeader {
        &mut self.block
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::offset_of;

    /// The layout is the same for every compiler and on 32 and 64 bits: no padding (the derives
    /// refuse it) and these offsets. Changing one needs a new version.
    #[test]
    fn layout_of_version_1() {
        assert_eq!(PurgatoryParams::VERSION, 1);
        assert_eq!(size_of::<Region>(), 64);
        assert_eq!(size_of::<PurgatoryParams>(), 96 + 64 * MAX_REGIONS);
        assert_eq!(offset_of!(PurgatoryParams, block), 0);
        assert_eq!(offset_of!(PurgatoryParams, entry), 48);
        assert_eq!(offset_of!(PurgatoryParams, backup), 64);
        assert_eq!(offset_of!(PurgatoryParams, region_count), 88);
        assert_eq!(offset_of!(PurgatoryParams, state), 92);
        assert_eq!(offset_of!(PurgatoryParams, regions), 96);
    }

    #[test]
    fn long_names_are_cut_and_short_ones_padded() {
        assert_eq!(Region::new("elfcorehdr", 0, 0).name(), "elfcorehdr");
        assert_eq!(Region::new("a name of more than 16", 0, 0).name(), "a name of more t");
    }
}
