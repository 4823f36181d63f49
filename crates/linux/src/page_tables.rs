//! The dead x86_64 kernel's own page tables, for addresses that no PT_LOAD has: stacks are
//! vmalloc'ed (`CONFIG_VMAP_STACK`), and so have addresses outside of the direct map. (AMD64
//! manual, volume 2, chapter 5)

use handoff::layout::PAGE_SIZE;

use crate::{Error, KernelMemory};
use vmcore::{ReadPhys, vmcoreinfo_get};

/// Table entries: there is something.
const PRESENT: u64 = 1 << 0;
/// Table entries of the levels above the last: a large page, and not a table.
const LARGE: u64 = 1 << 7;
/// Table entries: the physical address.
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
/// Bits of an address that are its place in a page, and that each level takes.
const PAGE_BITS: u32 = 12;
const LEVEL_BITS: u32 = 9;

/// The page tables that hold for every task's kernel addresses.
pub(crate) struct PageTables<'a, M> {
    memory: KernelMemory<'a, M>,
    /// The highest table (virtual, in the kernel's image).
    root: u64,
    /// Number of levels: 4 or 5.
    levels: u32,
}

impl<'a, M: ReadPhys> PageTables<'a, M> {
    /// Finds them by the text of VMCOREINFO; [`None`] when it does not say where they are, as that
    /// of i386.
    pub(crate) fn find(memory: KernelMemory<'a, M>, vmcoreinfo: &[u8]) -> Option<Self> {
        let root = vmcoreinfo_get(vmcoreinfo, "SYMBOL(init_top_pgt)")?;
        let has_5 = vmcoreinfo_get(vmcoreinfo, "NUMBER(pgtable_l5_enabled)") == Some("1");
        let root = u64::from_str_radix(root, 16).ok()?;
        Some(Self { memory, root, levels: if has_5 { 5 } else { 4 } })
    }

    /// Reads bytes of one page from the virtual address `at` on.
    ///
    /// # Errors
    /// [`Error::Unmapped`] when no page is there, or it is not in the dump; [`Error::Dump`].
    pub(crate) fn read(&self, at: u64, into: &mut [u8]) -> Result<(), Error> {
        debug_assert!(at % PAGE_SIZE + into.len() as u64 <= PAGE_SIZE);
        self.memory.read_physical(self.translate(at)?, into)
    }

