//! Contents of a disk after a dump, and after failures. They are read back with `dumpfile`, whose
//! encodings have tests of their own.

use super::{DumpDisk, WriteOptions};
use crate::driver;
use crate::driver::virtio::blk::VirtioBlk;
use crate::dump::{Dump, Later, NamedView, Urgent};
pub(super) use crate::fake::Pointers;
use crate::fake::{Disk, FakeClock, FakeTransport, physical, slot};
use crate::targets::Target;
use crate::targets::TargetError;
use core::cell::RefCell;
use dumpfile::chunk::{CHUNK, Codec, PAGE, PAGES};
use dumpfile::disk::{
    BLOCK, BulkSize, DumpEntry, DumpHeader, FoundDisk, LEAST_SEGMENT, Segment, StoredChunks,
    ViewName,
};
use dumpfile::{Contents, Crc32c, DiskHeader, DiskId, DiskState};
use handoff::Stage;
use std::rc::Rc;
use std::vec;
use std::vec::Vec;
use vmcore::{Error, Extent, Extents, PageClass, PhysAddr, PhysRange, ReadPhys, View};

pub(super) const OURS: DiskId = DiskId([0xa5; 16]);
/// Length of [`memory`] in bytes: three runs of a MiB and a bit.
pub(super) const LENGTH: usize = (3 << 20) + 2 * BLOCK;
pub(super) const LOG: &[u8] = b"[    1.0] the last words\n";
pub(super) const STACK: &[u8] = &[7; 5000];

/// Old memory of one machine: other bytes for each seed.
pub(super) fn memory(seed: u8) -> Vec<u8> {
    let mut bytes = vec![0; LENGTH];
    for (number, sector) in bytes.chunks_mut(512).enumerate() {
        sector.fill((number as u8).wrapping_mul(31) ^ (number >> 8) as u8 ^ seed);
    }
    bytes
}

pub(super) fn range(memory: &[u8]) -> PhysRange {
    PhysRange::new(physical(memory), memory.len() as u64).expect("no wrap")
}

pub(super) fn named(name: &'static str, view: impl View + 'static) -> NamedView {
    NamedView { name, view: Rc::new(view), start: 0 }
}

/// `view` as the bulk, a log, and a stack that is read later.
pub(super) fn dump_of(view: impl View + 'static, seed: u8) -> Dump {
    let stack = || vec![NamedView { start: 0xc000_1000, ..named("stack", STACK.to_vec()) }];
    Dump {
        id: [seed; 16],
        first: vec![named("dmesg", LOG.to_vec())],
        later: Later::new(2 * BLOCK as u64, stack),
        bulk: Some(named("oldmem", view)),
        contents: Contents::OldMem { start: 0x10_0000 },
        ..Dump::default()
    }
}

/// All of `memory`.
pub(super) fn dump(memory: &[u8]) -> Dump {
    dump_of(Extents::new(vec![Extent::Phys(range(memory))]).expect("small"), memory[0])
}

/// An empty disk of so many bytes.
pub(super) fn formatted(length: usize) -> Vec<u8> {
    let mut bytes = vec![0xee; length];
    let header = DiskHeader::new(OURS).encode();
    bytes[..2 * BLOCK].copy_from_slice(&[header, header].concat());
    bytes
}

/// Room for so many dumps that are written with the options of [`hurried`].
pub(super) fn room_for(dumps: usize) -> usize {
    2 * BLOCK + dumps * (LENGTH + 10 * BLOCK)
}

/// Has the header name each run.
pub(super) fn hurried(codec: Codec, replace_complete: bool) -> WriteOptions<'static> {
    let options = WriteOptions {
        codec,
        replace_complete,
        pace: 1,
        least: 1 << 20,
        ..WriteOptions::default()
    };
    WriteOptions { memory: &Pointers, ..options }
}

type Target_<'c> = DumpDisk<'c, VirtioBlk<'c, FakeTransport<Disk>>>;

pub(super) fn open<'c>(
    disk: &Rc<RefCell<Disk>>,
    clock: &'c FakeClock<'c>,
) -> Result<Target_<'c>, TargetError> {
    let device = VirtioBlk::start(FakeTransport::new(disk), slot(), clock, 10_000)?;
    DumpDisk::open(device, OURS, slot(), clock)
}

/// Has a disk take a dump of `memory`.
pub(super) fn deliver(
    disk: &Rc<RefCell<Disk>>,
    memory: &[u8],
    options: WriteOptions<'_>,
) -> Result<(), TargetError> {
    deliver_dump(disk, &dump(memory), options)
}

pub(super) fn deliver_dump(
    disk: &Rc<RefCell<Disk>>,
    dump: &Dump,
    options: WriteOptions<'_>,
) -> Result<(), TargetError> {
    let clock = FakeClock::default();
    open(disk, &clock)?.with(options).deliver(dump, &mut |_| ())
}

