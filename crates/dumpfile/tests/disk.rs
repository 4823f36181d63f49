//! The dump disk: its encodings byte by byte, and what damage does to them. Checksums were worked out by
//! a bitwise CRC-32C in Python.

use dumpfile::disk::{
    BLOCK, Directory, DiskHeader, DumpEntry, DumpError, DumpHeader, FoundDisk, MARKS, MAX_DUMPS,
    Mark, NewDump, Refused, SmallView, TableBlock, ViewName, v1,
};
use dumpfile::{Contents, Crc32c, DiskError, DiskId, DiskState};
use proptest::prelude::*;

const ID: DiskId = DiskId([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);

fn entry(sequence: u64, offset: u64, length: u64, state: DiskState) -> DumpEntry {
    DumpEntry { sequence, offset, length, state }
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
            entry(4, 0x2000, 0x5000, DiskState::COMPLETE),
            entry(6, 0x1_0000_0000, 0x7000, DiskState::FAILED),
        ]),
    }
}

fn disk_block() -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    put(&mut block, 0, b"KDRSDISK\x02\0\0\0\x02\0\0\0");
    put(&mut block, 16, &ID.0);
    put(&mut block, 32, &[0x22, 0x11, 0, 0, 0, 0, 0, 0, 7]);
    put(&mut block, 48, &[0x00, 0x60, 0x45, 0x23, 1, 0, 0, 0, 3]);
    put(&mut block, 64, &[4, 0, 0, 0, 0, 0, 0, 0, 0x00, 0x20]);
    put(&mut block, 80, &[0x00, 0x50, 0, 0, 0, 0, 0, 0, 2]);
    put(&mut block, 96, &[6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    put(&mut block, 112, &[0x00, 0x70, 0, 0, 0, 0, 0, 0, 3]);
    put(&mut block, 4092, &[0x4d, 0x15, 0x6d, 0x85]);
    block
}

fn view(name: &str, length: u64, crc: u32) -> SmallView {
    let name = ViewName::new(name).expect("a name");
    SmallView { name, length, crc, ..SmallView::default() }
}

/// Chunks of 1 MiB, one more than a block of the table has.
const BULK: u64 = 507 << 20;

fn dump_header() -> DumpHeader {
    let dmesg = SmallView { start: 0xc012_3456, ..view("dmesg", 9, 0x0102_0304) };
    let views = [view("vmcoreinfo", 0x1001, 0xe306_9283), dmesg];
    let contents = Contents::OldMem { start: 0x10000 };
    let new = NewDump { contents, views: &views, bulk_length: BULK, checksums: true };
    let header = DumpHeader::new(ID, 6, &new).expect("it has places");
    DumpHeader { stage: 0x41, ..header }
}

fn dump_block() -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    put(&mut block, 0, b"KDRSDUMP\x02\0\0\0\x01\0\0\0");
    put(&mut block, 16, &ID.0);
    put(&mut block, 32, &[6, 0, 0, 0, 0, 0, 0, 0, 0x41, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1]);
    put(&mut block, 56, &[1, 0, 0, 0, 1]);
    put(&mut block, 64, &[0, 0, 0x10]);
    put(&mut block, 72, &[0x00, 0x50, 0, 0, 0, 0, 0, 0, 0x00, 0x90]);
    put(&mut block, 88, &[0, 0, 0xb0, 0x1f, 0, 0, 0, 0, 2]);
    put(&mut block, 104, b"vmcoreinfo");
    put(&mut block, 136, &[0x00, 0x20, 0, 0, 0, 0, 0, 0, 0x01, 0x10]);
    put(&mut block, 160, &[0x83, 0x92, 0x06, 0xe3]);
    put(&mut block, 168, b"dmesg");
    put(&mut block, 200, &[0x00, 0x40, 0, 0, 0, 0, 0, 0, 9]);
    put(&mut block, 216, &[0x56, 0x34, 0x12, 0xc0, 0, 0, 0, 0, 4, 3, 2, 1]);
    put(&mut block, 4092, &[0xd4, 0x5a, 0x85, 0x47]);
    block
}

/// The directory's entry for [`dump_header`].
fn dump_entry() -> DumpEntry {
    entry(6, 0x2000, 0x9000 + BULK, DiskState::IN_PROGRESS)
}

fn table() -> TableBlock {
    let mut table = TableBlock::new(1);
    table.marks[0] = Mark::Checked(0xe306_9283);
    table.marks[1] = Mark::Whole;
    table
}

