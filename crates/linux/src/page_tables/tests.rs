use super::*;
use crate::{SegmentMap, VirtualMemory};
use alloc::format;
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
    let mut bytes = [0; 8];
    let memory = VirtualMemory::new(KernelMemory::new(mem, &loads), text);
    memory.read(at, &mut bytes).map(|()| bytes)
}

#[test]
fn four_levels_and_five() {
    let next = |number: u64| TABLES + 0x1000 * number + 0x63;
    // The no-execute bit of the last entry is no part of the address.
    let page = |number: u64| next(number) | 1 << 63;
    let four = [(0x192, next(1)), (1, next(2)), (2, next(3)), (3, page(4))];
    assert_eq!(read(&memory(&four), false, STACK), Ok([1; 8]));
    let (loads, mem) = (loads(), memory(&four));
    let text = b"SYMBOL(init_top_pgt)=ffffffff81000000\n";
    let walk = VirtualMemory::new(KernelMemory::new(&mem, &loads), text).walk(STACK);
    let walk = walk.expect("tables").expect("tables");
    assert_eq!(walk.entries[..walk.count], [next(1), next(2), next(3), page(4)]);
    assert_eq!(walk.place, Some((TABLES + 0x4008, 0xff8)));
    let at = STACK + 0x1000;
    assert_eq!(read(&memory(&four), false, at), Err(Error::Unmapped { at }), "the guard page");
    let five = [(0x1ff, next(1)), (0x192, next(2)), (1, next(3)), (2, next(4)), (3, page(5))];
    assert_eq!(read(&memory(&five), true, STACK), Ok([1; 8]));
}