/// A dump as it is on a disk.
pub(super) struct Stored {
    pub(super) entry: DumpEntry,
    pub(super) header: DumpHeader,
    pub(super) segments: Vec<Vec<StoredChunks>>,
}

/// The dumps on a disk that have a header, and the directory.
pub(super) fn stored(bytes: &[u8]) -> (DiskHeader, Vec<Stored>) {
    let header = FoundDisk::decode(bytes).expect("a dump disk").header;
    let dumps = header.dumps.as_slice().iter().filter_map(|entry| {
        let region = &bytes[entry.offset as usize..][..entry.length as usize];
        let header = DumpHeader::decode_copies(region, OURS, entry).ok()?;
        let (mut at, mut segments) = (header.bulk_start, Vec::new());
        while at < header.committed {
            let segment = Segment::decode(&region[at as usize..], &header, at).expect("committed");
            assert_eq!(segment.number as usize, segments.len());
            at = segment.end(at);
            segments.push(segment.chunks);
        }
        assert_eq!(at, header.committed);
        Some(Stored { entry: *entry, header, segments })
    });
    (header, dumps.collect())
}

impl Stored {
    pub(super) fn chunks(&self) -> impl Iterator<Item = StoredChunks> {
        self.segments.iter().flatten().flat_map(|chunks| (0..chunks.count()).map(|n| chunks.nth(n)))
    }

    /// The small view's bytes, if they agree with its checksum.
    pub(super) fn view<'b>(&self, bytes: &'b [u8], name: &str) -> Option<&'b [u8]> {
        let small = self.header.views().iter().find(|view| view.name.as_str() == name)?;
        let at = (self.entry.offset + small.offset) as usize;
        let bytes = &bytes[at..at + small.length as usize];
        (Crc32c::of(bytes) == small.crc).then_some(bytes)
    }

    /// True if all that it claims to have is equal to `memory`, and a complete one has everything.
    /// Returns the number of bytes that are there.
    #[track_caller]
    pub(super) fn assert_right(&self, bytes: &[u8], memory: &[u8]) -> u64 {
        let small = [("dmesg", LOG), ("stack", STACK)];
        let is_complete = self.header.state == DiskState::COMPLETE;
        for (name, expected) in small {
            let there = self.view(bytes, name);
            assert!(there.is_none_or(|there| there == expected), "{name}");
            assert!(!is_complete || there.is_some(), "{name}");
        }
        let mut seen = vec![false; memory.len().div_ceil(CHUNK as usize)];
        let mut there = 0;
        for chunk in self.chunks() {
            assert!(!core::mem::replace(&mut seen[chunk.entry.chunk as usize], true));
            let start = chunk.entry.start() as usize;
            let expected = &memory[start..memory.len().min(start + CHUNK as usize)];
            let at = (self.entry.offset + chunk.at) as usize;
            let stored = &bytes[at..at + chunk.entry.stored as usize];
            let mut pages = vec![0xee; expected.len().next_multiple_of(PAGE as usize)];
            let (length, room) = (memory.len() as u64, &mut vec![0; CHUNK as usize]);
            chunk.entry.decode(stored, length, room, &mut pages).expect("whole");
            assert!(pages.starts_with(expected), "chunk {}", chunk.entry.chunk);
            there += expected.len() as u64;
        }
        assert!(!is_complete || there == memory.len() as u64, "{there} bytes");
        assert_eq!(self.header.pages.all(), there.div_ceil(PAGE));
        there
    }
}

#[test]
fn a_disk_that_is_not_ours_is_stopped_and_never_written() {
    let clock = FakeClock::default();
    let strange = Disk::new(vec![0x55; 8192]);
    assert!(matches!(open(&strange, &clock).err(), Some(TargetError::NotADumpDisk(_))));
    let header = DiskHeader::new(DiskId([1; 16])).encode();
    let other = Disk::new([header, header].concat());
    assert_eq!(open(&other, &clock).err(), Some(TargetError::OtherDumpDisk(DiskId([1; 16]))));
    for disk in [strange, other] {
        assert_eq!(disk.borrow().writes, 0);
        assert_eq!(disk.borrow().base.status, 0);
    }
}