fn table_block() -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    put(&mut block, 0, b"KDRSTABL");
    put(&mut block, 8, &ID.0);
    put(&mut block, 24, &[6, 0, 0, 0, 0, 0, 0, 0, 1]);
    put(&mut block, 44, &[2, 0, 0, 0, 0x83, 0x92, 0x06, 0xe3, 1]);
    put(&mut block, 4092, &[0x2d, 0x43, 0xd2, 0xf6]);
    block
}

/// Changing any of these needs a new version.
#[test]
fn encodings_of_version_2() {
    assert!(disk_header().encode() == disk_block());
    assert_eq!(DiskHeader::decode(&disk_block()), Ok(disk_header()));
    assert!(dump_header().encode() == dump_block());
    assert_eq!(DumpHeader::decode(&dump_block(), ID, &dump_entry()), Ok(dump_header()));
    assert!(table().encode(&dump_header()) == table_block());
    assert_eq!(TableBlock::decode(&table_block(), &dump_header(), 1), Some(table()));
}

#[test]
fn the_places_of_a_dump() {
    let header = dump_header();
    assert_eq!((header.chunks(), header.table_blocks()), (507, 2));
    assert_eq!((header.table_block_offset(1), header.region_length()), (0x7000, 0x9000 + BULK));
    assert_eq!(header.chunk_range(506), (506 << 20, 507 << 20));
    assert_eq!(header.chunk_range(507), (BULK, BULK));
    assert_eq!(header.views().iter().map(|view| view.offset).collect::<Vec<_>>(), [0x2000, 0x4000]);
    let small =
        NewDump { contents: Contents::Vmcore, views: &[], bulk_length: 1, checksums: false };
    let small = DumpHeader::new(ID, 1, &small).expect("it has places");
    assert_eq!((small.table_offset, small.bulk_offset), (0x2000, 0x4000));
    assert_eq!((small.region_length(), small.chunk_range(0)), (0x5000, (0, 1)));
}

#[test]
fn what_no_dump_can_be_made_of() {
    let new = |views: &[SmallView], bulk_length| {
        let new = NewDump { contents: Contents::Vmcore, views, bulk_length, checksums: false };
        DumpHeader::new(ID, 1, &new).map(|header| header.region_length())
    };
    let twice = [view("a", 1, 0), view("a", 2, 0)];
    let huge = [view("a", u64::MAX - 5, 0)];
    assert_eq!(new(&twice, 1), Err(DumpError::Views));
    let many: Vec<_> = (0..17).map(|n| view(&format!("v{n}"), 1, 0)).collect();
    assert_eq!(new(&many, 1), Err(DumpError::Views));
    assert!(new(&many[..16], 1).is_ok());
    assert_eq!(new(&[], u64::MAX), Err(DumpError::Layout));
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
    assert_eq!(with(8, &[3]), Err(DumpError::Version(3)));
    assert_eq!(with(16, &[9]), Err(DumpError::OtherDump(6)), "of a disk with another id");
    assert_eq!(with(32, &[5]), Err(DumpError::OtherDump(5)));
    assert_eq!(with(96, &[17]), Err(DumpError::Views));
    assert_eq!(with(104, b"/"), Err(DumpError::Views));
    assert_eq!(with(115, b"x"), Err(DumpError::Views), "behind the name's end");
    let places: [(usize, &[u8]); 9] = [
        (64, &[0, 0, 0x30]),
        (64, &[0, 0x80, 0]),
        (64, &[0, 0, 0]),
        (72, &[0, 0x40]),
        (72, &[1, 0x50]),
        (80, &[0, 0x80]),
        (95, &[0xff]),
        (136, &[0, 0x10]),
        (151, &[0xff]),
    ];
    for (at, bytes) in places {
        assert_eq!(with(at, bytes), Err(DumpError::Layout), "{at} {bytes:x?}");
    }
    let short = DumpEntry { length: dump_entry().length - 4096, ..dump_entry() };
    assert_eq!(DumpHeader::decode(&dump_block(), ID, &short), Err(DumpError::Layout));
    let mut torn = dump_block();
    torn[3000] = 1;
    assert_eq!(DumpHeader::decode(&torn, ID, &dump_entry()), Err(DumpError::Checksum));
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
    let v2 = |header, copy, other| Ok(FoundDisk::V2 { header, copy, other });
    assert_eq!(found(old.encode(), new.encode()), v2(new, 1, None));
    assert_eq!(found(new.encode(), old.encode()), v2(new, 0, None));
    let mut torn = new.encode();
    torn[512..].copy_from_slice(&old.encode()[512..]);
    let Err(damage) = DiskHeader::decode(&torn) else { panic!("half of each") };
    assert_eq!(found(old.encode(), torn), v2(old, 0, Some(damage)));
    assert_eq!(found(torn, old.encode()), v2(old, 1, Some(damage)));
    assert_eq!(found(torn, [0; BLOCK]), Err(damage));
    let other = DiskHeader { id: DiskId([9; 16]), generation: u64::MAX, ..old };
    assert_eq!(found(old.encode(), other.encode()), v2(old, 0, None), "of an earlier format");
}

