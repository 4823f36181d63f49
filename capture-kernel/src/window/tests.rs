//! Tests of the window, against a model.

use super::*;
use crate::memory::Ranges;
use proptest::prelude::*;
use vmcore::PhysAddr;

const PAGE: u64 = PAGE_SIZE;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Page tables that are none.
struct Tables {
    pages: [Option<u64>; 512],
    blocks: [Option<u64>; SLOTS],
    changes: usize,
}

impl Entries for Tables {
    fn set_page(&mut self, index: usize, start: Option<u64>) {
        assert!(start.is_none_or(|start| start.is_multiple_of(PAGE)));
        self.pages[index] = start;
        self.changes += 1;
    }

    fn set_block(&mut self, slot: usize, start: Option<u64>) {
        assert!(start.is_none_or(|start| start.is_multiple_of(BLOCK)));
        self.blocks[slot] = start;
        self.changes += 1;
    }
}

impl Tables {
    fn new() -> Self {
        Self { pages: [None; 512], blocks: [None; SLOTS], changes: 0 }
    }

    /// The physical address of an offset in the window.
    fn translate(&self, offset: u64) -> Option<u64> {
        match (offset / BLOCK).checked_sub(1) {
            None => Some(self.pages[(offset / PAGE) as usize]? + offset % PAGE),
            Some(slot) => Some(self.blocks[slot as usize]? + offset % BLOCK),
        }
    }

    /// The blocks that large pages show, lowest first.
    fn shown(&self) -> Vec<u64> {
        let mut shown: Vec<_> = self.blocks.iter().flatten().copied().collect();
        shown.sort();
        shown
    }
}

/// True if all of `wanted` is in `ranges`, which may overlap and come in any order.
fn covers(ranges: &[Range<u64>], wanted: Range<u64>) -> bool {
    let mut at = wanted.start;
    while at < wanted.end {
        let around = ranges.iter().filter(|range| range.contains(&at));
        let Some(end) = around.map(|range| range.end).max() else { return false };
        at = end;
    }
    true
}

fn sorted(ranges: &[Range<u64>]) -> Ranges {
    let mut sorted = Ranges::new();
    for range in ranges {
        let bounds = [range.start, range.end].map(PhysAddr::new);
        sorted.insert(PhysRange::from_bounds(bounds[0], bounds[1]).expect("forwards")).unwrap();
    }
    sorted
}

fn knowing(ranges: &[Range<u64>]) -> (Contents, Tables) {
    let (mut contents, mut tables) = (Contents::new(), Tables::new());
    contents.know(sorted(ranges).iter(), &mut tables).expect("room");
    (contents, tables)
}

/// Asks for all of a request, and looks at each page that it is shown.
fn ask(contents: &mut Contents, tables: &mut Tables, known: &[Range<u64>], want: Range<u64>) {
    let mut at = want.start;
    while at < want.end {
        let before = tables.pages;
        let shown = contents.show(at, (want.end - at) as usize, tables);
        assert!(shown.length > 0 && shown.length as u64 <= want.end - at);
        let end = at + shown.length as u64;
        for byte in (at..end).step_by(PAGE as usize).chain([end - 1]) {
            let found = tables.translate(shown.offset as u64 + (byte - at));
            assert_eq!(found, Some(byte), "in {want:x?} at {at:#x}");
        }
        let block = at / BLOCK * BLOCK;
        let is_whole = block > 0 && covers(known, block..block + BLOCK);
        assert_eq!(shown.offset as u64 >= BLOCK, is_whole, "the block at {block:#x}");
        if !is_whole {
            let asked = at / PAGE * PAGE..end;
            let are_asked = tables.pages.iter().flatten().all(|page| asked.contains(page));
            assert!(are_asked || tables.pages == before, "no more than one has asked for");
        }
        for block in tables.shown() {
            assert!(block > 0 && covers(known, block..block + BLOCK), "{block:#x} is not RAM");
        }
        at = end;
    }
}

/// An address below 80 MiB or around 5 GiB, often at the edge of a block or near one.
fn address() -> impl Strategy<Value = u64> {
    let near = prop_oneof![Just(0_u64), Just(1), Just(0x400), Just(PAGE), 0..BLOCK];
    let edge = prop_oneof![0..40_u64, 5 * GIB / BLOCK - 4..5 * GIB / BLOCK + 40];
    (edge, near, any::<bool>()).prop_map(|(edge, near, below)| match below {
        true => (edge * BLOCK).saturating_sub(near),
        false => edge * BLOCK + near,
    })
}

fn ranges() -> impl Strategy<Value = Vec<Range<u64>>> {
    let length = prop_oneof![1..3 * BLOCK, (1..20_u64).prop_map(|blocks| blocks * BLOCK)];
    let range = (address(), length).prop_map(|(start, length)| start..start + length);
    prop::collection::vec(range, 0..12)
}

