//! Machines with 1 TiB and 64 TiB: their tables and page structs are computed when they are read.

use alloc::format;
use alloc::string::String;

use super::Filter;
use super::fake::KERNELS;
use crate::SegmentMap;
use vmcore::PageClass::{Cache, Free};
use vmcore::{
    Error, PageFilter, PhysAddr, ReadPhys, Segment, SegmentKind, Verdict, WINDOW, WINDOW_PAGES,
};

const TIB: u64 = 1 << 40;
const DIRECT: u64 = 0xffff_8880_0000_0000;
const VMEMMAP: u64 = 0xffff_ea00_0000_0000;
/// The bytes of memory are at this distance in the dump.
const IN_FILE: u64 = 0x7000;
/// Physical addresses: the highest table, those of each level below, the tables of sections, and
/// the page structs.
const ROOT: u64 = 0x100_0000;
const PUD: u64 = 0x200_0000;
const PMD: u64 = 0x300_0000;
const ROOTS: u64 = 0x400_0000;
const SECTIONS: u64 = 0x800_0000;
const STRUCTS: u64 = 0x4000_0000;

/// The eight bytes at a physical address: a function of the address.
fn long(at: u64) -> u64 {
    let within = |start: u64, length: u64| at.checked_sub(start).filter(|from| *from < length);
    if let Some(from) = within(STRUCTS, 64 << 34) {
        return field(from / 64, from % 64);
    }
    if let Some(from) = within(ROOT, 0x1000) {
        // 1 TiB of page structs in two entries.
        let index = from / 8;
        let first = VMEMMAP >> 39 & 0x1ff;
        return index.checked_sub(first).filter(|n| *n < 2).map_or(0, |n| PUD + n * 0x1000 + 0x63);
    }
    if let Some(from) = within(PUD, 0x2000) {
        return PMD + from / 8 * 0x1000 + 0x63;
    }
    if let Some(from) = within(PMD, 1024 * 0x1000) {
        return STRUCTS + ((from / 8) << 21) + 0x1e3;
    }
    if let Some(from) = within(ROOTS, 4096 * 8) {
        return DIRECT + SECTIONS + from / 8 * 0x1000;
    }
    if let Some(from) = within(SECTIONS, 32 << 19) {
        return if from % 32 == 0 { VMEMMAP + 0b1111 } else { 0 };
    }
    0
}

/// A field of the struct of a page: each fourth window is free, the first page of each other is of
/// the page cache.
fn field(pfn: u64, offset: u64) -> u64 {
    let (window, page) = (pfn / 1024, pfn % 1024);
    let is_free = window % 4 == 3;
    match (offset, page) {
        (0, 0) if !is_free => 1 << 4,
        (40, 0) if is_free => 10,
        // `_mapcount` is below `_refcount`.
        (48, 0) if is_free => u64::from(-129_i32 as u32),
        (48, _) => u64::from(u32::MAX) | u64::from(!is_free) << 32,
        _ => 0,
    }
}

fn expected(window: u64) -> [Verdict; WINDOW_PAGES] {
    if window / WINDOW % 4 == 3 {
        return [Verdict::Excluded(Free); WINDOW_PAGES];
    }
    let mut verdicts = [Verdict::Kept; WINDOW_PAGES];
    verdicts[0] = Verdict::Excluded(Cache);
    verdicts
}

struct Vast;

impl ReadPhys for Vast {
    fn read_phys(&self, at: PhysAddr, into: &mut [u8]) -> Result<(), Error> {
        let at = at.get().checked_sub(IN_FILE).ok_or(Error::Unreadable { at })?;
        assert!(at.is_multiple_of(8) && into.len().is_multiple_of(8));
        for (at, bytes) in (at..).step_by(8).zip(into.chunks_exact_mut(8)) {
            bytes.copy_from_slice(&long(at).to_le_bytes());
        }
        Ok(())
    }
}

fn text() -> String {
    let lines = KERNELS[1].1.lines();
    let moved = ["init_top_pgt", "mem_section", "_stext"].map(|name| format!("SYMBOL({name})="));
    let others = lines.filter(|line| !moved.iter().any(|key| line.starts_with(key)));
    let mut text: String = others.map(|line| format!("{line}\n")).collect();
    text += &format!("SYMBOL(init_top_pgt)={:x}\n", DIRECT + ROOT);
    text += &format!("SYMBOL(mem_section)={:x}\n", DIRECT + ROOTS);
    text
}

/// A PT_LOAD for each TiB.
fn filter(tib: u64) -> Filter<Vast> {
    let load = |number: u64| Segment {
        kind: SegmentKind::Load,
        source: PhysAddr::new(number * TIB + IN_FILE),
        vaddr: DIRECT + number * TIB,
        paddr: PhysAddr::new(number * TIB),
        filesz: TIB,
        memsz: TIB,
        flags: 7,
    };
    let segments = SegmentMap::new((0..tib).map(load).map(Ok)).expect("room");
    Filter::new(Vast, segments, text().as_bytes()).expect("a filter")
}

#[test]
fn one_tib_and_sixty_four() {
    for tib in [1, 64] {
        let filter = filter(tib);
        let end = tib * TIB;
        // Windows at the start and the end of each PT_LOAD, and others here and there.
        let edges =
            (0..=tib).flat_map(|number| [number * TIB, (number * TIB).wrapping_sub(WINDOW)]);
        let others = (0..64).map(|number| (number * (end / 64 + 0x371f000)) & !(WINDOW - 1));
        let protected = STRUCTS..STRUCTS + (64 << 28) * tib;
        for window in edges.chain(others).filter(|at| *at < end && !protected.contains(at)) {
            if window < SECTIONS + (32 << 19) {
                continue;
            }
            let mut verdicts = [Verdict::Doubt; WINDOW_PAGES];
            filter.classify(PhysAddr::new(window), &mut verdicts);
            assert_eq!(verdicts, expected(window), "{window:#x} of {tib} TiB");
        }
        // Page structs, those of the first TiB in any case.
        let mut verdicts = [Verdict::Kept; WINDOW_PAGES];
        for window in [STRUCTS + 3 * WINDOW, STRUCTS + (64 << 28) - WINDOW] {
            filter.classify(PhysAddr::new(window), &mut verdicts);
            let free = expected(window)[5] != Verdict::Kept;
            assert_eq!(verdicts[5] == Verdict::Doubt, free);
            assert!(!verdicts.iter().any(|found| matches!(found, Verdict::Excluded(_))));
        }
        // There is no memory above.
        filter.classify(PhysAddr::new(1 << 46), &mut verdicts);
        assert_eq!(verdicts, [Verdict::Kept; WINDOW_PAGES]);
    }
}