    /// The physical address where the first kernel had the byte at `at`.
    fn translate(&self, at: u64) -> Result<u64, Error> {
        let mut entry = 0;
        for level in (0..self.levels).rev() {
            let shift = PAGE_BITS + LEVEL_BITS * level;
            let offset = 8 * (at >> shift & ((1 << LEVEL_BITS) - 1));
            let mut bytes = [0; 8];
            if level + 1 == self.levels {
                let place = self.root.checked_add(offset).ok_or(Error::Unmapped { at })?;
                self.memory.read(place, &mut bytes)?;
            } else {
                self.memory.read_physical((entry & ADDRESS) + offset, &mut bytes)?;
            }
            entry = u64::from_le_bytes(bytes);
            if entry & PRESENT == 0 {
                return Err(Error::Unmapped { at });
            }
            // Bit 7 means something else in the last level, and must be zero above the third.
            if level == 0 || entry & LARGE != 0 {
                let within = (1 << shift) - 1;
                return Ok(entry & ADDRESS & !within | at & within);
            }
        }
        Err(Error::Unmapped { at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SegmentMap;
    use alloc::vec;
    use alloc::vec::Vec;
    use vmcore::fake::FakeMemory;
    use vmcore::{PhysAddr, Segment, SegmentKind};

    /// Place of memory, and the addresses at which the dead kernel had it: the tables, as a part of
    /// the kernel's image, and the same in the direct map.
    const TABLES: u64 = 0x20_0000;
    const IMAGE: u64 = 0xffff_ffff_8100_0000;
    const DIRECT: u64 = 0xffff_8880_0000_0000;
    /// An address of vmalloc: indices 0x192, 1, 2, 3, and 8 into the page.
    const STACK: u64 = 0xffff_c900_4040_3008;

    fn loads() -> SegmentMap {
        let loads = [(TABLES, IMAGE), (0, DIRECT)].map(|(paddr, vaddr)| Segment {
            kind: SegmentKind::Load,
            source: PhysAddr::new(paddr + 0x1000_0000),
            vaddr,
            paddr: PhysAddr::new(paddr),
            filesz: 0x100_0000,
            memsz: 0x100_0000,
            flags: 7,
        });
        SegmentMap::new(loads.map(Ok)).expect("room")
    }

    /// Tables at [`TABLES`], one after the other, each with one entry, followed by a page.
    fn memory(entries: &[(usize, u64)]) -> FakeMemory {
        let mut bytes: Vec<u8> = vec![0; 0x1000 * entries.len()];
        for (number, (index, entry)) in entries.iter().enumerate() {
            bytes[0x1000 * number + 8 * index..][..8].copy_from_slice(&entry.to_le_bytes());
        }
        bytes.extend((0..0x1000_u32).map(|at| (at >> 3) as u8));
        FakeMemory::with(TABLES + 0x1000_0000, bytes)
    }

    fn read(mem: &FakeMemory, five: bool, at: u64) -> Result<[u8; 8], Error> {
        let loads = loads();
        let text: &[u8] = if five {
            b"SYMBOL(init_top_pgt)=ffffffff81000000\nNUMBER(pgtable_l5_enabled)=1\n"
        } else {
            b"SYMBOL(init_top_pgt)=ffffffff81000000\nNUMBER(pgtable_l5_enabled)=0\n"
        };
        let tables = PageTables::find(KernelMemory::new(mem, &loads), text).expect("tables");
        let mut bytes = [0; 8];
        tables.read(at, &mut bytes).map(|()| bytes)
    }

    #[test]
    fn four_levels_and_five() {
        let next = |number: u64| TABLES + 0x1000 * number + 0x63;
        // The no-execute bit of the last entry is no part of the address.
        let page = |number: u64| next(number) | 1 << 63;
        let four = [(0x192, next(1)), (1, next(2)), (2, next(3)), (3, page(4))];
        assert_eq!(read(&memory(&four), false, STACK), Ok([1; 8]));
        let at = STACK + 0x1000;
        assert_eq!(read(&memory(&four), false, at), Err(Error::Unmapped { at }), "the guard page");
        let five = [(0x1ff, next(1)), (0x192, next(2)), (1, next(3)), (2, next(4)), (3, page(5))];
        assert_eq!(read(&memory(&five), true, STACK), Ok([1; 8]));
    }

    #[test]
    fn large_pages() {
        let next = |number: u64| TABLES + 0x1000 * number + 0x63;
        let two_mib = [(0x192, next(1)), (1, next(2)), (2, TABLES | 0x1e3)];
        assert_eq!(read(&memory(&two_mib), false, STACK), Ok([1; 8]), "page 3 of it");
        let one_gib = [(0x192, next(1)), (1, 0x1e3)];
        let at = 0xffff_c900_4000_0000 + TABLES + 0x2010;
        assert_eq!(read(&memory(&one_gib), false, at), Ok([2; 8]));
    }

    #[test]
    fn tables_that_lead_nowhere_are_errors() {
        let mem = memory(&[(0x192, 0x7000_0000_0063)]);
        let at = 0x7000_0000_0008;
        assert_eq!(read(&mem, false, STACK), Err(Error::Unmapped { at }));
        assert_eq!(read(&mem, false, 0), Err(Error::Unmapped { at: 0 }));
        let loads = loads();
        let find = |text: &[u8]| PageTables::find(KernelMemory::new(&mem, &loads), text).is_some();
        assert!(!find(b"OSRELEASE=6.1\n") && !find(b"SYMBOL(init_top_pgt)=x\n"));
        assert!(find(b"SYMBOL(init_top_pgt)=ffffffffffffffff\n"));
    }
}
