//! The dead kernel's virtual addresses, for dumps whose headers have none: kdump-compressed files,
//! and all that QEMU writes. VMCOREINFO and the kernel's page tables tell them.

use alloc::vec::Vec;

use vmcore::{EM_386, Error, PhysAddr, ReadPhys, Segment, vmcoreinfo_get};

use crate::{KernelMemory, SegmentMap};

/// Start of the map of an x86_64 kernel's image (Linux, `__START_KERNEL_map`), and its length.
const IMAGE: u64 = 0xffff_ffff_8000_0000;
const IMAGE_LENGTH: u64 = 1 << 30;
/// Pages of a kernel's image.
const IMAGE_PAGE: u64 = 2 << 20;
/// The first entry of the highest table that can be of the direct map: the one before it has the
/// LDT of each task (Linux, `Documentation/arch/x86/x86_64/mm.rst`), with 4 and with 5 levels.
const FIRST_DIRECT: u64 = 273;
/// The direct map begins at a multiple of this, wherever KASLR puts it.
const DIRECT_ALIGN: u64 = 1 << 30;
/// `CONFIG_PAGE_OFFSET` of i386 kernels (Linux, `arch/x86/Kconfig`).
const PAGE_OFFSETS: [u64; 5] = [0xc000_0000, 0xb000_0000, 0x8000_0000, 0x7800_0000, 0x4000_0000];
/// End of 32-bit addresses.
const END_32: u64 = 1 << 32;
/// Most page tables that are searched.
const MOST_TABLES: u32 = 4096;
/// Table entries: present; a large page; the address.
const PRESENT: u64 = 1;
const LARGE: u64 = 1 << 7;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// The PT_LOADs `loads` with the dead kernel's virtual addresses in place of their own, and, for
/// x86_64, the map of its image. Without them in VMCOREINFO or in memory, the loads stay as they
/// are.
///
/// # Errors
/// [`crate::Error::NO_MEMORY`].
pub fn with_virtual_addresses(
    mem: &impl ReadPhys,
    loads: &[Segment],
    vmcoreinfo: &[u8],
    machine: u16,
) -> Result<Vec<Segment>, crate::Error> {
    let mut bare = Vec::new();
    bare.try_reserve_exact(loads.len()).map_err(|_| crate::Error::NO_MEMORY)?;
    bare.extend(loads.iter().map(|load| Segment { vaddr: 0, ..*load }));
    let map = SegmentMap::new(bare.iter().copied().map(Ok))?;
    let tables = Tables { memory: KernelMemory::new(mem, &map), left: MOST_TABLES };
    let found = if machine == EM_386 {
        i386(tables, vmcoreinfo).map(|linear| (linear, None))
    } else {
        x86_64(tables, vmcoreinfo)
    };
    let Some((direct, image)) = found else { return Ok(loads.to_vec()) };
    let mut all = Vec::new();
    for load in &bare {
        direct.apply(load, &mut all)?;
        if let Some(part) = image.and_then(|image| image.of(load)) {
            push(&mut all, part)?;
        }
    }
    Ok(all)
}

fn push(list: &mut Vec<Segment>, item: Segment) -> Result<(), Error> {
    list.try_reserve(1).map_err(|_| Error::NoMemory)?;
    list.push(item);
    Ok(())
}

/// Physical addresses that are mapped at a fixed distance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Linear {
    start: u64,
    end: u64,
    /// Virtual address less physical one, modulo 2^64.
    distance: u64,
}

impl Linear {
    /// The load, cut at the end of this map. The part after it has no virtual address.
    fn apply(&self, load: &Segment, all: &mut Vec<Segment>) -> Result<(), Error> {
        let mapped = self.of(load);
        let length = mapped.map_or(0, |part| part.memsz);
        if let Some(part) = mapped {
            push(all, part)?;
        }
        match part(load, length, load.memsz) {
            Some(rest) => push(all, rest),
            None => Ok(()),
        }
    }

    /// The part of a load that is mapped here.
    fn of(&self, load: &Segment) -> Option<Segment> {
        let start = load.paddr.get();
        let from = self.start.max(start) - start;
        let to = self.end.min(start.saturating_add(load.memsz)).checked_sub(start)?;
        let part = part(load, from, to)?;
        Some(Segment { vaddr: part.paddr.get().wrapping_add(self.distance), ..part })
    }
}

/// The bytes `from..to` of a load; [`None`] for none.
fn part(load: &Segment, from: u64, to: u64) -> Option<Segment> {
    let at = |start: PhysAddr| start.checked_add(from);
    (from < to).then_some(())?;
    Some(Segment {
        source: at(load.source)?,
        paddr: at(load.paddr)?,
        filesz: load.filesz.min(to).saturating_sub(from),
        memsz: to - from,
        ..*load
    })
}