#[test]
fn dumps_lie_side_by_side() {
    let disk = Disk::new(formatted(room_for(2)));
    let memories = [memory(1), memory(2)];
    for memory in &memories {
        deliver(&disk, memory, WriteOptions::default()).expect("room for two");
    }
    let bytes = &disk.borrow().bytes;
    let (directory, dumps) = stored(bytes);
    assert!(directory.dumps.as_slice().iter().all(|dump| dump.state == DiskState::COMPLETE));
    assert_eq!(dumps.len(), 2);
    for (dump, memory) in dumps.iter().zip(&memories) {
        dump.assert_right(bytes, memory);
        assert_eq!(dump.header.contents, Contents::OldMem { start: 0x10_0000 });
        assert_eq!(dump.header.stage, u32::from(Stage::Done.code()));
        assert_eq!(dump.header.views()[1].start, 0xc000_1000);
        let unused = dump.entry.length - dump.header.committed;
        assert!(unused < 4 * PAGE, "the next one fits in its place");
        assert!(!dump.header.checksums && !dump.header.no_room);
        // One run of whole chunks, and the two pages after it.
        let counts: Vec<_> = dump.segments[0].iter().map(StoredChunks::count).collect();
        assert_eq!((dump.segments.len(), &counts[..]), (1, &[48, 1][..]));
    }
}

/// Contiguous memory goes out in requests of 1 MiB, and all else takes few.
#[test]
fn requests_are_as_large_as_they_can_be() {
    let disk = Disk::new(formatted(room_for(1)));
    deliver(&disk, &memory(1), WriteOptions::default()).expect("room");
    let disk = disk.borrow();
    let lengths = disk.log.iter().filter_map(|done| match done {
        crate::fake::Done::Write(_, bytes) => Some(bytes.len()),
        crate::fake::Done::Flush => None,
    });
    let large: Vec<_> = lengths.filter(|length| *length > 2 * BLOCK).collect();
    assert_eq!(large, [1 << 20; 3]);
    // Directory, log, header; stack, header; the rest of the bulk, segment; header; directory.
    assert_eq!((disk.writes, disk.flushes), (3 + 2 + 3 + 2 + 1 + 1, 5));
}

#[test]
fn a_full_disk_keeps_its_complete_dumps_unless_told_otherwise() {
    let disk = Disk::new(formatted(room_for(2)));
    let memories = [memory(1), memory(2), memory(3)];
    for memory in &memories[..2] {
        deliver(&disk, memory, WriteOptions::default()).expect("room for two");
    }
    // Not even the first small views have room.
    let end = stored(&disk.borrow().bytes).1[1].entry.end() as usize;
    disk.borrow_mut().bytes.truncate(end + 2 * BLOCK);
    let refused = deliver(&disk, &memories[2], WriteOptions::default());
    assert!(matches!(refused, Err(TargetError::DiskFull { have: 8192, .. })), "{refused:?}");
    let (directory, dumps) = stored(&disk.borrow().bytes);
    assert_eq!((directory.refused.captures, dumps.len()), (1, 2));
    let replacing = WriteOptions { replace_complete: true, ..WriteOptions::default() };
    disk.borrow_mut().bytes.resize(room_for(2), 0);
    deliver(&disk, &memories[2], replacing).expect("the oldest goes");
    let (directory, dumps) = stored(&disk.borrow().bytes);
    assert_eq!(directory.refused.captures, 0);
    for (dump, memory) in dumps.iter().zip(&memories[1..]) {
        dump.assert_right(&disk.borrow().bytes, memory);
        assert_eq!(dump.header.state, DiskState::COMPLETE);
    }
    let numbers: Vec<_> = dumps.iter().map(|dump| dump.entry.sequence).collect();
    assert_eq!(numbers, [2, 3]);
}

#[test]
fn a_partial_dump_goes_without_being_told() {
    let disk = Disk::new(formatted(room_for(1)));
    disk.borrow_mut().fails = 11..12;
    let memory = memory(1);
    deliver(&disk, &memory, WriteOptions::default()).expect_err("a write failed");
    let bytes = disk.borrow().bytes.clone();
    let (_, dumps) = stored(&bytes);
    assert_eq!(dumps[0].header.state, DiskState::FAILED);
    deliver(&disk, &memory, WriteOptions::default()).expect("its place is free");
    let (_, dumps) = stored(&disk.borrow().bytes);
    assert_eq!(dumps.last().map(|dump| dump.header.state), Some(DiskState::COMPLETE));
}

/// The directory was not written any more after the dump's own header.
#[test]
fn a_complete_dump_is_not_given_up_because_the_directory_is_behind() {
    let disk = Disk::new(formatted(room_for(1)));
    deliver(&disk, &memory(1), WriteOptions::default()).expect("room for one");
    let (mut directory, _) = stored(&disk.borrow().bytes);
    directory.dumps.set_state(1, DiskState::IN_PROGRESS);
    disk.borrow_mut().bytes[..2 * BLOCK]
        .copy_from_slice(&[directory.encode(), directory.encode()].concat());
    let delivered = deliver(&disk, &memory(2), WriteOptions::default());
    assert!(matches!(delivered, Err(TargetError::NoRoom { there: 0, .. })), "{delivered:?}");
    stored(&disk.borrow().bytes).1[0].assert_right(&disk.borrow().bytes, &memory(1));
}

