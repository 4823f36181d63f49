//! The dump disk: its encodings byte by byte, and the effects of damage. Checksums were worked out
//! by a bitwise CRC-32C in Python.

use dumpfile::chunk::{CHUNK, ChunkEntry, Codec, Left, PAGE};
use dumpfile::disk::{
    BLOCK, BulkSize, Directory, DiskHeader, DumpEntry, DumpError, DumpHeader, FoundDisk,
    LEAST_SEGMENT, MAX_DUMPS, NewDump, PageCounts, Refused, SEGMENT_ENTRIES, Segment, SegmentError,
    SmallView, StoredChunks, ViewName, encode_segment,
};
use dumpfile::{Contents, Crc32c, DiskError, DiskId, DiskState};
use proptest::prelude::*;
use vmcore::{Extent, Extents, PageClass, PhysAddr, PhysRange};

const ID: DiskId = DiskId([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
const KEY: u32 = 0x1122_3344;

fn entry(sequence: u64, offset: u64, length: u64, state: DiskState) -> DumpEntry {
    DumpEntry { sequence, offset, length, state, key: KEY }
}

fn directory(entries: &[DumpEntry]) -> Directory {
    let mut directory = Directory::default();
    entries.iter().for_each(|entry| directory.push(*entry).expect("a place of its own"));
    directory
}

fn put(block: &mut [u8], at: usize, bytes: &[u8]) {
    block[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Makes a block whole again that a test has changed.
fn sealed(mut block: [u8; BLOCK]) -> [u8; BLOCK] {
    block[BLOCK - 4..].fill(0);
    let crc = Crc32c::of(&block);
    put(&mut block, BLOCK - 4, &crc.to_le_bytes());
    block
}

fn disk_header() -> DiskHeader {
    DiskHeader {
        id: ID,
        generation: 0x1122,
        next: 7,
        refused: Refused { captures: 3, need: 0x1_2345_6000 },
        dumps: directory(&[
            DumpEntry { key: 0xaabb_ccdd, ..entry(4, 0x2000, 0x5000, DiskState::COMPLETE) },
            entry(6, 0x1_0000_0000, 0x7000, DiskState::FAILED),
        ]),
    }
}

fn disk_block() -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    put(&mut block, 0, b"KDRSDISK\x03\0\0\0\x02\0\0\0");
    put(&mut block, 16, &ID.0);
    put(&mut block, 32, &[0x22, 0x11, 0, 0, 0, 0, 0, 0, 7]);
    put(&mut block, 48, &[0x00, 0x60, 0x45, 0x23, 1, 0, 0, 0, 3]);
    put(&mut block, 64, &[4, 0, 0, 0, 0, 0, 0, 0, 0x00, 0x20]);
    put(&mut block, 80, &[0x00, 0x50, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0xdd, 0xcc, 0xbb, 0xaa]);
    put(&mut block, 96, &[6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    put(&mut block, 112, &[0x00, 0x70, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0x44, 0x33, 0x22, 0x11]);
    put(&mut block, 4092, &[0xd7, 0x3f, 0xd6, 0x4f]);
    block
}

fn view(name: &str, length: u64, crc: u32) -> SmallView {
    let name = ViewName::new(name).expect("a name");
    SmallView { name, length, crc, ..SmallView::default() }
}

/// Length of the raw view: seven chunks and a page.
const RAW: u64 = 0x7_1000;

fn new_dump(views: &[SmallView], room: u64, raw_length: u64) -> NewDump<'_> {
    let contents = Contents::OldMem { start: 0x10000 };
    NewDump { contents, views, room, raw_length, codec: Codec::Lz4, checksums: true }
}

fn dump_header() -> DumpHeader {
    let dmesg = SmallView { start: 0xc012_3456, ..view("dmesg", 9, 0x0102_0304) };
    let views = [view("vmcoreinfo", 0x1001, 0xe306_9283), dmesg];
    let header =
        DumpHeader::new(ID, 6, KEY, &new_dump(&views, 0x1fff, RAW)).expect("it has places");
    let mut pages = PageCounts::default();
    // 9 kept pages, 96 of zeros, 513 unreadable ones: 16 pages of each chunk, the last one has one.
    let left = Left::all(PageClass::Zero);
    pages.add(&chunks(0, left, 0, 5, 0), u64::MAX);
    let mut left = Left::default();
    (9..16).for_each(|page| left.set(page, PageClass::Unreadable));
    pages.add(&chunks(0, left, 0, 0, 0), u64::MAX);
    let left = Left::all(PageClass::Unreadable);
    pages.add(&chunks(0, left, 0, 30, 0), u64::MAX);
    let mut left = Left::default();
    (0..10).for_each(|page| left.set(page, PageClass::Unreadable));
    pages.add(&chunks(0, left, 0, 0, 0), 10 * PAGE);
    DumpHeader {
        generation: 0x405,
        stage: 0x41,
        no_room: true,
        level: 31,
        committed: 0xc000,
        pages,
        ..header
    }
}

fn dump_block() -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    put(&mut block, 0, b"KDRSDUMP\x03\0\0\0\x01\0\0\0");
    put(&mut block, 16, &ID.0);
    put(&mut block, 32, &[6, 0, 0, 0, 0, 0, 0, 0, 0x05, 0x04]);
    put(&mut block, 48, &[0x41, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1]);
    put(&mut block, 64, &[5, 0, 0, 0, 31, 2, 16, 2, 0, 0x10, 0x07]);
    put(&mut block, 80, &[0, 0x70, 0, 0, 0, 0, 0, 0, 0, 0xc0]);
    put(&mut block, 96, &[9, 0, 0, 0, 0, 0, 0, 0, 0x60]);
    put(&mut block, 168, &[1, 2]);
    put(&mut block, 224, &[0x44, 0x33, 0x22, 0x11]);
    put(&mut block, 256, b"vmcoreinfo");
    put(&mut block, 288, &[0x00, 0x20, 0, 0, 0, 0, 0, 0, 0x01, 0x10]);
    put(&mut block, 312, &[0x83, 0x92, 0x06, 0xe3]);
    put(&mut block, 320, b"dmesg");
    put(&mut block, 352, &[0x00, 0x40, 0, 0, 0, 0, 0, 0, 9]);
    put(&mut block, 368, &[0x56, 0x34, 0x12, 0xc0, 0, 0, 0, 0, 4, 3, 2, 1]);
    put(&mut block, 4092, &[0x72, 0xd6, 0xe7, 0xb3]);
    block
}

/// The directory's entry for [`dump_header`].
fn dump_entry() -> DumpEntry {
    entry(6, 0x2000, 0x1_0000, DiskState::IN_PROGRESS)
}

/// Raw chunks without checksums.
fn chunks(chunk: u32, left: Left, stored: u32, repeat: u16, at: u64) -> StoredChunks {
    StoredChunks { entry: ChunkEntry { chunk, left, stored, ..ChunkEntry::default() }, repeat, at }
}

/// Start of the segment, in bytes from the region's start.
const AT: u64 = 0x7000;

fn segment() -> Segment {
    let mut left = Left::default();
    left.set(1, PageClass::Zero);
    left.set(15, PageClass::Unreadable);
    let crc = Some(0xe306_9283);
    let entry = ChunkEntry { chunk: 5, codec: Codec::Lz4, stored: 0x1234, crc, left };
    let chunks = vec![
        StoredChunks { entry, repeat: 0, at: 0x8000 },
        chunks(1, Left::all(PageClass::User), 0, 3, 0),
        chunks(7, Left::default(), 0x1000, 0, 0xa000),
    ];
    Segment { number: 2, length: 0x4000, chunks }
}

fn segment_block() -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    put(&mut block, 0, b"KDRSSEGM");
    put(&mut block, 8, &ID.0);
    put(&mut block, 24, &[6, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 0, 0x40]);
    put(&mut block, 48, &[0x44, 0x33, 0x22, 0x11]);
    put(&mut block, 60, &[5, 0, 0, 0, 2, 1, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0]);
    put(&mut block, 76, &[0x34, 0x12, 0, 0, 0x83, 0x92, 0x06, 0xe3, 0x10, 0, 0, 0, 0, 0, 0, 0x90]);
    put(&mut block, 92, &[1, 0, 0, 0, 1, 0, 3]);
    put(&mut block, 116, &[0x44; 8]);
    put(&mut block, 124, &[7, 0, 0, 0, 1, 0, 0, 0, 0, 0xa0, 0, 0, 0, 0, 0, 0, 0, 0x10]);
    put(&mut block, 4092, &[0xec, 0x75, 0x24, 0x94]);
    block
}

fn encoded(segment: &Segment) -> [u8; BLOCK] {
    let mut block = [0xee; BLOCK];
    encode_segment(&dump_header(), segment.number, segment.length, &segment.chunks, &mut block);
    block
}

/// Changing any of these needs a new version.
#[test]
fn encodings_of_version_3() {
    assert!(disk_header().encode() == disk_block());
    assert_eq!(DiskHeader::decode(&disk_block()), Ok(disk_header()));
    assert!(dump_header().encode() == dump_block());
    assert_eq!(DumpHeader::decode(&dump_block(), ID, &dump_entry()), Ok(dump_header()));
    assert!(encoded(&segment()) == segment_block());
    assert_eq!(Segment::decode(&segment_block(), &dump_header(), AT), Ok(segment()));
}

#[test]
fn the_places_of_a_dump() {
    let mut header = dump_header();
    assert_eq!(header.views().iter().map(|view| view.offset).collect::<Vec<_>>(), [0x2000, 0x4000]);
    let (kept, zero) = (header.pages.kept(), header.pages.of(PageClass::Zero));
    assert_eq!((kept, zero, header.pages.of(PageClass::Unreadable)), (9, 96, 513));
    // Room for later views: two blocks.
    assert_eq!(header.add_view(view("stack", 0x1000, 0)), Ok(0x5000));
    assert_eq!(header.add_view(view("log", 0x1001, 0)), Err(DumpError::Layout));
    assert_eq!(header.add_view(view("stack", 1, 0)), Err(DumpError::Views));
    assert_eq!(header.add_view(view("log", 0x1000, 0)), Ok(0x6000));
    assert_eq!(header.add_view(view("more", 1, 0)), Err(DumpError::Layout));
    let small = DumpHeader::new(ID, 1, KEY, &new_dump(&[], 0, 1)).expect("it has places");
    assert_eq!((small.bulk_start, small.committed), (0x2000, 0x2000));
}

#[test]
fn what_no_dump_can_be_made_of() {
    let new = |views: &[SmallView], raw_length| {
        DumpHeader::new(ID, 1, KEY, &new_dump(views, 0, raw_length)).map(|header| header.bulk_start)
    };
    let twice = [view("a", 1, 0), view("a", 2, 0)];
    let huge = [view("a", u64::MAX - 5, 0)];
    assert_eq!(new(&twice, 1), Err(DumpError::Views));
    let many: Vec<_> = (0..17).map(|n| view(&format!("v{n}"), 1, 0)).collect();
    assert_eq!(new(&many, 1), Err(DumpError::Views));
    assert!(new(&many[..16], 1).is_ok());
    assert_eq!(new(&[], (1 << 48) + 1), Err(DumpError::Layout), "chunks have 32 bits");
    assert!(new(&[], 1 << 48).is_ok());
    assert_eq!(new(&huge, 1), Err(DumpError::Layout));
    assert_eq!(ViewName::new("../x"), None);
    assert_eq!(ViewName::new(""), None);
}

#[test]
fn each_check_of_a_dump_has_its_own_error() {
    let with = |at: usize, bytes: &[u8]| {
        let mut block = dump_block();
        put(&mut block, at, bytes);
        DumpHeader::decode(&sealed(block), ID, &dump_entry())
    };
    assert_eq!(with(0, b"k"), Err(DumpError::NotOurs));
    assert_eq!(with(8, &[2]), Err(DumpError::Version(2)));
    assert_eq!(with(16, &[9]), Err(DumpError::OtherDump(6)), "of a disk with another id");
    assert_eq!(with(32, &[5]), Err(DumpError::OtherDump(5)));
    assert_eq!(with(224, &[9]), Err(DumpError::OtherDump(6)), "of an earlier capture");
    assert_eq!(with(71, &[17]), Err(DumpError::Views));
    assert_eq!(with(69, &[3]), Err(DumpError::Codec(3)));
    assert_eq!(with(256, b"/"), Err(DumpError::Views));
    assert_eq!(with(267, b"x"), Err(DumpError::Views), "after the name's end");
    let places: [(usize, &[u8]); 10] = [
        (70, &[17]),
        (78, &[1, 0]),
        (80, &[0, 0x40]),
        (80, &[1]),
        (88, &[0, 0x60]),
        (88, &[1]),
        (88, &[0, 0x10, 0x01]),
        (95, &[0xff]),
        (288, &[0, 0x10]),
        (303, &[0xff]),
    ];
    for (at, bytes) in places {
        let error = with(at, bytes);
        assert_eq!(error, Err(DumpError::Layout), "{at} {bytes:x?}");
    }
    let short = DumpEntry { length: 0xb000, ..dump_entry() };
    assert_eq!(DumpHeader::decode(&dump_block(), ID, &short), Err(DumpError::Layout));
    let mut torn = dump_block();
    torn[3000] = 1;
    assert_eq!(DumpHeader::decode(&torn, ID, &dump_entry()), Err(DumpError::Checksum));
}

#[test]
fn each_check_of_a_segment_has_its_own_error() {
    let with = |at: usize, bytes: &[u8]| {
        let mut block = segment_block();
        put(&mut block, at, bytes);
        Segment::decode(&sealed(block), &dump_header(), AT).map(drop)
    };
    assert_eq!(with(0, b"k"), Err(SegmentError::NotOurs));
    assert_eq!(with(8, &[1]), Err(SegmentError::NotOurs));
    assert_eq!(with(24, &[5]), Err(SegmentError::NotOurs));
    assert_eq!(with(48, &[5]), Err(SegmentError::NotOurs));
    let wrong: [(usize, &[u8], &str); 17] = [
        (36, &[0], "no entry"),
        (36, &[127], "too many"),
        (41, &[0x50], "past what is committed"),
        (41, &[0x3f], "stored bytes after its end"),
        (40, &[1], "no whole block"),
        (47, &[0xff], "past 64 bits"),
        (60, &[8], "no such chunk"),
        (64, &[3], "no such codec"),
        (65, &[0], "compressed without a checksum"),
        (66, &[1], "compressed and repeated"),
        (69, &[0x7f], "in the block itself"),
        (75, &[0xff], "past 64 bits"),
        (77, &[0xe1], "longer than its pages"),
        (98, &[8], "repeated past the end"),
        (116, &[0xa4], "no such class"),
        (132, &[1], "raw at no block"),
        (141, &[0x20], "more pages than it has"),
    ];
    for (at, bytes, why) in wrong {
        assert_eq!(with(at, bytes), Err(SegmentError::Layout), "{why}");
    }
    let mut torn = segment_block();
    torn[3000] = 1;
    assert_eq!(Segment::decode(&torn, &dump_header(), AT), Err(SegmentError::Checksum));
    assert_eq!(Segment::decode(&torn[1..], &dump_header(), AT), Err(SegmentError::NotOurs));
    let behind = DumpHeader { committed: 0xb000, ..dump_header() };
    assert_eq!(Segment::decode(&segment_block(), &behind, AT), Err(SegmentError::Layout));
}

#[test]
fn chunks_that_are_alike_become_one_entry() {
    let user = Left::all(PageClass::User);
    let joined = |mut a: StoredChunks, b| a.join(&b, 1 << 40).then_some(a.repeat);
    assert_eq!(joined(chunks(4, user, 0, 0, 0), chunks(5, user, 0, 8, 0)), Some(9));
    let kept = |chunk, repeat, at| chunks(chunk, Left::default(), CHUNK as u32, repeat, at);
    assert_eq!(joined(kept(4, 1, 0x8000), kept(6, 0, 0x2_8000)), Some(2));
    assert_eq!(joined(kept(4, 1, 0x8000), kept(6, 0, 0x2_9000)), None, "not one after the other");
    assert_eq!(joined(kept(4, 1, 0x8000), kept(7, 0, 0x2_8000)), None, "not the next");
    assert_eq!(joined(kept(4, 0, 0x8000), chunks(5, user, 0, 0, 0)), None);
    let most = u16::MAX;
    assert_eq!(joined(chunks(0, user, 0, most - 1, 0), chunks(65_535, user, 0, 0, 0)), Some(most));
    assert_eq!(joined(chunks(0, user, 0, most, 0), chunks(65_536, user, 0, 0, 0)), None);
    let mut some = Left::default();
    some.set(3, PageClass::User);
    let part = chunks(4, some, 15 * PAGE as u32, 0, 0x8000);
    assert_eq!(joined(part, part.nth(1)), None, "some of its pages are kept");
    let checked = |chunk, at| {
        let chunks = kept(chunk, 0, at);
        StoredChunks { entry: ChunkEntry { crc: Some(1), ..chunks.entry }, ..chunks }
    };
    assert_eq!(joined(checked(4, 0x8000), checked(5, 0x1_8000)), None, "each has its checksum");
    let mut last = chunks(4, user, 0, 0, 0);
    assert!(!last.join(&chunks(5, Left::all(PageClass::User), 0, 0, 0), 5 * CHUNK + 4096));
}

/// Worked out by hand: 3 pages, 2 chunks, a block for each of two segments.
#[test]
fn the_room_that_a_bulk_takes() {
    let range = |start, length| PhysRange::new(PhysAddr::new(start), length).expect("no wrap");
    let view = Extents::new(vec![
        Extent::Bytes(vec![1; 100]),
        Extent::Phys(range(100, 4096)),
        Extent::Zero(3996),
        Extent::Left(PageClass::Free, CHUNK),
        Extent::Phys(range(0x2000, 1)),
    ]);
    let size = BulkSize::of(&view.expect("small"));
    let expected = BulkSize { raw_length: 8192 + CHUNK + 1, pages: 3, chunks: 2, runs: 2 };
    assert_eq!(size, expected);
    assert_eq!(size.most(LEAST_SEGMENT), 5 * 4096);
    let whole = BulkSize { raw_length: 1 << 30, pages: 1 << 18, chunks: 1 << 14, runs: 0 };
    assert_eq!(whole.most(LEAST_SEGMENT), (1 << 30) + (130 + 256 + 2) * 4096);
    let huge = BulkSize { raw_length: u64::MAX, pages: u64::MAX, chunks: u64::MAX, runs: 9 };
    assert_eq!(huge.most(LEAST_SEGMENT), u64::MAX);
}

#[test]
fn a_directory_that_contradicts_itself_is_refused() {
    let with = |at: usize, bytes: &[u8]| {
        let mut block = disk_block();
        put(&mut block, at, bytes);
        DiskHeader::decode(&sealed(block))
    };
    assert_eq!(with(12, &[33]), Err(DiskError::TooManyDumps(33)));
    assert_eq!(with(96, &[4]), Err(DiskError::Directory(4)), "a number twice");
    assert_eq!(with(96, &[7]), Err(DiskError::Directory(7)), "the next dump's number");
    assert_eq!(with(72, &[0, 0x10]), Err(DiskError::Directory(4)), "in the headers");
    assert_eq!(with(72, &[1]), Err(DiskError::Directory(4)), "no whole block");
    assert_eq!(with(80, &[0, 0]), Err(DiskError::Directory(4)), "no length");
    assert_eq!(with(104, &[0, 0x60, 0, 0, 0]), Err(DiskError::Directory(6)), "overlapping");
    assert_eq!(
        with(112, &[0, 0xf0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        Err(DiskError::Directory(6)),
        "past 64 bits"
    );
    assert_eq!(with(88, &[77]).map(|header| header.dumps.as_slice()[0].state), Ok(DiskState(77)));
}

fn front(first: [u8; BLOCK], second: [u8; BLOCK]) -> Vec<u8> {
    [first, second].concat()
}

#[test]
fn the_newest_whole_header_counts() {
    let old = disk_header();
    let new = DiskHeader { generation: old.generation + 1, next: 9, ..old };
    let found = |first: [u8; BLOCK], second| FoundDisk::decode(&front(first, second));
    let is = |header, copy, other| Ok(FoundDisk { header, copy, other });
    assert_eq!(found(old.encode(), new.encode()), is(new, 1, None));
    assert_eq!(found(new.encode(), old.encode()), is(new, 0, None));
    let mut torn = new.encode();
    torn[512..].copy_from_slice(&old.encode()[512..]);
    let Err(damage) = DiskHeader::decode(&torn) else { panic!("half of each") };
    assert_eq!(found(old.encode(), torn), is(old, 0, Some(damage)));
    assert_eq!(found(torn, old.encode()), is(old, 1, Some(damage)));
    assert_eq!(found(torn, [0; BLOCK]), Err(damage));
    let other = DiskHeader { id: DiskId([9; 16]), generation: u64::MAX, ..old };
    assert_eq!(found(old.encode(), other.encode()), is(old, 0, None), "of an earlier format");
}

#[test]
fn block_0_says_whether_the_disk_is_ours() {
    let ours = disk_block();
    assert_eq!(FoundDisk::decode(&front([0; BLOCK], ours)), Err(DiskError::NotOurs));
    for version in [1, 2, 4] {
        let mut other = ours;
        other[8] = version;
        let refused = Err(DiskError::Version(version.into()));
        assert_eq!(FoundDisk::decode(&front(sealed(other), ours)), refused);
        let damaged = FoundDisk::decode(&front(other, ours));
        assert!(matches!(damaged, Ok(FoundDisk { copy: 1, .. })), "one flipped bit is no version");
        assert_eq!(FoundDisk::decode(&other), refused);
    }
    assert_eq!(FoundDisk::decode(&ours[1..]), Err(DiskError::TooShort(4095)));
}

#[test]
fn disks_of_other_versions_are_refused_with_the_next_step() {
    let older = DiskError::Version(2).to_string();
    assert!(older.contains("version 2") && older.contains("`kdump-collector format`"), "{older}");
    let later = DiskError::Version(4).to_string();
    assert!(later.contains("programs of the same release") && !later.contains("format"), "{later}");
}

#[test]
fn the_newer_copy_of_a_dumps_header_counts() {
    let begun = dump_header();
    let done = DumpHeader { generation: 0x406, state: DiskState::COMPLETE, ..begun };
    let decode = |front: &[u8]| DumpHeader::decode_copies(front, ID, &dump_entry());
    assert_eq!(decode(&front(begun.encode(), done.encode())), Ok(done));
    assert_eq!(decode(&front(done.encode(), begun.encode())), Ok(done));
    assert_eq!(decode(&front(begun.encode(), [0; BLOCK])), Ok(begun));
    assert_eq!(decode(&front([0; BLOCK], done.encode())), Ok(done));
    assert_eq!(decode(&begun.encode()), Ok(begun), "cut off");
    assert_eq!(decode(&[0; 2 * BLOCK]), Err(DumpError::NotOurs));
}

/// Any directory: dumps one after another with gaps, in any order of age.
fn any_directory() -> impl Strategy<Value = Directory> {
    let dump = (0u64..6, 1u64..6, 1u32..5);
    prop::collection::vec(dump, 0..=MAX_DUMPS).prop_flat_map(|dumps| {
        let mut at = 2;
        let placed: Vec<_> = dumps
            .into_iter()
            .map(|(gap, length, state)| {
                at += gap + length;
                ((at - length) * 4096, length * 4096, DiskState(state))
            })
            .collect();
        Just(placed).prop_shuffle().prop_map(|placed| {
            let numbered = (1..).zip(placed);
            let entries = numbered
                .map(|(number, (offset, length, state))| entry(number, offset, length, state));
            directory(&entries.collect::<Vec<_>>())
        })
    })
}

/// True if `need` bytes fit somewhere beside these dumps, tried out block by block.
fn fits(dumps: &[DumpEntry], capacity: u64, need: u64) -> bool {
    let places = (2..(capacity / 4096).saturating_sub(need / 4096 - 1)).map(|block| block * 4096);
    let free = |at: u64| {
        dumps.iter().all(|dump| at + need <= dump.offset || dump.offset + dump.length <= at)
    };
    places.into_iter().any(free)
}

proptest! {
    #[test]
    fn what_was_written_is_read(
        id: [u8; 16], generation: u64, captures: u32, need: u64, dumps in any_directory(),
    ) {
        let refused = Refused { captures, need };
        let header = DiskHeader { id: DiskId(id), generation, next: 100, refused, dumps };
        prop_assert_eq!(DiskHeader::decode(&header.encode()), Ok(header));
    }

    #[test]
    fn a_dump_that_was_written_is_read(
        start: u64, stage: u32, state: u32, lengths in prop::collection::vec(0u64..1 << 40, 0..=16),
        raw_length in 0u64..=1 << 48, room in 0u64..1 << 40, flags: [bool; 3], level: u8, key: u32,
    ) {
        let views: Vec<_> =
            (0..).zip(lengths).map(|(n, length)| view(&format!("view-{n}"), length, n)).collect();
        let contents = Contents::OldMem { start };
        let new = NewDump { contents, ..new_dump(&views, room, raw_length) };
        let [checksums, level_raised, no_room] = flags;
        let header = DumpHeader::new(ID, 3, key, &NewDump { checksums, ..new }).expect("small");
        let header = DumpHeader { stage, state: DiskState(state), level_raised, no_room, level, ..header };
        let entry = DumpEntry { key, ..entry(3, 0x2000, header.committed, DiskState::IN_PROGRESS) };
        prop_assert_eq!(DumpHeader::decode(&header.encode(), ID, &entry), Ok(header));
    }

    #[test]
    fn one_wrong_byte_is_never_accepted(offset in 0..BLOCK, flip in 1u8..) {
        let flipped = |mut block: [u8; BLOCK]| { block[offset] ^= flip; block };
        prop_assert!(DiskHeader::decode(&flipped(disk_block())).is_err());
        prop_assert!(DumpHeader::decode(&flipped(dump_block()), ID, &dump_entry()).is_err());
        prop_assert!(Segment::decode(&flipped(segment_block()), &dump_header(), AT).is_err());
    }

    /// One wrong byte in one copy does not lose the contents of the other either, unless it makes
    /// another disk of it.
    #[test]
    fn one_wrong_byte_never_loses_the_disk(copy in 0..2usize, offset in 8..BLOCK, flip in 1u8..) {
        let mut bytes = front(disk_block(), disk_block());
        bytes[copy * BLOCK + offset] ^= flip;
        let found = FoundDisk::decode(&bytes);
        let found = found.ok().map(|found| found.header);
        prop_assert_eq!(found, Some(disk_header()));
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..9000), kind in 0..4) {
        let mut bytes = bytes;
        let head: &[u8] = match kind {
            0 => b"KDRSDISK\x03\0\0\0",
            1 => b"KDRSDUMP\x03\0\0\0",
            2 => b"KDRSSEGM",
            _ => b"",
        };
        if bytes.len() >= BLOCK {
            put(&mut bytes, 0, head);
            let block: [u8; BLOCK] = bytes[..BLOCK].try_into().expect("a block");
            bytes[..BLOCK].copy_from_slice(&sealed(block));
        }
        let _ = FoundDisk::decode(&bytes);
        let entry = entry(6, 0x2000, u64::MAX - 0x2000, DiskState::IN_PROGRESS);
        let _ = DumpHeader::decode_copies(&bytes, ID, &entry);
        let _ = Segment::decode(&bytes, &dump_header(), AT);
    }

    /// Numbers that a writer gone wrong has put into a whole block.
    #[test]
    fn a_checksum_does_not_make_it_right(
        at in prop::sample::select(vec![72usize, 80, 88, 288, 296, 352, 360]), value: u64,
    ) {
        let mut block = dump_block();
        put(&mut block, at, &value.to_le_bytes());
        let entry = dump_entry();
        if let Ok(header) = DumpHeader::decode(&sealed(block), ID, &entry) {
            prop_assert!(header.bulk_start <= header.committed && header.committed <= entry.length);
            let views_end = header.views().iter().map(|view| view.offset + view.length).max();
            prop_assert!(views_end <= Some(header.bulk_start));
        }
    }

    /// The same for a segment: everything that it names is in it, and in the raw view.
    #[test]
    fn a_segment_that_is_taken_is_right(
        fields in prop::collection::vec((36usize..156, any::<u8>()), 1..4),
    ) {
        let mut block = segment_block();
        for (at, value) in fields {
            block[at] = value;
        }
        if let Ok(segment) = Segment::decode(&sealed(block), &dump_header(), AT) {
            let end = segment.end(AT);
            prop_assert!(end <= dump_header().committed);
            prop_assert!(segment.chunks.len() <= SEGMENT_ENTRIES);
            for chunks in segment.chunks {
                let is_inside = AT + (BLOCK as u64) <= chunks.at && chunks.end() <= end;
                prop_assert!(chunks.entry.stored == 0 || is_inside);
                let last = chunks.nth(chunks.count() - 1).entry;
                prop_assert!(last.start() < RAW && last.check(RAW).is_ok());
            }
        }
    }

    #[test]
    fn the_next_dump_never_costs_what_is_kept(
        dumps in any_directory(), blocks in 0u64..400, spare in 0u64..4096, need in 1u64..40, replace: bool,
    ) {
        let header = DiskHeader { next: 50, dumps, ..DiskHeader::new(ID) };
        let (capacity, need) = (blocks * 4096 + spare, need * 4096);
        let partial = |dump: &DumpEntry| dump.state.is_partial();
        match header.place(capacity, need, KEY, replace) {
            Ok(placed) => {
                let (entry, given_up) = (placed.entry, placed.given_up.as_slice());
                prop_assert!(entry.length == need && entry.end() <= capacity);
                prop_assert!(entry.sequence == 50 && placed.header.next == 51);
                prop_assert!(placed.header.generation == header.generation + 1);
                let after = placed.header.dumps.as_slice();
                for dump in dumps.as_slice() {
                    prop_assert!(after.contains(dump) != given_up.contains(dump));
                }
                prop_assert_eq!(after.last(), Some(&entry));
                prop_assert_eq!(DiskHeader::decode(&placed.header.encode()), Ok(placed.header));
                prop_assert!(replace || given_up.iter().all(partial));
                // Nothing is given up without need.
                let fitted = fits(dumps.as_slice(), capacity, need) && !dumps.is_full();
                prop_assert_eq!(fitted, given_up.is_empty());
                let overlaps = |dump: &DumpEntry| dump.overlaps(entry.offset, entry.length);
                prop_assert!(dumps.is_full() || given_up.iter().all(overlaps));
                // No complete one goes as long as giving up all partial ones would do.
                let complete = dumps.retain(|dump| !partial(dump));
                let without = fits(complete.as_slice(), capacity, need) && !complete.is_full();
                prop_assert!(!without || given_up.iter().all(partial));
            }
            Err(no_room) => {
                let kept = dumps.retain(|dump| !partial(dump) && !replace);
                prop_assert!(kept.is_full() || !fits(kept.as_slice(), capacity, need));
                prop_assert!(kept.is_full() || no_room.have < need);
                let complete = header.place(capacity, need, KEY, true).is_ok();
                prop_assert_eq!(no_room.complete_dumps, complete);
            }
        }
    }
}

proptest! {
    /// If not all has room: the largest place that there is, and no complete dump for more than the
    /// least.
    #[test]
    fn a_part_gets_the_largest_place(
        dumps in any_directory(), blocks in 0u64..400, spare in 0u64..4096, least in 1u64..40, replace: bool,
    ) {
        let header = DiskHeader { next: 50, dumps, ..DiskHeader::new(ID) };
        let (capacity, least) = (blocks * 4096 + spare, least * 4096);
        let complete = dumps.retain(|dump| !dump.state.is_partial());
        let fits = |need| fits(complete.as_slice(), capacity, need) && !complete.is_full();
        match header.place_part(capacity, least, KEY, replace) {
            Ok(placed) => {
                let (entry, given_up) = (placed.entry, placed.given_up.as_slice());
                prop_assert!(entry.length >= least && entry.end() <= capacity && entry.key == KEY);
                prop_assert_eq!(DiskHeader::decode(&placed.header.encode()), Ok(placed.header));
                let costs_none = given_up.iter().all(|dump| dump.state.is_partial());
                prop_assert!(costs_none || replace && !fits(least));
                prop_assert!(!costs_none || !fits(entry.length + 4096), "there is a larger one");
            }
            Err(no_room) => {
                prop_assert!(!fits(least) && no_room.need == least);
                prop_assert_eq!(no_room.complete_dumps, header.place(capacity, least, KEY, true).is_ok());
                prop_assert!(!replace || !no_room.complete_dumps);
            }
        }
    }
}

/// A dump that ends gives back its unused space; its region never grows.
#[test]
fn a_region_only_shrinks() {
    let mut dumps = directory(&[entry(1, 0x2000, 0x5000, DiskState::IN_PROGRESS)]);
    for (sequence, length, expected) in
        [(1, 0x6000, 0x5000), (2, 0x1000, 0x5000), (1, 0x3000, 0x3000), (1, 0, 0x3000)]
    {
        dumps.shrink(sequence, length);
        assert_eq!(dumps.as_slice()[0].length, expected);
    }
}

/// The oldest complete dump goes first, and no more of them than it takes.
#[test]
fn one_at_a_time() {
    let complete =
        |sequence, block: u64| entry(sequence, block * 4096, 4 * 4096, DiskState::COMPLETE);
    let dumps = directory(&[complete(1, 6), complete(2, 2), complete(3, 10)]);
    let header = DiskHeader { next: 4, dumps, ..DiskHeader::new(ID) };
    let capacity = 14 * 4096;
    let refused = header.place(capacity, 4 * 4096, KEY, false).expect_err("the disk is full");
    assert_eq!((refused.have, refused.complete_dumps), (0, true));
    let given_up = |need: u64| {
        let placed = header.place(capacity, need * 4096, KEY, true).expect("all may go");
        placed.given_up.as_slice().iter().map(|dump| dump.sequence).collect::<Vec<_>>()
    };
    assert_eq!(given_up(4), [1]);
    assert_eq!(given_up(8), [1, 2]);
    assert_eq!(given_up(12), [1, 2, 3]);
    let refused =
        header.place(capacity, 13 * 4096, KEY, true).expect_err("nothing is large enough");
    assert_eq!((refused.have, refused.complete_dumps), (12 * 4096, false));
}