#[test]
fn block_0_says_whether_the_disk_is_ours() {
    let ours = disk_block();
    assert_eq!(FoundDisk::decode(&front([0; BLOCK], ours)), Err(DiskError::NotOurs));
    let mut later = ours;
    later[8] = 3;
    assert_eq!(FoundDisk::decode(&front(sealed(later), ours)), Err(DiskError::Version(3)));
    let damaged = FoundDisk::decode(&front(later, ours));
    assert!(matches!(damaged, Ok(FoundDisk::V2 { copy: 1, .. })), "one flipped bit is no version");
    assert_eq!(FoundDisk::decode(&later), Err(DiskError::Version(3)));
    assert_eq!(FoundDisk::decode(&ours[1..]), Err(DiskError::TooShort(4095)));
}

#[test]
fn a_disk_of_version_1_is_one_whatever_follows() {
    let old = v1::DiskHeader { state: DiskState::COMPLETE, length: 3, ..v1::DiskHeader::new(ID) };
    assert_eq!(FoundDisk::decode(&old.encode()), Ok(FoundDisk::V1(old)));
    assert_eq!(FoundDisk::decode(&front(old.encode(), disk_block())), Ok(FoundDisk::V1(old)));
    let mut torn = old.encode();
    torn[700] = 1;
    assert!(matches!(FoundDisk::decode(&torn), Err(DiskError::Checksum { .. })));
    let upgrading = FoundDisk::decode(&front(torn, disk_block()));
    assert!(matches!(upgrading, Ok(FoundDisk::V2 { copy: 1, .. })));
    let mut strange = old.encode();
    strange[40..48].fill(0);
    let refused = FoundDisk::decode(&front(sealed(strange), disk_block()));
    assert_eq!(refused, Err(DiskError::DataOffset(0)));
}

/// What version 1's programs say of a disk of version 2.
#[test]
fn version_1_names_the_other_version() {
    assert_eq!(v1::DiskHeader::decode(&disk_block()), Err(DiskError::Version(2)));
}

#[test]
fn the_newer_copy_of_a_dumps_header_counts() {
    let begun = dump_header();
    let done = DumpHeader { generation: 2, state: DiskState::COMPLETE, ..begun };
    let decode = |front: &[u8]| DumpHeader::decode_copies(front, ID, &dump_entry());
    assert_eq!(decode(&front(begun.encode(), done.encode())), Ok(done));
    assert_eq!(decode(&front(done.encode(), begun.encode())), Ok(done));
    assert_eq!(decode(&front(begun.encode(), [0; BLOCK])), Ok(begun));
    assert_eq!(decode(&front([0; BLOCK], done.encode())), Ok(done));
    assert_eq!(decode(&begun.encode()), Ok(begun), "cut off");
    assert_eq!(decode(&[0; 2 * BLOCK]), Err(DumpError::NotOurs));
}

#[test]
fn either_copys_marks_are_right() {
    let (dump, later) = (dump_header(), table());
    let mut earlier = later.clone();
    earlier.marks[1] = Mark::Absent;
    earlier.marks[5] = Mark::Whole;
    let both = front(earlier.encode(&dump), later.encode(&dump));
    let (marks, whole) = TableBlock::decode_copies(&both, &dump, 1);
    assert!(marks.marks[..2] == later.marks[..2] && marks.marks[5] == Mark::Whole);
    assert_eq!(whole, 2);
    let torn = front([1; BLOCK], later.encode(&dump));
    assert_eq!(TableBlock::decode_copies(&torn, &dump, 1), (later.clone(), 1));
    let other = DumpHeader { sequence: 5, ..dump };
    let blank = (TableBlock::new(1), 0);
    assert_eq!(TableBlock::decode_copies(&both, &other, 1), blank, "of an earlier dump");
    assert_eq!(TableBlock::decode(&both, &dump, 0), None, "in the wrong place");
    assert_eq!(TableBlock::decode_copies(&[], &dump, 1), blank);
    let never_written = (TableBlock::new(1), 2);
    assert_eq!(TableBlock::decode_copies(&[0; 2 * BLOCK], &dump, 1), never_written);
    assert_eq!(MARKS, later.marks.len());
}

/// Any directory: dumps behind one another with gaps, in any order of age.
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