#[test]
fn checksums_are_those_of_memory() {
    let disk = Disk::new(formatted(room_for(1)));
    let memory = memory(1);
    let options = WriteOptions { checksums: true, memory: &Pointers, ..WriteOptions::default() };
    deliver(&disk, &memory, options).expect("room for one");
    let (_, dumps) = stored(&disk.borrow().bytes);
    assert!(dumps[0].header.checksums);
    for chunk in dumps[0].chunks() {
        let start = chunk.entry.start() as usize;
        let bytes = &memory[start..memory.len().min(start + CHUNK as usize)];
        assert_eq!(chunk.entry.crc, Some(Crc32c::of(bytes)));
    }
    dumps[0].assert_right(&disk.borrow().bytes, &memory);
}

/// Readable up to here.
struct Half<'m>(&'m [u8]);

impl ReadPhys for Half<'_> {
    fn read_phys(&self, at: PhysAddr, into: &mut [u8]) -> Result<(), Error> {
        match at.get() - physical(self.0).get() {
            offset if offset < 1 << 20 => Pointers.read_phys(at, into),
            _ => Err(Error::MachineCheck { at }),
        }
    }
}

#[test]
fn what_the_cpu_cannot_read_has_no_checksum_and_is_there() {
    let disk = Disk::new(formatted(room_for(1)));
    let memory = memory(1);
    let half = Half(&memory);
    let options = WriteOptions { checksums: true, memory: &half, ..WriteOptions::default() };
    deliver(&disk, &memory, options).expect("room for one");
    let (_, dumps) = stored(&disk.borrow().bytes);
    let checked = dumps[0].chunks().filter(|chunk| chunk.entry.crc.is_some()).count();
    assert_eq!((checked, dumps[0].header.checksums), (16, false));
    dumps[0].assert_right(&disk.borrow().bytes, &memory);
}

/// The CPU copies memory for compression: memory that it cannot read costs its pages, which are
/// named.
#[test]
fn what_the_cpu_cannot_read_is_left_out_where_it_compresses() {
    let disk = Disk::new(formatted(room_for(1)));
    let mut memory = memory(1);
    let half = Half(&memory);
    let options = WriteOptions { codec: Codec::Lz4, memory: &half, ..WriteOptions::default() };
    deliver(&disk, &memory, options).expect("room for one");
    memory[1 << 20..].fill(0);
    let (_, dumps) = stored(&disk.borrow().bytes);
    dumps[0].assert_right(&disk.borrow().bytes, &memory);
    let pages = dumps[0].header.pages;
    assert_eq!(pages.of(PageClass::Unreadable), (LENGTH as u64 - (1 << 20)) / PAGE);
    assert_eq!(pages.kept(), (1 << 20) / PAGE);
    assert!(dumps[0].header.checksums, "nothing is stored without one");
}

/// Pages of noise, of text and of zeros; each chunk has another mixture.
pub(super) fn mixed(seed: u8) -> Vec<u8> {
    let mut state = u32::from(seed) + 1;
    let mut bytes = memory(seed);
    for (page, bytes) in bytes.chunks_mut(BLOCK).enumerate() {
        match (page / 16 + page) % 3 {
            0 => bytes.fill_with(|| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            }),
            1 => bytes.fill(0),
            _ => {}
        }
    }
    // Whole chunks of noise, which no codec makes shorter.
    bytes[10 << 16..14 << 16].fill_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    });
    bytes
}

#[test]
fn compressed_chunks_and_raw_ones_lie_side_by_side() {
    let disk = Disk::new(formatted(room_for(1)));
    let memory = mixed(1);
    deliver(&disk, &memory, hurried(Codec::Lz4, false)).expect("room for one");
    let (_, dumps) = stored(&disk.borrow().bytes);
    dumps[0].assert_right(&disk.borrow().bytes, &memory);
    assert!(dumps[0].header.checksums && dumps[0].header.codec == Codec::Lz4);
    let stored = dumps[0].chunks().filter(|chunk| chunk.entry.stored > 0);
    let (packed, raw): (Vec<_>, Vec<_>) = stored.partition(|one| one.entry.codec == Codec::Lz4);
    assert!(packed.len() > 10 && raw.len() >= 4, "{} {}", packed.len(), raw.len());
    assert!(packed.iter().any(|chunk| chunk.at % PAGE != 0), "packed without gaps");
    assert!(raw.iter().all(|chunk| chunk.at % PAGE == 0 && chunk.entry.crc.is_some()));
    assert!(dumps[0].header.pages.of(PageClass::Zero) > 200);
    assert_eq!(dumps[0].entry.length, dumps[0].header.committed, "the rest is free again");
}

