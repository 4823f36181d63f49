//! Dumps at a level, on a disk.

use super::WriteOptions;
use super::tests::{
    LENGTH, Stored, deliver_dump, dump, formatted, hurried, memory, open, range, stored,
};
use crate::dump::{Dump, Urgent};
use crate::fake::{Disk, FakeClock, Pages, logged};
use crate::selection::Selection;
use crate::targets::{Target, TargetError};
use dumpfile::DiskState;
use dumpfile::chunk::{CHUNK, Codec, PAGE};
use dumpfile::disk::BLOCK;
use handoff::Stage;
use std::cell::Cell;
use std::rc::Rc;
use std::string::String;
use std::vec::Vec;
use std::{format, vec};
use vmcore::{Level, PageClass, Verdict};

const PAGES: usize = LENGTH / BLOCK;

/// Memory with pages of zeros among others.
fn contents() -> Vec<u8> {
    let mut bytes = memory(3);
    for page in (0..PAGES).filter(|page| page % 7 < 2) {
        bytes[page * BLOCK..(page + 1) * BLOCK].fill(0);
    }
    bytes
}

/// Free memory in long runs, other classes in short ones, and doubt.
fn verdicts() -> Vec<Verdict> {
    let verdict = |page: usize| match page {
        100..300 | 512..700 => Verdict::Excluded(PageClass::Free),
        page if page % 11 == 3 => Verdict::Excluded(PageClass::User),
        page if page % 11 < 2 => Verdict::Excluded(PageClass::Cache),
        page if page % 50 == 7 => Verdict::Doubt,
        _ => Verdict::Kept,
    };
    (0..PAGES).map(verdict).collect()
}

/// The class of each page of the dump: as the filter says, then zeros.
fn classes(level: Level, bytes: &[u8]) -> Vec<Option<PageClass>> {
    let class = |(page, verdict): (&[u8], Verdict)| match verdict {
        Verdict::Excluded(class) if level.excludes(class) => Some(class),
        _ => page.iter().all(|byte| *byte == 0).then_some(PageClass::Zero),
    };
    bytes.chunks(BLOCK).zip(verdicts()).map(class).collect()
}

fn at_level(pages: &Pages, level: Option<u8>) -> Dump {
    let selection = Some(pages.selection(&verdicts()));
    let level = level.and_then(Level::new);
    Dump { level, selection, ..dump(pages.bytes()) }
}

/// Each page on the disk is the page of memory, or is left out for its class. Returns the number of
/// pages there.
#[track_caller]
fn assert_selected(stored: &Stored, disk: &[u8], bytes: &[u8], zero_kept: bool) -> usize {
    let level = Level::new(stored.header.level).expect("a level");
    let (expected, mut count) = (classes(level, bytes), 0);
    for chunk in stored.chunks() {
        let at = (stored.entry.offset + chunk.at) as usize;
        let from = &disk[at..at + chunk.entry.stored as usize];
        let start = chunk.entry.start() as usize;
        let raw = &bytes[start..bytes.len().min(start + CHUNK as usize)];
        let (mut pages, room) = (vec![0xee; raw.len()], &mut vec![0; CHUNK as usize]);
        chunk.entry.decode(from, bytes.len() as u64, room, &mut pages).expect("whole");
        for (index, (page, raw)) in pages.chunks(BLOCK).zip(raw.chunks(BLOCK)).enumerate() {
            let (left, class) = (chunk.entry.left.get(index), expected[start / BLOCK + index]);
            let class = class.filter(|class| !zero_kept || *class != PageClass::Zero);
            assert_eq!(left, class, "page {}", start / BLOCK + index);
            assert!(left.is_some() || page == raw, "page {}", start / BLOCK + index);
            count += 1;
        }
    }
    count
}