/// The dead kernel's page tables, by their physical addresses.
struct Tables<'a, M> {
    memory: KernelMemory<'a, M>,
    /// Number of tables that may still be looked at.
    left: u32,
}

impl<M: ReadPhys> Tables<'_, M> {
    fn entry(&self, at: u64, width: u64) -> Option<u64> {
        let mut bytes = [0; 8];
        self.memory.read_physical(at, &mut bytes[..width as usize]).ok()?;
        Some(u64::from_le_bytes(bytes))
    }

    /// The 512 entries of a table.
    fn table(&mut self, at: u64) -> Option<[u64; 512]> {
        self.left = self.left.checked_sub(1)?;
        let (mut bytes, mut entries) = ([0; 4096], [0; 512]);
        self.memory.read_physical(at, &mut bytes).ok()?;
        for (entry, bytes) in entries.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *entry = u64::from_le_bytes(*bytes);
        }
        Some(entries)
    }

    /// The first page that a table of this level (0 is the last) maps from entry `from` on: its
    /// virtual address, as far as this table decides it, and its physical one.
    fn first_mapped(&mut self, at: u64, level: u32, from: u64) -> Option<(u64, u64)> {
        let shift = 12 + 9 * level;
        let entries = self.table(at)?;
        for (index, entry) in (0..).zip(entries).skip(usize::try_from(from).ok()?) {
            if entry & PRESENT == 0 {
                continue;
            }
            let start: u64 = index << shift;
            if level == 0 || (entry & LARGE != 0 && level < 3) {
                return Some((start, entry & ADDRESS & !((1 << shift) - 1)));
            }
            if let Some((rest, physical)) = self.first_mapped(entry & ADDRESS, level - 1, 0) {
                return Some((start | rest, physical));
            }
        }
        None
    }
}

fn hex(vmcoreinfo: &[u8], key: &str) -> Option<u64> {
    u64::from_str_radix(vmcoreinfo_get(vmcoreinfo, key)?, 16).ok()
}

/// The direct map of all memory, and that of the kernel's image.
fn x86_64<M: ReadPhys>(
    mut tables: Tables<'_, M>,
    vmcoreinfo: &[u8],
) -> Option<(Linear, Option<Linear>)> {
    let base: i64 = vmcoreinfo_get(vmcoreinfo, "NUMBER(phys_base)")?.parse().ok()?;
    let physical = |at: u64| at.checked_sub(IMAGE).map(|at| at.wrapping_add_signed(base));
    let root = physical(hex(vmcoreinfo, "SYMBOL(init_top_pgt)")?)?;
    let levels = match vmcoreinfo_get(vmcoreinfo, "NUMBER(pgtable_l5_enabled)") {
        Some("1") => 5,
        _ => 4,
    };
    // The tables of the image: the last entry of each level but the last two.
    let mut table = root;
    for _ in 3..levels {
        table = tables.table(table)?[511] & ADDRESS;
    }
    let middle = tables.table(table)?[510] & ADDRESS;
    let pages = tables.table(middle)?;
    let start = hex(vmcoreinfo, "SYMBOL(_stext)")? & !(IMAGE_PAGE - 1);
    let first = usize::try_from(start.checked_sub(IMAGE)? / IMAGE_PAGE).ok()?;
    let last = pages.iter().rposition(|entry| entry & PRESENT != 0)?;
    // A wrong place would lead to wrong memory.
    let entry = *pages.get(first)?;
    let is_right = entry & LARGE == 0 || entry & ADDRESS & !(IMAGE_PAGE - 1) == physical(start)?;
    if first > last || !is_right {
        return None;
    }
    let end = physical(IMAGE + (last as u64 + 1) * IMAGE_PAGE)?;
    let image = Linear {
        start: physical(start)?,
        end: end.min(physical(start)?.checked_add(IMAGE_LENGTH)?),
        distance: IMAGE.wrapping_sub(base as u64),
    };
    let (at, there) = tables.first_mapped(root, levels - 1, FIRST_DIRECT)?;
    let distance = sign_extend(at, 12 + 9 * levels).checked_sub(there)?;
    if !distance.is_multiple_of(DIRECT_ALIGN) || distance >= IMAGE {
        return None;
    }
    let direct = Linear { start: 0, end: IMAGE.wrapping_sub(distance), distance };
    Some((direct, Some(image)))
}

/// The address with its bit `bits - 1` in all bits above.
const fn sign_extend(address: u64, bits: u32) -> u64 {
    let shift = 64 - bits;
    (((address << shift) as i64) >> shift) as u64
}