/// Left-out pages take no room: neither holes, nor the zeros between PT_LOADs, nor whole chunks of
/// them.
#[test]
fn what_is_left_out_is_named_and_takes_no_room() {
    let disk = Disk::new(formatted(2 << 20));
    let memory = memory(1);
    let part =
        |pages: core::ops::Range<usize>| range(&memory[pages.start * BLOCK..pages.end * BLOCK]);
    let view = Extents::new(vec![
        Extent::Bytes(vec![0xab; 3 * BLOCK]),
        Extent::Phys(part(3..8)),
        Extent::Left(PageClass::Offline, 6 * PAGE),
        Extent::Zero(2 * PAGE),
        Extent::Left(PageClass::Free, 100_000 * CHUNK),
        Extent::Phys(part(16..48)),
    ]);
    let dump = dump_of(view.expect("small"), 1);
    deliver_dump(&disk, &dump, WriteOptions::default()).expect("40 pages");
    let (_, dumps) = stored(&disk.borrow().bytes);
    let pages = dumps[0].header.pages;
    assert_eq!((pages.kept(), pages.of(PageClass::Offline), pages.of(PageClass::Zero)), (40, 6, 2));
    assert_eq!(pages.of(PageClass::Free), 100_000 * PAGES as u64);
    let counts: Vec<_> = dumps[0].segments[0].iter().map(StoredChunks::count).collect();
    assert_eq!(counts, [1, 65_536, 34_464, 2]);
    let chunks: Vec<_> = dumps[0].segments[0].iter().map(|chunks| chunks.entry).collect();
    let at = (dumps[0].entry.offset + dumps[0].segments[0][0].at) as usize;
    let stored = &disk.borrow().bytes[at..at + chunks[0].stored as usize];
    assert!(
        stored[..3 * BLOCK] == [0xab; 3 * BLOCK]
            && stored[3 * BLOCK..] == memory[3 * BLOCK..8 * BLOCK]
    );
    assert!(dumps[0].entry.length < 64 * PAGE);
}

#[test]
fn a_view_that_cannot_be_stored_costs_nothing_else() {
    let disk = Disk::new(formatted(room_for(1)));
    let memory = memory(1);
    let mut dump = dump(&memory);
    let strange = NamedView { name: "No Name", ..dump.first[0].clone() };
    let unreadable = NamedView { name: "old", ..dump.bulk.clone().expect("there is one") };
    dump.first.splice(1..1, [strange, dump.first[0].clone(), unreadable]);
    deliver_dump(&disk, &dump, WriteOptions::default()).expect("room");
    let (_, dumps) = stored(&disk.borrow().bytes);
    let names: Vec<_> = dumps[0].header.views().iter().map(|view| view.name).collect();
    assert_eq!(names, ["dmesg", "stack"].map(|name| ViewName::new(name).expect("a name")));
    dumps[0].assert_right(&disk.borrow().bytes, &memory);
}

/// A disk's answers after a failed flush are worth nothing, even if the next flush succeeds.
#[test]
fn after_a_flush_that_failed_nothing_is_committed() {
    let memory = memory(1);
    let whole = Disk::new(formatted(room_for(1)));
    deliver(&whole, &memory, WriteOptions::default()).expect("room");
    // After the bulk come its flush, that of the header, and the directory's.
    let flush = whole.borrow().flushes - 3;
    let disk = Disk::new(formatted(room_for(1)));
    disk.borrow_mut().bad_flush = Some(flush);
    assert_eq!(
        deliver(&disk, &memory, WriteOptions::default()),
        Err(TargetError::Device(driver::Error::Io(1)))
    );
    let (_, dumps) = stored(&disk.borrow().bytes);
    assert_eq!((dumps[0].header.state, dumps[0].segments.len()), (DiskState::FAILED, 0));
}

#[test]
fn without_a_bulk_there_are_the_small_views() {
    let (disk, clock) = (Disk::new(formatted(room_for(1))), FakeClock::default());
    let without = Dump { bulk: None, ..dump(&[0; BLOCK]) };
    let mut stages = Vec::new();
    let mut target = open(&disk, &clock).expect("is ours");
    let delivered = target.deliver(&without, &mut |stage| stages.push(stage));
    assert_eq!((delivered, stages), (Err(TargetError::NothingToSend), vec![Stage::FirstByte]));
    let (directory, dumps) = stored(&disk.borrow().bytes);
    assert_eq!(dumps[0].view(&disk.borrow().bytes, "dmesg"), Some(LOG));
    assert_eq!(dumps[0].view(&disk.borrow().bytes, "stack"), Some(STACK));
    assert_eq!(dumps[0].header.state, DiskState::FAILED);
    assert_eq!(directory.dumps.as_slice()[0].state, DiskState::FAILED);
}

