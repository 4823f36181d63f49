//! The dead kernel's own page tables, for addresses that no PT_LOAD has: stacks are vmalloc'ed
//! (`CONFIG_VMAP_STACK`), page structs may be in an area of their own (vmemmap). (AMD64 manual,
//! volume 2, chapter 5)

use crate::{Error, KernelMemory};
use vmcore::{ReadPhys, vmcoreinfo_get};

/// Table entries: there is something.
const PRESENT: u64 = 1 << 0;
/// Table entries: the memory below may be written.
const WRITABLE: u64 = 1 << 1;
/// Table entries of the levels above the last: a large page, and not a table.
const LARGE: u64 = 1 << 7;
/// Table entries: the physical address.
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
/// Bytes of a table that are read at once, where all of it is.
const TOGETHER: usize = 512;
/// Bits of an address that are its place in a page.
const PAGE_BITS: u32 = 12;
/// Virtual minus physical address of an x86_64 kernel's image, if `phys_base` is zero
/// (`__START_KERNEL_map` of Linux).
const IMAGE_MAP: u64 = 0xffff_ffff_8000_0000;

/// The page tables that hold for every task's kernel addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PageTables {
    /// The highest table (virtual, in the kernel's image).
    root: u64,
    /// The same (physical), if VMCOREINFO tells it.
    physical_root: Option<u64>,
    format: Format,
}

/// Format of tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Format {
    /// Number of levels, 2 to 5.
    levels: u32,
    /// Number of address bits that a level takes.
    bits: u32,
    /// Length of an entry in bytes: 4 or 8.
    entry: usize,
    /// Levels that may have large pages, as bits; the last level is bit 0.
    large: u32,
    /// Levels whose entries tell if the memory may be written, as bits.
    guarded: u32,
    /// The highest address.
    last: u64,
}

impl Format {
    /// i386 without PAE: pages of 4 KiB and 4 MiB.
    const I386: Self =
        Self { levels: 2, bits: 10, entry: 4, large: 0b10, guarded: 3, last: u32::MAX as u64 };
    /// i386 with PAE: 4 KiB and 2 MiB. The first table has four entries.
    const PAE: Self =
        Self { levels: 3, bits: 9, entry: 8, large: 0b10, guarded: 3, last: u32::MAX as u64 };
    /// x86_64: 4 KiB, 2 MiB and 1 GiB.
    const X86_64: Self =
        Self { levels: 4, bits: 9, entry: 8, large: 0b110, guarded: 31, last: u64::MAX };
    /// x86_64 with 5 levels.
    const FIVE: Self = Self { levels: 5, ..Self::X86_64 };
}

/// Place of a byte that is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mapped {
    /// Its physical address in the first kernel.
    pub(crate) physical: u64,
    /// Number of bytes from there to the end of its page: at least one.
    pub(crate) left: u64,
    /// True if the kernel may not write to the page.
    pub(crate) is_read_only: bool,
}

impl PageTables {
    /// Finds them by the text of VMCOREINFO; [`None`] when it does not say where they are.
    pub(crate) fn find(vmcoreinfo: &[u8]) -> Option<Self> {
        let get = |key| vmcoreinfo_get(vmcoreinfo, key);
        let symbol = |key| u64::from_str_radix(get(key)?, 16).ok();
        if get("SYMBOL(init_top_pgt)").is_none() {
            // Each kernel has `swapper_pg_dir`; that of i386 has pointers of four bytes.
            let root = symbol("SYMBOL(swapper_pg_dir)")?;
            get("SIZE(list_head)").filter(|size| *size == "8")?;
            let pae = get("CONFIG_X86_PAE") == Some("y");
            let format = if pae { Format::PAE } else { Format::I386 };
            return Some(Self { root, physical_root: None, format });
        }
        let root = symbol("SYMBOL(init_top_pgt)")?;
        let physical_root = get("NUMBER(phys_base)")
            .and_then(|base| base.parse::<i64>().ok())
            .and_then(|base| root.checked_sub(IMAGE_MAP)?.checked_add_signed(base));
        let has_5 = get("NUMBER(pgtable_l5_enabled)") == Some("1");
        let format = if has_5 { Format::FIVE } else { Format::X86_64 };
        Some(Self { root, physical_root, format })
    }

    /// The tables of the same format whose highest one is at this virtual address of the kernel.
    pub(crate) const fn with_root(self, root: u64) -> Self {
        Self { root, physical_root: None, ..self }
    }

    /// Finds the byte at the virtual address `at`; [`None`] when no page is there.
    ///
    /// # Errors
    /// A table that is not in the dump, cannot be read, or is damaged.
    pub(crate) fn translate<M: ReadPhys>(
        &self,
        memory: KernelMemory<'_, M>,
        at: u64,
    ) -> Result<Option<Mapped>, Error> {
        self.walk(memory, at, &mut |_| {})
    }