proptest! {
    #[test]
    fn a_large_page_shows_nothing_that_is_not_known_to_be_ram(
        sets in prop::collection::vec(ranges(), 1..3),
        wanted in prop::collection::vec((address(), 1..3 * BLOCK), 1..40),
    ) {
        let (mut contents, mut tables) = (Contents::new(), Tables::new());
        for (at, length) in &wanted {
            ask(&mut contents, &mut tables, &[], *at..at + length);
        }
        for known in &sets {
            contents.know(sorted(known).iter(), &mut tables).expect("room");
            prop_assert_eq!(tables.shown(), []);
            prop_assert!(tables.pages.iter().all(Option::is_none));
            for (at, length) in &wanted {
                ask(&mut contents, &mut tables, known, *at..at + length);
            }
        }
    }
}

#[test]
fn before_anything_is_known_to_be_ram_there_are_pages_only() {
    let (mut contents, mut tables) = (Contents::new(), Tables::new());
    assert_eq!(contents.show(0x60_0ff0, 0x20, &mut tables), Shown { offset: 0xff0, length: 0x20 });
    assert_eq!(tables.pages[..3], [Some(0x60_0000), Some(0x60_1000), None]);
    assert_eq!(tables.shown(), []);
}

#[test]
fn blocks_with_a_hole_and_at_an_end_of_ram_are_shown_by_pages() {
    let known = [MIB..10 * MIB + 1, 11 * MIB..0x1fe_0000, 4 * GIB..4 * GIB + BLOCK, 0..0x9_fc00];
    let (mut contents, mut tables) = knowing(&known);
    ask(&mut contents, &mut tables, &known, 0..40 * MIB);
    ask(&mut contents, &mut tables, &known, 4 * GIB - BLOCK..4 * GIB + 2 * BLOCK);
    let whole = [2, 4, 6, 8, 12, 14, 16, 18, 20, 22, 24, 26, 28].map(|mib| mib * MIB);
    assert_eq!(tables.shown(), [&whole[..], &[4 * GIB]].concat());
}

#[test]
fn the_first_block_is_shown_by_pages_even_where_all_of_it_is_called_ram() {
    let (mut contents, mut tables) = knowing(&[0..8 * MIB]);
    ask(&mut contents, &mut tables, &[0..8 * MIB], 0..8 * MIB);
    assert_eq!(tables.shown(), [2, 4, 6].map(|mib| mib * MIB));
}

/// Page by page, as a search for zeros does: before, that cost an entry for each page.
#[test]
fn who_reads_through_memory_changes_one_entry_for_each_block() {
    let (mut contents, mut tables) = knowing(&[0..256 * MIB]);
    for page in 512..256 * MIB / PAGE {
        contents.show(page * PAGE, PAGE as usize, &mut tables);
    }
    assert_eq!(tables.changes, 127);
}

/// A block may lose its slot between two reads, and pages their place.
#[test]
fn the_block_that_was_used_last_is_not_taken_for_shown_when_another_has_its_slot() {
    let known = [2 * MIB..GIB];
    let (mut contents, mut tables) = knowing(&known);
    let round = SLOTS as u64 * BLOCK;
    for at in [4 * MIB, 4 * MIB + round, 4 * MIB, 0x1000, 0x5000, 0x1000, 4 * MIB] {
        ask(&mut contents, &mut tables, &known, at..at + 8);
        ask(&mut contents, &mut tables, &known, at + 16..at + 2 * PAGE);
    }
}

#[test]
fn a_read_over_the_end_of_what_was_used_last_goes_on_behind_it() {
    let known = [2 * MIB..GIB];
    let (mut contents, mut tables) = knowing(&known);
    for end in [6 * MIB, 0x5000, GIB] {
        ask(&mut contents, &mut tables, &known, end - 16..end - 8);
        ask(&mut contents, &mut tables, &known, end - 4..end + 4);
    }
}

#[test]
fn small_reads_of_one_page_change_its_entry_once() {
    let (mut contents, mut tables) = knowing(&[]);
    for at in (0x7000..0x8000).step_by(16) {
        contents.show(at, 16, &mut tables);
    }
    assert_eq!(tables.changes, 1);
    // A read of two pages shows both; then either is there.
    contents.show(0x7ff8, 16, &mut tables);
    contents.show(0x8100, 16, &mut tables);
    contents.show(0x7100, 16, &mut tables);
    assert_eq!(tables.changes, 3);
}

#[test]
fn who_reads_here_and_there_in_a_few_blocks_changes_each_entry_once() {
    let (mut contents, mut tables) = knowing(&[2 * MIB..8 * GIB]);
    let places = [0x123_4567, 5 * GIB + 0x55_0000, 0x7fff_f000, 0x700_0001];
    for _ in 0..100 {
        for place in places {
            contents.show(place, 8, &mut tables);
        }
    }
    assert_eq!(tables.changes, places.len());
}