#[test]
fn too_small_for_anything_and_read_only() {
    let disk = Disk::new(formatted(4 * BLOCK));
    let refused = deliver(&disk, &memory(1), WriteOptions::default());
    let Err(TargetError::TooSmall { need, have: 8192 }) = refused else { panic!("{refused:?}") };
    assert!((LENGTH as u64..LENGTH as u64 + 10 * PAGE).contains(&need), "{need}");
    let (directory, _) = stored(&disk.borrow().bytes);
    assert_eq!((directory.refused.captures, directory.refused.need), (1, need));
    assert!(disk.borrow().bytes[2 * BLOCK..].iter().all(|byte| *byte == 0xee));

    let before = disk.borrow().writes;
    disk.borrow_mut().base.features |= 1 << 5;
    assert_eq!(deliver(&disk, &memory(1), WriteOptions::default()), Err(TargetError::ReadOnly));
    assert_eq!(disk.borrow().writes, before);
}

/// A disk of each size that is too small, raw and compressed: the small views that have room, and
/// as much of the dump as fits, the urgent part first, exact.
#[test]
fn something_always_gets_out() {
    let memory = mixed(1);
    let urgent = [0..5, 20 * CHUNK + 9..22 * CHUNK];
    for codec in [Codec::Raw, Codec::Lz4] {
        let mut last = 0;
        for blocks in [5, 6, 7, 8, 9, 10, 26, 43, 44, 58, 60, 90, 300, 301] {
            let disk = Disk::new(formatted(blocks * BLOCK));
            let parts = urgent.to_vec();
            let urgent = Urgent::new(move || parts.clone());
            let dump = Dump { urgent, ..dump(&memory) };
            let delivered = deliver_dump(&disk, &dump, hurried(codec, false));
            let bytes = &disk.borrow().bytes;
            let (directory, dumps) = stored(bytes);
            let there = dumps[0].assert_right(bytes, &memory);
            let failure = TargetError::NoRoom { there, length: LENGTH as u64 };
            assert_eq!(delivered, Err(failure), "{blocks} blocks");
            assert_eq!(dumps[0].header.state, DiskState::PARTIAL);
            assert_eq!(directory.dumps.as_slice()[0].state, DiskState::PARTIAL);
            assert!(dumps[0].header.no_room && dumps[0].entry.end() <= bytes.len() as u64);
            assert_eq!(dumps[0].view(bytes, "dmesg"), Some(LOG), "{blocks} blocks");
            assert_eq!(dumps[0].view(bytes, "stack").is_some(), blocks >= 7, "{blocks} blocks");
            let order: Vec<_> = dumps[0].chunks().map(|chunk| chunk.entry.chunk).collect();
            let expected = [0, 20, 21].into_iter().chain(1..20).chain(22..);
            assert!(expected.zip(&order).all(|(expected, chunk)| expected == *chunk), "{order:?}");
            assert!(there >= last, "{blocks} blocks");
            last = there;
        }
        assert!(last > 250 * PAGE);
    }
}

/// The bound that a place is found for is never too small, and not much too large: any pages, any
/// codec.
#[test]
fn the_bound_has_room_for_everything() {
    let memory = mixed(3);
    for (kept, left) in [(1, 1), (15, 1), (16, 16), (1, 16), (3, 40), (16, 1), (1, 33)] {
        let mut extents = Vec::new();
        for at in (0..LENGTH / BLOCK - kept).step_by(kept + left) {
            extents.push(Extent::Phys(range(&memory[at * BLOCK..(at + kept) * BLOCK])));
            extents.push(Extent::Left(PageClass::User, left as u64 * PAGE));
        }
        let view = Extents::new(extents).expect("small");
        let size = BulkSize::of(&view);
        for codec in [Codec::Raw, Codec::Lz4] {
            for least in [PAGE, 1 << 20, LEAST_SEGMENT] {
                let most = size.most(least);
                let disk = Disk::new(formatted((2 + 2 + 1 + 2) * BLOCK + most as usize));
                let options = WriteOptions { least, ..hurried(codec, false) };
                deliver_dump(&disk, &dump_of(view.clone(), 1), options).expect("room");
                let (_, dumps) = stored(&disk.borrow().bytes);
                assert_eq!(dumps[0].header.state, DiskState::COMPLETE);
                let slack = most - (dumps[0].header.committed - dumps[0].header.bulk_start);
                let segments = most - size.pages * PAGE;
                assert!(codec == Codec::Lz4 || slack <= segments, "{kept}+{left}: {slack}");
            }
        }
    }
}