fn run(
    capacity: usize,
    dump: &Dump,
    codec: Codec,
) -> (Result<(), TargetError>, Vec<String>, Vec<u8>) {
    let disk = Disk::new(formatted(capacity));
    let (delivered, log) = logged(|| deliver_dump(&disk, dump, hurried(codec, false)));
    let bytes = disk.borrow().bytes.clone();
    (delivered, log, bytes)
}

/// All pages of the level are there, the header and the console count the others.
#[test]
fn a_dump_has_the_pages_of_its_level() {
    let pages = Pages::new(&contents());
    for (level, codec) in [(31, Codec::Raw), (31, Codec::Lz4), (16, Codec::Raw), (9, Codec::Raw)] {
        let (delivered, log, disk) = run(2 * LENGTH, &at_level(&pages, Some(level)), codec);
        assert_eq!(delivered, Ok(()));
        let (_, dumps) = stored(&disk);
        let header = &dumps[0].header;
        assert_eq!(
            (header.state, header.level, header.level_raised),
            (DiskState::COMPLETE, level, false)
        );
        let zero_kept = level & 1 == 0;
        assert_eq!(assert_selected(&dumps[0], &disk, pages.bytes(), zero_kept), PAGES);
        let mut expected = classes(Level::new(level).expect("a level"), pages.bytes());
        expected.iter_mut().for_each(|class| {
            *class = class.filter(|class| !zero_kept || *class != PageClass::Zero)
        });
        let count = |class| expected.iter().filter(|found| **found == class).count() as u64;
        let doubted =
            verdicts().iter().filter(|verdict| **verdict == Verdict::Doubt).count() as u64;
        assert_eq!((header.pages.kept(), header.pages.in_doubt()), (count(None), doubted));
        for class in PageClass::ALL {
            assert_eq!(header.pages.of(class), count(Some(class)), "{class}");
        }
        assert_eq!(header.pages.all(), PAGES as u64);
        let begin = format!("level {level}: {} pages kept, ", count(None));
        let out = format!("; {} bytes out", header.committed - header.bulk_start);
        let line = log.iter().find(|line| line.starts_with(&begin)).expect("one line");
        assert!(
            line.contains(&format!("{} free", count(Some(PageClass::Free)))) || level & 16 == 0
        );
        assert!(line.contains(&format!("; {doubted} in doubt were not left out; ")), "{line}");
        assert!(line.ends_with(&out), "{line}");
    }
}

/// With free room for all memory, no page struct is looked at before the first bytes are out.
#[test]
fn the_first_bytes_do_not_wait_for_a_count() {
    let pages = Pages::new(&contents());
    for (capacity, waits) in [(2 * LENGTH, false), (room_for_kernel_pages(&pages), true)] {
        let is_made = Rc::new(Cell::new(false));
        let seen = is_made.clone();
        let selection = Selection::new(&crate::fake::Pointers, move || {
            seen.set(true);
            None
        });
        let dump = Dump { selection: Some(selection), ..at_level(&pages, Some(31)) };
        let (clock, mut at_first) = (FakeClock::default(), None);
        let disk = Disk::new(formatted(capacity));
        let mut target = open(&disk, &clock).expect("a disk").with(hurried(Codec::Raw, false));
        let _ = target.deliver(&dump, &mut |stage| {
            if stage == Stage::FirstByte {
                at_first.get_or_insert(is_made.get());
            }
        });
        assert_eq!(at_first, Some(waits), "{capacity}");
    }
}

/// Room for level 31, by the count of its pages, and not for all.
fn room_for_kernel_pages(pages: &Pages) -> usize {
    let kept = classes(Level::KERNEL, pages.bytes());
    // Pages of zeros are part of the bound.
    let bound = kept.iter().filter(|class| class.is_none_or(|class| class == PageClass::Zero));
    bound.count() * BLOCK + 24 * BLOCK
}