    /// The same; calls `each` with each entry on the way, from the highest table down.
    ///
    /// # Errors
    /// As [`Self::translate`].
    pub(crate) fn walk<M: ReadPhys>(
        &self,
        memory: KernelMemory<'_, M>,
        at: u64,
        each: &mut impl FnMut(u64),
    ) -> Result<Option<Mapped>, Error> {
        let Format { levels, bits, large, guarded, last, .. } = self.format;
        if at > last {
            return Ok(None);
        }
        let (mut table, mut is_read_only) = (None, false);
        for level in (0..levels).rev() {
            let shift = PAGE_BITS + bits * level;
            let entry = self.entry(memory, table, at >> shift & ((1 << bits) - 1))?;
            each(entry);
            if entry & PRESENT == 0 {
                return Ok(None);
            }
            is_read_only |= guarded >> level & 1 != 0 && entry & WRITABLE == 0;
            let is_large = level > 0 && entry & LARGE != 0;
            if is_large && large >> level & 1 == 0 {
                return Err(Error::Unmapped { at });
            }
            // Bit 7 means something else in the last level.
            if level == 0 || is_large {
                let within = (1 << shift) - 1;
                let physical = entry & ADDRESS & !within | at & within;
                let left = within + 1 - (at & within);
                return Ok(Some(Mapped { physical, left, is_read_only }));
            }
            table = Some(entry & ADDRESS);
        }
        Ok(None)
    }

    /// Calls `table` with the physical address of each table but those of the last level, from the
    /// highest level down, `most` times at most.
    pub(crate) fn each<M: ReadPhys>(
        &self,
        memory: KernelMemory<'_, M>,
        most: usize,
        table: &mut impl FnMut(u64),
    ) {
        let mapped = || self.translate(memory, self.root).ok().flatten();
        let root = self.physical_root.or_else(|| mapped().map(|page| page.physical));
        if let Some(root) = root {
            table(root & ADDRESS);
        }
        let mut left = most;
        for depth in 1..self.format.levels - 1 {
            self.visit(memory, None, depth, &mut left, table);
        }
    }

    /// Calls `visit` with the tables `depth` levels below `table`.
    fn visit<M: ReadPhys>(
        &self,
        memory: KernelMemory<'_, M>,
        table: Option<(u64, u32)>,
        depth: u32,
        left: &mut usize,
        visit: &mut impl FnMut(u64),
    ) {
        let Format { levels, bits, entry: size, large, .. } = self.format;
        let level = table.map_or(levels - 1, |(_, level)| level);
        let mut bytes = [0; TOGETHER];
        for offset in (0..(size as u64) << bits).step_by(TOGETHER) {
            let read = self.read_entries(memory, table.map(|(at, _)| at), offset, &mut bytes);
            let entries = bytes.chunks_exact(size).filter(|_| read.is_ok());
            for entry in entries.map(number) {
                let is_large = entry & LARGE != 0 && large >> level & 1 != 0;
                if entry & PRESENT == 0 || is_large || *left == 0 {
                    continue;
                }
                if depth > 1 {
                    let next = Some((entry & ADDRESS, level - 1));
                    self.visit(memory, next, depth - 1, left, visit);
                } else {
                    *left -= 1;
                    visit(entry & ADDRESS);
                }
            }
        }
    }

    /// The entry of a table: of the highest without `table`.
    fn entry<M: ReadPhys>(
        &self,
        memory: KernelMemory<'_, M>,
        table: Option<u64>,
        index: u64,
    ) -> Result<u64, Error> {
        let (mut bytes, size) = ([0; 8], self.format.entry);
        self.read_entries(memory, table, size as u64 * index, &mut bytes[..size])?;
        Ok(number(&bytes[..size]))
    }

    /// Reads entries of a table.
    fn read_entries<M: ReadPhys>(
        &self,
        memory: KernelMemory<'_, M>,
        table: Option<u64>,
        offset: u64,
        into: &mut [u8],
    ) -> Result<(), Error> {
        match table {
            None => self.read_root(memory, offset, into),
            Some(table) => memory.read_physical(table + offset, into),
        }
    }

    /// Reads entries of the highest table.
    fn read_root<M: ReadPhys>(
        &self,
        memory: KernelMemory<'_, M>,
        offset: u64,
        into: &mut [u8],
    ) -> Result<(), Error> {
        let at = self.root.checked_add(offset).ok_or(Error::Unmapped { at: self.root })?;
        match (memory.read(at, into), self.physical_root) {
            (Err(Error::Unmapped { .. }), Some(root)) => {
                let at = root.checked_add(offset).ok_or(Error::Unmapped { at })?;
                memory.read_physical(at, into)
            }
            (read, _) => read,
        }
    }
}

/// A number of eight bytes at most.
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests;