#[test]
fn disks_of_older_versions_are_refused_in_words() {
    for version in [1, 2] {
        let disk = Disk::new(formatted(room_for(1)));
        let mut block = DiskHeader::new(OURS).encode();
        block[8] = version;
        block[4092..].fill(0);
        let crc = Crc32c::of(&block);
        block[4092..].copy_from_slice(&crc.to_le_bytes());
        disk.borrow_mut().bytes[..2 * BLOCK].copy_from_slice(&[block, block].concat());
        let failure = deliver(&disk, &memory(1), WriteOptions::default()).expect_err("refused");
        let said = std::string::ToString::to_string(&failure);
        assert!(
            said.starts_with("the dump disk has version")
                && said.contains("kdump-collector format")
        );
        assert_eq!(disk.borrow().writes, 0);
    }
}

/// A disk that merges requests fails several at once. Data that was sent before them is there, even
/// if the segment was closed already.
#[test]
fn after_several_failed_writes_what_came_before_them_is_there() {
    let memory = memory(1);
    for options in [
        WriteOptions::default(),
        WriteOptions { checksums: true, memory: &Pointers, ..WriteOptions::default() },
    ] {
        let disk = Disk::new(formatted(room_for(1)));
        let clock = FakeClock::default();
        let (place, _) =
            open(&disk, &clock).expect("is ours").find_place(&dump(&memory)).expect("room");
        // The bulk's second and third MiB.
        let bulk = (place.region + place.header.bulk_start) as usize + BLOCK;
        let disk = Disk::new(formatted(room_for(1)));
        disk.borrow_mut().bad = bulk + (1 << 20)..bulk + (3 << 20);
        let failed = deliver(&disk, &memory, options);
        assert_eq!(failed, Err(TargetError::Device(driver::Error::Io(1))));
        let (directory, dumps) = stored(&disk.borrow().bytes);
        assert_eq!(directory.dumps.as_slice()[0].state, DiskState::FAILED);
        let there = dumps[0].assert_right(&disk.borrow().bytes, &memory);
        assert_eq!((dumps[0].header.state, there), (DiskState::FAILED, 1 << 20));
        assert_eq!(dumps[0].header.stage, u32::from(Stage::FirstByte.code()));
    }
}

/// Many small segments are closed before the header names them. One byte of the bulk cannot be
/// written: everything before it is there.
#[test]
fn segments_that_were_closed_before_a_failure_are_cut() {
    let memory = memory(1);
    let mut extents = Vec::new();
    // Pages that are no neighbours: each is a piece of its own.
    for page in memory.chunks(BLOCK).step_by(2) {
        extents.push(Extent::Phys(range(page)));
        extents.push(Extent::Left(PageClass::User, CHUNK - PAGE));
    }
    let dump = dump_of(Extents::new(extents).expect("small"), 1);
    for bad in [0, 1, 125, 126, 127, 128, 200, 252, 253, 254, 300, 380] {
        let disk = Disk::new(formatted(room_for(1)));
        let clock = FakeClock::default();
        let (place, _) = open(&disk, &clock).expect("is ours").find_place(&dump).expect("room");
        let at = (place.region + place.header.bulk_start) as usize + bad * BLOCK;
        let disk = Disk::new(formatted(room_for(1)));
        disk.borrow_mut().bad = at..at + 1;
        assert_eq!(
            deliver_dump(&disk, &dump, WriteOptions::default()),
            Err(TargetError::Device(driver::Error::Io(1)))
        );
        let (_, dumps) = stored(&disk.borrow().bytes);
        let count = dumps[0].chunks().count();
        // A request that failed is lost as a whole: at most 32 pieces.
        let before = bad - bad.div_ceil(127);
        assert!(count <= before && count + 32 > before, "{bad}: {count}");
        for chunk in dumps[0].chunks() {
            let at = (dumps[0].entry.offset + chunk.at) as usize;
            let page = 2 * chunk.entry.chunk as usize * BLOCK;
            assert!(disk.borrow().bytes[at..at + BLOCK] == memory[page..page + BLOCK]);
        }
    }
}

/// The directory's last word is of use, but the dump's own header has said it before.
#[test]
fn a_header_block_that_fails_costs_no_dump() {
    let disk = Disk::new(formatted(room_for(1)));
    disk.borrow_mut().bad = 0..512;
    deliver(&disk, &memory(1), WriteOptions::default()).expect("the second header will do");
    let (_, dumps) = stored(&disk.borrow().bytes);
    assert_eq!(dumps[0].header.state, DiskState::COMPLETE);
    let disk = Disk::new(formatted(room_for(1)));
    disk.borrow_mut().bad = BLOCK..BLOCK + 512;
    assert_eq!(
        deliver(&disk, &memory(1), WriteOptions::default()),
        Err(TargetError::Device(driver::Error::Io(1)))
    );
    assert!(
        disk.borrow().bytes[..2 * BLOCK] == formatted(2 * BLOCK),
        "its headers are as they were"
    );
}