#[test]
fn without_room_for_all_a_dump_has_the_kernels_pages() {
    let pages = Pages::new(&contents());
    let capacity = room_for_kernel_pages(&pages);
    assert!(capacity < LENGTH);
    for codec in [Codec::Raw, Codec::Lz4] {
        let (delivered, log, disk) = run(capacity, &at_level(&pages, None), codec);
        assert_eq!(delivered, Ok(()));
        let (_, dumps) = stored(&disk);
        let header = &dumps[0].header;
        assert_eq!((header.state, header.level), (DiskState::COMPLETE, 31));
        assert!(header.level_raised && !header.no_room);
        assert_eq!(assert_selected(&dumps[0], &disk, pages.bytes(), false), PAGES);
        let raised = |line: &&String| line.starts_with("no room for all memory");
        assert!(log.iter().find(raised).is_some_and(|line| line.ends_with("dump level 31")));
        // With room, and without a level, all memory.
        let (_, log, disk) = run(2 * LENGTH, &at_level(&pages, None), codec);
        let (_, dumps) = stored(&disk);
        assert_eq!((dumps[0].header.level, dumps[0].header.level_raised), (0, false));
        assert!(!log.iter().any(|line| line.starts_with("level ")), "{log:?}");
    }
}

/// A level that was asked for stays; without a filter there is nothing to raise.
#[test]
fn a_level_that_was_asked_for_is_not_raised() {
    let pages = Pages::new(&contents());
    let capacity = room_for_kernel_pages(&pages);
    let unknown = Selection::new(&crate::fake::Pointers, || None);
    let without = Dump { selection: Some(unknown), ..at_level(&pages, None) };
    for dump in [at_level(&pages, Some(0)), without] {
        let (delivered, log, disk) = run(capacity, &dump, Codec::Raw);
        assert!(matches!(delivered, Err(TargetError::NoRoom { .. })), "{delivered:?}");
        let (_, dumps) = stored(&disk);
        let header = &dumps[0].header;
        assert_eq!((header.state, header.level), (DiskState::PARTIAL, 0));
        assert!(
            header.no_room && !header.level_raised && !log.iter().any(|line| line.contains("31"))
        );
        assert!(dumps[0].chunks().all(|chunk| chunk.entry.left == Default::default()));
    }
}

/// Not even level 31 has room: urgent parts first, then the others, as far as they go.
#[test]
fn without_room_for_the_kernels_pages_a_dump_is_a_part_of_them() {
    let pages = Pages::new(&contents());
    let urgent = Urgent::new(|| core::iter::once(20 * CHUNK..22 * CHUNK).collect());
    let dump = Dump { urgent, ..at_level(&pages, None) };
    let (delivered, _, disk) = run(120 * BLOCK, &dump, Codec::Raw);
    assert!(matches!(delivered, Err(TargetError::NoRoom { .. })), "{delivered:?}");
    let (_, dumps) = stored(&disk);
    let header = &dumps[0].header;
    assert_eq!((header.state, header.level), (DiskState::PARTIAL, 31));
    assert!(header.level_raised && header.no_room);
    assert!(assert_selected(&dumps[0], &disk, pages.bytes(), false) > 150);
    let order: Vec<_> = dumps[0].chunks().map(|chunk| chunk.entry.chunk).collect();
    assert_eq!(order[..4], [20, 21, 0, 1]);
}

/// Complete dumps are not given up for memory that is not sent.
#[test]
fn no_dump_is_given_up_for_pages_that_are_left_out() {
    let pages = Pages::new(&contents());
    let one = room_for_kernel_pages(&pages);
    let disk = Disk::new(formatted(2 * one));
    let options = || WriteOptions { replace_complete: true, ..hurried(Codec::Raw, true) };
    for _ in 0..2 {
        deliver_dump(&disk, &at_level(&pages, Some(31)), options()).expect("room for two");
    }
    let (directory, dumps) = stored(&disk.borrow().bytes);
    assert_eq!((directory.dumps.as_slice().len(), dumps.len()), (2, 2));
    assert!(dumps.iter().all(|dump| dump.header.state == DiskState::COMPLETE));
    assert_eq!(range(pages.bytes()).start().get() % PAGE, 0);
}
