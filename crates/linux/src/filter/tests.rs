use alloc::vec::Vec;
use alloc::{format, vec};

use super::Filter;
use super::fake::{Guest, KERNELS, Memory, PAGES, TABLES_PAGE};
use super::protected::Protected;
use Verdict::{Doubt, Excluded, Kept};
use vmcore::PageClass::{Cache, CachePrivate, Free, HwPoison, Offline, User};
use vmcore::fake::{note, range};
use vmcore::{EM_X86_64, PageFilter, PhysAddr, Verdict, WINDOW_PAGES};

/// Pages of their own: the verdict on each, and its fields.
fn single_pages(guest: &Guest) -> Vec<(Verdict, Vec<(&'static str, u64)>)> {
    let [lru, private] = ["lru", "private"].map(|name| guest.flag(name));
    let [swap, backed] = ["swapcache", "swapbacked"].map(|name| guest.flag(name));
    let (pointer, anonymous) = (guest.pointer(), guest.pointer() | 1);
    let (is_old, low) = (guest.has("NUMBER(PG_slab)"), (-1000_i64).cast_unsigned());
    // A type that is not in VMCOREINFO: a page table.
    let table = if is_old { -513_i64 } else { -(0xe << 24) }.cast_unsigned();
    let mut pages = vec![
        (Excluded(Cache), vec![("flags", lru), ("mapping", pointer)]),
        (Excluded(CachePrivate), vec![("flags", lru | private), ("mapping", pointer)]),
        (Excluded(Cache), vec![("flags", lru)]),
        (Excluded(Cache), vec![("flags", swap | backed)]),
        (Kept, vec![("flags", swap), ("mapping", pointer)]),
        (Kept, vec![("flags", backed), ("mapping", pointer)]),
        (Excluded(User), vec![("mapping", anonymous), ("_mapcount", 2)]),
        (Excluded(User), vec![("flags", lru | backed), ("mapping", anonymous)]),
        (Excluded(User), vec![("mapping", anonymous | 2)]),
        (Excluded(HwPoison), vec![("flags", guest.flag("hwpoison"))]),
        (Kept, vec![("mapping", pointer)]),
        (Kept, vec![("flags", private)]),
        (Kept, vec![("_refcount", 0)]),
        (Kept, vec![("flags", u64::MAX), ("_mapcount", u64::MAX), ("mapping", u64::MAX)]),
        (Kept, vec![("_mapcount", table), ("mapping", anonymous)]),
        (Doubt, vec![("mapping", 1)]),
        // No type since Linux 6.12.
        (if is_old { Kept } else { Doubt }, vec![("flags", lru), ("_mapcount", low)]),
        (Doubt, vec![("mapping", anonymous), ("_mapcount", u64::MAX - 1)]),
        (Doubt, vec![("flags", lru), ("mapping", 0x1234)]),
    ];
    for (name, verdict) in [("OFFLINE", Excluded(Offline)), ("SLAB", Kept)] {
        let value = guest.page_type(name);
        pages.extend(
            value.map(|value| (verdict, vec![("_mapcount", value), ("mapping", anonymous)])),
        );
    }
    pages
}

/// Makes free blocks and compound pages from page 64 on.
fn larger_pages(guest: &mut Guest, expected: &mut [Verdict]) {
    let (lru, pointer) = (guest.flag("lru"), guest.pointer());
    let mut range = |first: usize, order: u64, verdict: Verdict| {
        expected[first..first + (1 << order)].fill(verdict);
    };
    for (first, order) in [(64, 0), (65, 0), (66, 1), (128, 6), (1024, 10)] {
        guest.free(first as u64, order);
        range(first, order, Excluded(Free));
    }
    guest.slab(255, 0);
    guest.set(255, &[("mapping", pointer | 1)]);
    guest.compound(256, 3, 0);
    guest.compound(264, 2, lru);
    guest.set(264, &[("mapping", pointer | 1)]);
    range(264, 2, Excluded(User));
    guest.compound(268, 1, 0);
    guest.slab(268, guest.head());
    guest.compound(512, 9, 0);
    guest.huge(512);
    range(512, 9, Excluded(User));
    guest.set(519, &[("flags", guest.flag("hwpoison"))]);
    range(519, 0, Excluded(HwPoison));
    // Over two windows.
    guest.compound(2048, 11, lru);
    guest.set(2048, &[("mapping", pointer)]);
    range(2048, 11, Excluded(Cache));
}

/// Classes of pages as Linux makes them. Each page or compound page is in a place of its own; all
/// other pages belong to the kernel.
#[test]
fn each_class_of_each_kernel() {
    for (name, text) in KERNELS {
        let mut guest = Guest::new(text);
        let mut expected = [Kept; PAGES as usize];
        for (page, (verdict, fields)) in single_pages(&guest).into_iter().enumerate() {
            guest.set(page as u64, &fields);
            expected[page] = verdict;
        }
        larger_pages(&mut guest, &mut expected);
        for (page, (found, expected)) in guest.verdicts().into_iter().zip(expected).enumerate() {
            assert_eq!(found, expected, "{name}: page {page}");
        }
    }
}

/// All structs say that their pages are free; those of the last window hold page structs, tables of
/// each level but the last, and memory that the caller protects.
#[test]
fn protected_memory_is_never_left_out() {
    for (name, text) in KERNELS {
        let mut guest = Guest::new(text);
        for page in (0..PAGES).step_by(1024) {
            guest.free(page, 10);
        }
        let count = |verdicts: &[Verdict], verdict| {
            verdicts.iter().filter(|found| **found == verdict).count() as u64
        };
        let structs = (PAGES * guest.size).div_ceil(4096);
        // Tables above the last level; for i386 also the page with the symbols of FLATMEM.
        let tables = match (guest.word, guest.text.contains("CONFIG_X86_PAE=y")) {
            (8, _) => 3,
            (_, true) => 2 + 1,
            (_, false) => 1 + 1,
        };
        let verdicts = guest.verdicts();
        let (doubt, free) = (count(&verdicts, Doubt), count(&verdicts, Excluded(Free)));
        assert_eq!((doubt, free), (structs + tables, PAGES - doubt), "{name}");
        assert!(verdicts[..TABLES_PAGE as usize].iter().all(|found| *found == Excluded(Free)));
        let mut filter = guest.filter().expect("a filter");
        let mut found = 0;
        filter.page_structs(&mut |memory| found += memory.length() >> 12);
        // Two tables of sections and four of pages; on i386 the tables with the large pages.
        let way = if guest.word == 8 { 6 } else { tables - 1 };
        assert_eq!(found, structs + way, "{name}");
        filter.protect(range(0x10_0800, 0x10_1801));
        filter.protect(range(0x3f_f000, 0x40_1000));
        let mut first = [Kept; WINDOW_PAGES];
        filter.classify(PhysAddr::new(0), &mut first);
        let doubt: Vec<_> = (0..).zip(first).filter(|(_, found)| *found == Doubt).collect();
        assert_eq!(doubt, [(0x100, Doubt), (0x101, Doubt), (0x3ff, Doubt)], "{name}");
    }
}

/// A dump that was cut after the kernel's image and the page structs, with the way to these, names
/// the same pages as a whole one.
#[test]
fn page_structs_come_with_the_way_to_them() {
    for (name, text) in KERNELS {
        let mut guest = Guest::new(text);
        for page in (0..PAGES).step_by(1024) {
            guest.free(page, 10);
        }
        let whole = guest.verdicts();
        let mut parts = Vec::new();
        guest.filter().expect("a filter").page_structs(&mut |part| parts.push(part));
        // The symbols of FLATMEM are in the image.
        parts.extend((guest.word == 4).then(|| range(TABLES_PAGE << 12, (TABLES_PAGE + 1) << 12)));
        guest
            .memory
            .retain(|page| parts.iter().any(|part| part.contains(PhysAddr::new(page << 12))));
        assert!(guest.verdicts() == whole, "{name}");
    }
}

/// A full list: short ranges give way, long ones stay.
#[test]
fn the_longest_ranges_are_protected() {
    let mut list = Protected::default();
    for page in (0..600).step_by(2) {
        list.add(range(page << 12, (page + 1) << 12));
    }
    list.add(range(0x100_0000, 0x100_2000));
    let mut verdicts = [Excluded(Free); WINDOW_PAGES];
    list.keep(PhysAddr::new(0x100_0000), &mut verdicts);
    assert_eq!(verdicts[..3], [Doubt, Doubt, Excluded(Free)]);
    let mut verdicts = [Excluded(Free); WINDOW_PAGES];
    list.keep(PhysAddr::new(0), &mut verdicts);
    assert_eq!(verdicts.iter().filter(|found| **found == Doubt).count(), 255);
    let mut broken = [Excluded(HwPoison); WINDOW_PAGES];
    list.keep(PhysAddr::new(0x100_0000), &mut broken);
    assert!(broken.iter().all(|found| *found == Excluded(HwPoison)), "broken memory stays so");
}

/// Text, read-only data, symbols and the stacks of the CPUs are found by the page tables. Here the
/// image is an area of its own: a page that is read-only, one that is not, one that is.
#[test]
fn the_image_and_stacks_are_protected() {
    let mut guest = Guest::new(KERNELS[1].1);
    let image = guest.map(&[(16, 0x161), (17, 0x163), (32, 0x161), (40, 0x163), (50, 0x163)]);
    guest.line("SYMBOL(_stext)", &format!("{image:x}"));
    guest.line("SYMBOL(node_data)", &format!("{:x}", image + 0x4ff8));
    // The kernel has freed these, the end of its text apart.
    for (name, offset) in [("_sinittext", 0x1000), ("pcpu_hot", 0x3000), ("_etext", 0x3fff)] {
        guest.line(&format!("SYMBOL({name})"), &format!("{:x}", image + offset));
    }
    guest.free(0, 10);
    let mut filter = guest.filter().expect("a filter");
    let doubt = |filter: &Filter<&Memory>| {
        let mut verdicts = [Kept; WINDOW_PAGES];
        filter.classify(PhysAddr::new(0), &mut verdicts);
        (0..).zip(verdicts).filter(|(_, found)| *found == Doubt).map(|(page, _)| page).collect()
    };
    let found: Vec<u64> = doubt(&filter);
    assert_eq!(found, [16, 32, 50]);
    // The stack pointer is in the fourth page of a stack of 16 KiB.
    let mut registers = vec![0; 336];
    registers[112 + 19 * 8..][..8].copy_from_slice(&(image + 0x3100).to_le_bytes());
    filter.protect_stacks(EM_X86_64, &note(b"CORE\0", 1, &registers));
    let found: Vec<u64> = doubt(&filter);
    assert_eq!(found, [16, 17, 32, 40, 50]);
}

/// Data and bss, from their symbols; not the pages between them, nor the section at the end of bss
/// that the kernel frees. Ends that are damaged count for as much as is mapped.
#[test]
fn the_images_data_is_protected() {
    let cases = [
        (0x2800, 0x5001, &[16, 17, 18, 34, 35][..]),
        (0x2800, 1 << 40 | 1, &[16, 17, 18, 34, 35]),
        (0x800, 0x5000, &[16, 34]),
        (0x800, 0x20_0000, &[16, 34]),
    ];
    for (data_end, bss_end, expected) in cases {
        let mut guest = Guest::new(KERNELS[1].1);
        let pages = [16, 17, 18, 19, 34, 35].map(|page| (page, 0x163));
        let image = guest.map(&pages);
        let symbols = [
            ("_sdata", 0x100),
            ("_edata", data_end),
            ("__bss_start", 0x4000),
            ("__bss_stop", bss_end),
        ];
        for (name, offset) in symbols {
            let address = image.wrapping_add(offset);
            guest.line(&format!("SYMBOL({name})"), &format!("{address:x}"));
        }
        guest.free(0, 10);
        let mut verdicts = [Kept; WINDOW_PAGES];
        guest.filter().expect("a filter").classify(PhysAddr::new(0), &mut verdicts);
        let doubt = (0..).zip(verdicts).filter(|(_, found)| *found == Doubt);
        assert_eq!(doubt.map(|(page, _)| page).collect::<Vec<u64>>(), expected);
    }
}