/// A block of the small views fails, not the directory: then the disk states the outcome of the
/// dump.
#[test]
fn a_small_view_that_fails_is_told() {
    let disk = Disk::new(formatted(room_for(1)));
    disk.borrow_mut().bad = 4 * BLOCK..4 * BLOCK + 1;
    assert_eq!(
        deliver(&disk, &memory(1), WriteOptions::default()),
        Err(TargetError::Device(driver::Error::Io(1)))
    );
    let (directory, dumps) = stored(&disk.borrow().bytes);
    assert_eq!(directory.dumps.as_slice()[0].state, DiskState::FAILED);
    assert_eq!(dumps[0].header.state, DiskState::FAILED);
    assert_eq!(dumps[0].view(&disk.borrow().bytes, "dmesg"), None);
}

/// The end of each page is zeros, which all come from one page of ours.
fn pages_with_gaps(memory: &[u8]) -> Extents {
    let pages = memory.chunks(BLOCK).flat_map(|page| {
        let half = PhysRange::new(physical(page), BLOCK as u64 / 2).expect("no wrap");
        [Extent::Phys(half), Extent::Zero(BLOCK as u64 / 2)]
    });
    Extents::new(pages.collect()).expect("small")
}

/// A disk that answers late, and fails one write before those that it had first. Whoever waits on
/// this clock is answered, one request after the other.
#[test]
fn zeros_in_flight_stay_zeros_when_a_neighbour_fails() {
    let disk = Disk::new(formatted(room_for(1)));
    let looks = core::cell::Cell::new((0, 0));
    let tick = || {
        let Ok(mut disk) = disk.try_borrow_mut() else { return };
        let (seen, since) = looks.get();
        let now = disk.waiting();
        looks.set(if now == seen { (seen, since + 1) } else { (now, 0) });
        if looks.get().1 > 4 {
            disk.answer_one();
        }
    };
    let clock = FakeClock::with(&tick);
    let mut target = open(&disk, &clock).expect("is ours");
    let memory = memory(1);
    let bulk =
        NamedView { view: Rc::new(pages_with_gaps(&memory)), ..dump(&memory).bulk.expect("one") };
    let dump = Dump { bulk: Some(bulk), ..dump(&memory) };
    let (place, _) = target.find_place(&dump).expect("room");
    let bulk = (place.region + place.header.bulk_start) as usize + BLOCK;
    {
        let mut disk = disk.borrow_mut();
        disk.lags = true;
        disk.bad = bulk + 40 * BLOCK..bulk + 41 * BLOCK;
    }
    let delivered = target.deliver(&dump, &mut |_| ());
    assert!(delivered.is_err());
    // It may still answer its open requests at any time.
    while disk.borrow_mut().answer_one() {}
    for done in &disk.borrow().log {
        if let crate::fake::Done::Write(at, bytes) = done
            && *at >= bulk
            && !bytes.starts_with(b"KDRSSEGM")
        {
            let pages = bytes.chunks(BLOCK);
            assert!(pages.into_iter().all(|page| page[BLOCK / 2..] == [0; BLOCK / 2]), "{at}");
        }
    }
}

/// A disk that answers so many requests, one after the other, and then no more: its memory is never
/// changed, neither by an attempt to store the outcome of the dump nor by dropping the target.
#[test]
fn a_disk_that_falls_silent_keeps_what_it_has() {
    let mut kinds = std::collections::BTreeSet::new();
    for answers in 0..40 {
        let disk = Disk::new(formatted(room_for(1)));
        let left = core::cell::Cell::new(answers);
        let tick = || {
            let Ok(mut disk) = disk.try_borrow_mut() else { return };
            if left.get() > 0 && disk.answer_one() {
                left.set(left.get() - 1);
            }
        };
        let clock = FakeClock::with(&tick);
        let mut target = open(&disk, &clock).expect("is ours");
        disk.borrow_mut().lags = true;
        let (memory, options) = (memory(1), hurried(Codec::Raw, false));
        target = target.with(options);
        if target.deliver(&dump(&memory), &mut |_| ()).is_ok() {
            break;
        }
        assert!(target.stop().is_err());
        drop(target);
        let others: Vec<_> = (0..16).map(|_| vec![0x55_u8; 4096]).collect();
        disk.borrow_mut().assert_memory_unchanged();
        kinds.insert(disk.borrow().waiting());
        while disk.borrow_mut().answer_one() {}
        assert_eq!(others.len(), 16);
    }
    assert!(kinds.len() > 1, "with one request in flight and with several: {kinds:?}");
}

#[test]
fn a_disk_with_large_blocks_is_refused() {
    let (disk, clock) = (Disk::new(formatted(room_for(1))), FakeClock::default());
    disk.borrow_mut().base.features |= 1 << 6;
    disk.borrow_mut().block_size = 8192;
    assert_eq!(open(&disk, &clock).err(), Some(TargetError::LargeBlocks(8192)));
    assert_eq!(disk.borrow().base.status, 0, "it is stopped");
}