/// The direct map of low memory.
fn i386<M: ReadPhys>(tables: Tables<'_, M>, vmcoreinfo: &[u8]) -> Option<Linear> {
    let root = hex(vmcoreinfo, "SYMBOL(swapper_pg_dir)")?;
    let text = hex(vmcoreinfo, "SYMBOL(_stext)")?;
    let has_pae = vmcoreinfo_get(vmcoreinfo, "CONFIG_X86_PAE") == Some("y");
    let translate = |offset: u64, at: u64| {
        let root = root.checked_sub(offset)?;
        if has_pae { translate_pae(&tables, root, at) } else { translate_32(&tables, root, at) }
    };
    let is_it = |offset: &u64| {
        let wanted = text.checked_sub(*offset);
        wanted.is_some() && translate(*offset, text) == wanted
    };
    let distance = PAGE_OFFSETS.into_iter().find(is_it)?;
    // Low memory ends where the map does.
    let is_direct = |at: &u64| translate(distance, distance + at) == Some(*at);
    let step = IMAGE_PAGE as usize;
    let mut steps = (0..END_32 - distance).step_by(step).skip_while(|at| *at < text - distance);
    let last = steps.by_ref().take_while(is_direct).last()?;
    let pages = (last..last + IMAGE_PAGE).step_by(4096);
    let end = pages.take_while(is_direct).last()? + 4096;
    Some(Linear { start: 0, end: end.min(END_32 - distance), distance })
}

/// Two levels of 32-bit entries (Intel's manual, volume 3, 4.3).
fn translate_32<M: ReadPhys>(tables: &Tables<'_, M>, root: u64, at: u64) -> Option<u64> {
    let present = |entry: &u64| entry & PRESENT != 0;
    let entry = tables.entry(root + (at >> 22) * 4, 4).filter(present)?;
    if entry & LARGE != 0 {
        return Some(entry & 0xffc0_0000 | at & 0x3f_ffff);
    }
    let entry = tables.entry((entry & 0xffff_f000) + (at >> 12 & 0x3ff) * 4, 4).filter(present)?;
    Some(entry & 0xffff_f000 | at & 0xfff)
}