/// Whether `need` blocks fit somewhere beside these dumps, tried out block by block.
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
        lengths in prop::collection::vec(0u64..1 << 20, 0..16),
        bulk_length in 1u64..1 << 40, checksums: bool, stage: u32, state: u32, start: u64,
    ) {
        let views: Vec<_> = (0u32..).zip(lengths)
            .map(|(n, length)| view(&format!("view-{n}"), length, n)).collect();
        let contents = Contents::OldMem { start };
        let new = NewDump { contents, views: &views, bulk_length, checksums };
        let header = DumpHeader::new(ID, 3, &new).expect("small");
        let header = DumpHeader { stage, state: DiskState(state), ..header };
        let entry = entry(3, 0x2000, header.region_length(), DiskState::IN_PROGRESS);
        prop_assert_eq!(DumpHeader::decode(&header.encode(), ID, &entry), Ok(header));
        let chunks = (0..header.chunks()).rev().take(3);
        prop_assert!(chunks.map(|n| header.chunk_range(n)).all(|(start, end)| start < end));
    }

    #[test]
    fn one_wrong_byte_is_never_accepted(offset in 0..BLOCK, flip in 1u8..) {
        let flipped = |mut block: [u8; BLOCK]| { block[offset] ^= flip; block };
        prop_assert!(DiskHeader::decode(&flipped(disk_block())).is_err());
        prop_assert!(DumpHeader::decode(&flipped(dump_block()), ID, &dump_entry()).is_err());
        prop_assert!(TableBlock::decode(&flipped(table_block()), &dump_header(), 1).is_none());
    }

    /// Neither costs one wrong byte in one copy what the other says, unless it makes another disk of it.
    #[test]
    fn one_wrong_byte_never_loses_the_disk(copy in 0..2usize, offset in 8..BLOCK, flip in 1u8..) {
        let mut bytes = front(disk_block(), disk_block());
        bytes[copy * BLOCK + offset] ^= flip;
        let found = FoundDisk::decode(&bytes);
        let found = if let Ok(FoundDisk::V2 { header, .. }) = found { Some(header) } else { None };
        prop_assert_eq!(found, Some(disk_header()));
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..9000), kind in 0..4) {
        let mut bytes = bytes;
        let head: &[u8] = match kind {
            0 => b"KDRSDISK\x02\0\0\0",
            1 => b"KDRSDUMP\x02\0\0\0",
            2 => b"KDRSTABL",
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
        let _ = TableBlock::decode_copies(&bytes, &dump_header(), 1);
    }

    /// Numbers that a writer gone wrong has put into a whole block.
    #[test]
    fn a_checksum_does_not_make_it_right(
        at in prop::sample::select(vec![64usize, 72, 80, 88, 136, 144, 200, 208]), value: u64,
    ) {
        let mut block = dump_block();
        put(&mut block, at, &value.to_le_bytes());
        let entry = dump_entry();
        if let Ok(header) = DumpHeader::decode(&sealed(block), ID, &entry) {
            prop_assert!(header.region_length() <= entry.length);
            let table_end = header.table_block_offset(header.table_blocks());
            let views_end = header.views().iter().map(|view| view.offset + view.length).max();
            prop_assert!(views_end <= Some(header.table_offset) && table_end <= header.bulk_offset);
        }
    }

    #[test]
    fn the_next_dump_never_costs_what_is_kept(
        dumps in any_directory(), blocks in 0u64..400, spare in 0u64..4096, need in 1u64..40, replace: bool,
    ) {
        let header = DiskHeader { next: 50, dumps, ..DiskHeader::new(ID) };
        let (capacity, need) = (blocks * 4096 + spare, need * 4096);
        let partial = |dump: &DumpEntry| dump.state.is_partial();
        match header.place(capacity, need, replace) {
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
                let complete = header.place(capacity, need, true).is_ok();
                prop_assert_eq!(no_room.complete_dumps, complete);
            }
        }
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
    let refused = header.place(capacity, 4 * 4096, false).expect_err("the disk is full");
    assert_eq!((refused.have, refused.complete_dumps), (0, true));
    let given_up = |need: u64| {
        let placed = header.place(capacity, need * 4096, true).expect("all may go");
        placed.given_up.as_slice().iter().map(|dump| dump.sequence).collect::<Vec<_>>()
    };
    assert_eq!(given_up(4), [1]);
    assert_eq!(given_up(8), [1, 2]);
    assert_eq!(given_up(12), [1, 2, 3]);
    let refused = header.place(capacity, 13 * 4096, true).expect_err("nothing is large enough");
    assert_eq!((refused.have, refused.complete_dumps), (12 * 4096, false));
}
