//! Translation of virtual addresses of an x86_64 kernel: a walk through its page tables in a
//! vmcore. Its stacks are mapped page by page, so no PT_LOAD covers them.
//!
//! Source: Intel manual, volume 3, 4.5 (4-level and 5-level paging).

use anyhow::{Context, Result, ensure};

use crate::check::core_file::CoreFile;

const PRESENT: u64 = 1;
const LARGE: u64 = 1 << 7;
/// The bits of an entry that are an address.
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// The page tables of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageTables {
    /// The first one (physical).
    pub root: u64,
    /// 4 or 5.
    pub levels: u32,
}

/// Returns the physical address that these tables map `address` to.
///
/// # Errors
/// Fails if nothing is mapped at `address`, or a table is not in the vmcore.
pub fn translate(core: &CoreFile, tables: PageTables, address: u64) -> Result<u64> {
    let mut table = tables.root;
    for level in (0..tables.levels).rev() {
        let shift = 12 + 9 * level;
        let index = (address >> shift) & 0x1ff;
        let mut entry = [0; 8];
        let read = core.read_physical(table + index * 8, &mut entry);
        read.with_context(|| format!("a page table for {address:#x}"))?;
        let entry = u64::from_le_bytes(entry);
        ensure!(entry & PRESENT != 0, "{address:#x} is not mapped");
        if level == 0 || (level < 3 && entry & LARGE != 0) {
            let within = (1 << shift) - 1;
            return Ok((entry & ADDRESS & !within) | (address & within));
        }
        table = entry & ADDRESS;
    }
    unreachable!("the last level always ends the walk")
}