/// Three levels of 64-bit entries, four of them in the first (4.4).
fn translate_pae<M: ReadPhys>(tables: &Tables<'_, M>, root: u64, at: u64) -> Option<u64> {
    let present = |entry: &u64| entry & PRESENT != 0;
    let entry = tables.entry(root + (at >> 30) * 8, 8).filter(present)?;
    let entry = tables.entry((entry & ADDRESS) + (at >> 21 & 0x1ff) * 8, 8).filter(present)?;
    if entry & LARGE != 0 {
        return Some(entry & ADDRESS & !(IMAGE_PAGE - 1) | at & (IMAGE_PAGE - 1));
    }
    let entry = tables.entry((entry & ADDRESS) + (at >> 12 & 0x1ff) * 8, 8).filter(present)?;
    Some(entry & ADDRESS | at & 0xfff)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::borrow::ToOwned;
    use alloc::vec;
    use vmcore::fake::FakeMemory;
    use vmcore::{EM_X86_64, SegmentKind};

    /// Memory of 64 MiB from zero on, whose bytes are at other places.
    const SOURCE: u64 = 1 << 32;

    fn loads() -> Vec<Segment> {
        let load = |paddr: u64, memsz: u64| Segment {
            kind: SegmentKind::Load,
            source: PhysAddr::new(SOURCE + paddr),
            vaddr: paddr,
            paddr: PhysAddr::new(paddr),
            filesz: memsz,
            memsz,
            flags: 7,
        };
        vec![load(0, 0x30_0000), load(0x30_0000, 0x3d0_0000)]
    }

    /// A table with these entries: index and value.
    fn table(entries: &[(usize, u64)], width: usize) -> Vec<u8> {
        let mut bytes = vec![0; 4096];
        for (index, entry) in entries {
            bytes[index * width..][..width].copy_from_slice(&entry.to_le_bytes()[..width]);
        }
        bytes
    }

    /// Start, length and virtual address of each load.
    fn found(memory: &FakeMemory, vmcoreinfo: &str, machine: u16) -> Vec<[u64; 3]> {
        let loads = with_virtual_addresses(memory, &loads(), vmcoreinfo.as_bytes(), machine);
        let loads = loads.expect("room");
        let is_moved = |load: &Segment| load.source.get() == SOURCE + load.paddr.get();
        assert!(loads.iter().all(is_moved), "{loads:?}");
        loads.iter().map(|load| [load.paddr.get(), load.memsz, load.vaddr]).collect()
    }

    const BARE: [[u64; 3]; 2] = [[0, 0x30_0000, 0], [0x30_0000, 0x3d0_0000, 0x30_0000]];

    /// The image is linked at 16 MiB and runs at 32 MiB; the direct map is moved by KASLR.
    #[test]
    fn x86_64_has_a_direct_map_and_its_image() {
        let text = "SYMBOL(init_top_pgt)=ffffffff81200000\nSYMBOL(_stext)=ffffffff81000000\n\
                    NUMBER(phys_base)=16777216\n";
        let pages = |present: bool| {
            let last = (9, 0x220_0000 | 0x83);
            let image = [(8, 0x200_0000 | 0x83), if present { last } else { (9, 0) }];
            let direct = (280, 0x220_1000 | 3);
            FakeMemory::with(SOURCE + 0x220_0000, table(&[direct, (511, 0x220_4000 | 3)], 8))
                .and(SOURCE + 0x220_1000, table(&[(5, 0x220_2000 | 3)], 8))
                .and(SOURCE + 0x220_2000, table(&[(0, 0x220_3000 | 3), (1, 0x20_0083)], 8))
                // Page 0 is not mapped.
                .and(SOURCE + 0x220_3000, table(&[(1, 0x1003)], 8))
                .and(SOURCE + 0x220_4000, table(&[(510, 0x220_5000 | 3)], 8))
                .and(SOURCE + 0x220_5000, table(&image, 8))
        };
        let direct = 0xffff_8000_0000_0000 + ((280 - 256) << 39) + (5 << 30);
        let expected = |image_length: u64| {
            let image = [0x200_0000, image_length, 0xffff_ffff_8100_0000];
            let all = [0, 0x30_0000].map(|at| direct + at);
            vec![[0, 0x30_0000, all[0]], [0x30_0000, 0x3d0_0000, all[1]], image]
        };
        assert_eq!(found(&pages(true), text, EM_X86_64), expected(0x40_0000));
        assert_eq!(found(&pages(false), text, EM_X86_64), expected(0x20_0000));
        // A kernel that says that it is elsewhere, or nothing.
        let other = text.replace("16777216", "14680064");
        assert_eq!(found(&pages(true), &other, EM_X86_64), BARE);
        assert_eq!(found(&pages(true), "OSRELEASE=6.1\n", EM_X86_64), BARE);
    }

    /// Low memory ends at 40 MiB; the page tables are elsewhere in it.
    #[test]
    fn i386_has_low_memory() {
        let text = "SYMBOL(swapper_pg_dir)=c1200000\nSYMBOL(_stext)=c1000000\n";
        let large = |step: u64| (0..40 / step).map(move |at| (at, (at * step) << 20 | 0x83));
        let entries: Vec<_> = large(4).map(|(at, entry)| (768 + at as usize, entry)).collect();
        let memory = FakeMemory::with(SOURCE + 0x120_0000, table(&entries, 4));
        let low = 40 << 20;
        let expected = [
            [0, 0x30_0000, 0xc000_0000],
            [0x30_0000, low - 0x30_0000, 0xc030_0000],
            [low, 0x400_0000 - low, 0],
        ];
        assert_eq!(found(&memory, text, EM_386), expected);
        let entries: Vec<_> = large(2).map(|(at, entry)| (at as usize, entry)).collect();
        let memory = FakeMemory::with(SOURCE + 0x120_0000, table(&[(3, 0x120_1001)], 8))
            .and(SOURCE + 0x120_1000, table(&entries, 8));
        let text = text.to_owned() + "CONFIG_X86_PAE=y\n";
        assert_eq!(found(&memory, &text, EM_386), expected);
        assert_eq!(found(&memory, &text.replace("c1000000", "c3000000"), EM_386), BARE);
    }

    /// Tables that lead in circles, and never to a page.
    #[test]
    fn the_search_has_an_end() {
        let text = "SYMBOL(init_top_pgt)=ffffffff81200000\nSYMBOL(_stext)=ffffffff81000000\n\
                    NUMBER(phys_base)=16777216\nNUMBER(pgtable_l5_enabled)=1\n";
        let mut circle: Vec<_> = (0..512).map(|index| (index, 0x220_0003)).collect();
        circle[8].1 = 0x200_0083;
        let empty = (0..512).map(|index| (index, 0)).collect::<Vec<_>>();
        let memory = FakeMemory::with(SOURCE + 0x220_0000, table(&circle, 8))
            .and(SOURCE + 0x230_0000, table(&empty, 8));
        assert!(!found(&memory, text, EM_X86_64).is_empty());
    }
}