/// The tables of the kernel itself are elsewhere, and not there.
#[test]
fn a_process_has_its_own_tables() {
    const AT: u64 = 0x4040_3ff8;
    let next = |number: u64| TABLES + 0x1000 * number + 0x67;
    // Two pages: the first is the second one of memory, too.
    let mut mem = memory(&[(0, next(1)), (1, next(2)), (2, next(3)), (3, next(4))]);
    mem = mem.and(TABLES + 0x1000_3020, next(4).to_le_bytes().to_vec());
    let loads = loads();
    let text = b"SYMBOL(init_top_pgt)=ffffffff81800000\n";
    let memory = VirtualMemory::new(KernelMemory::new(&mem, &loads), text);
    let mut bytes = [0; 16];
    let mut read = |at| memory.read_process(DIRECT + TABLES, at, &mut bytes).map(|()| bytes);
    let expected = [[0xff; 8], [0; 8]].concat();
    assert_eq!(read(AT).map(|bytes| bytes.to_vec()), Ok(expected), "over the end of a page");
    assert_eq!(read(AT + 0x1000), Err(Error::Unmapped { at: AT + 0x1008 }));
    assert!(read(u64::MAX - 3).is_err());
    let elsewhere = memory.read_process(DIRECT + 0x40_0000, AT, &mut [0; 8]);
    assert!(elsewhere.is_err(), "{elsewhere:?}");
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

/// The kernel's half of i386 begins at 3 GiB; 0xc080_3000 is in its third 4 MiB.
#[test]
fn i386_without_pae_and_with_it() {
    const AT: u64 = 0xc080_3000;
    let pae = |on: bool| {
        let pae = if on { "CONFIG_X86_PAE=y\n" } else { "" };
        let text = format!("SYMBOL(swapper_pg_dir)=c0200000\nSIZE(list_head)=8\n{pae}");
        PageTables::find(text.as_bytes()).expect("tables")
    };
    let load = Segment {
        kind: SegmentKind::Load,
        source: PhysAddr::new(0),
        vaddr: 0xc000_0000,
        paddr: PhysAddr::new(0),
        filesz: 0x100_0000,
        memsz: 0x100_0000,
        flags: 7,
    };
    let loads = SegmentMap::new([Ok(load)]).expect("room");
    let find = |on: bool, mem: &FakeMemory, at: u64| {
        let found = pae(on).translate(KernelMemory::new(mem, &loads), at);
        found.map(|found| found.map(|page| (page.physical, page.left)))
    };
    let word = |value: u32| value.to_le_bytes().to_vec();
    let long = |value: u64| value.to_le_bytes().to_vec();
    // Index 0x302 of 1024 with 4 bytes each, then 3.
    let table = FakeMemory::with(0x20_0c08, word(0x30_1063)).and(0x30_100c, word(0x40_5163));
    assert_eq!(find(false, &table, AT + 8), Ok(Some((0x40_5008, 0xff8))));
    let large = FakeMemory::with(0x20_0c08, word(0x80_01e3));
    assert_eq!(find(false, &large, AT + 8), Ok(Some((0x80_3008, 0x3f_cff8))), "4 MiB");
    let absent = FakeMemory::with(0x20_0c08, word(0x80_01e2));
    assert_eq!(find(false, &absent, AT), Ok(None));
    // Index 3 of 4 with 8 bytes each, then 4 and 3.
    let upper = || FakeMemory::with(0x20_0018, long(0x30_1001));
    let table = upper().and(0x30_1020, long(0x30_2063));
    let table = table.and(0x30_2018, long(0x8000_0000_0040_5163));
    assert_eq!(find(true, &table, AT + 8), Ok(Some((0x40_5008, 0xff8))));
    let large = upper().and(0x30_1020, long(0x1_2340_01e3));
    assert_eq!(find(true, &large, AT + 8), Ok(Some((0x1_2340_3008, 0x1f_cff8))), "2 MiB");
    assert_eq!(find(true, &large, 1 << 32), Ok(None));
    // The first table has no large pages.
    let damaged = FakeMemory::with(0x20_0018, long(0x30_1081));
    assert_eq!(find(true, &damaged, AT), Err(Error::Unmapped { at: AT }));
    assert!(find(true, &upper(), AT).is_err(), "a table that cannot be read");
}

/// Without virtual addresses in the headers, `phys_base` tells the place of the first table.
#[test]
fn the_place_of_the_tables_is_in_vmcoreinfo_too() {
    let load = Segment {
        kind: SegmentKind::Load,
        source: PhysAddr::new(0),
        vaddr: 0,
        paddr: PhysAddr::new(0),
        filesz: 0x100_0000,
        memsz: 0x100_0000,
        flags: 7,
    };
    let loads = SegmentMap::new([Ok(load)]).expect("room");
    let mem = FakeMemory::with(0x20_0ff8, 0x30_0063_u64.to_le_bytes())
        .and(0x30_0ff0, 0x1e3_u64.to_le_bytes());
    let text = b"SYMBOL(init_top_pgt)=ffffffff81000000\nNUMBER(phys_base)=-14680064\n";
    let tables = PageTables::find(text).expect("tables");
    let at = 0xffff_ffff_8123_4567;
    let found = tables.translate(KernelMemory::new(&mem, &loads), at).expect("tables");
    let left = (1 << 30) - 0x123_4567;
    let page = Mapped { physical: 0x123_4567, left, is_read_only: false };
    assert_eq!(found, Some(page));
}

#[test]
fn tables_that_lead_nowhere_are_errors() {
    let mem = memory(&[(0x192, 0x7000_0000_0063)]);
    let at = 0x7000_0000_0008;
    assert_eq!(read(&mem, false, STACK), Err(Error::Unmapped { at }));
    assert_eq!(read(&mem, false, 0), Err(Error::Unmapped { at: 0 }));
    let find = |text: &[u8]| PageTables::find(text).is_some();
    assert!(!find(b"OSRELEASE=6.1\n") && !find(b"SYMBOL(init_top_pgt)=x\n"));
    assert!(find(b"SYMBOL(init_top_pgt)=ffffffffffffffff\n"));
}
