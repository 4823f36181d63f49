//! What a disk holds after a dump, and after what can go wrong. What is read back is read with
//! `dumpfile`, whose encodings have tests of their own.

use super::*;
pub(super) use crate::fake::Pointers;
use crate::fake::{Disk, FakeClock, FakeTransport, physical, slot};
use crate::virtio::blk::VirtioBlk;
use core::cell::RefCell;
use dumpfile::Contents;
use dumpfile::Crc32c;
use dumpfile::disk::{CHUNK, Mark, TableBlock, v1};
use std::rc::Rc;
use std::vec;
use std::vec::Vec;
use vmcore::{Extent, Extents, PhysAddr, PhysRange};

pub(super) const OURS: DiskId = DiskId([0xa5; 16]);
/// Length of [`memory`] in bytes: three chunks and a bit.
pub(super) const LENGTH: usize = 3 * CHUNK as usize + 2 * BLOCK;
pub(super) const LOG: &[u8] = b"[    1.0] the last words\n";

/// Old memory of one machine: other bytes for each seed.
pub(super) fn memory(seed: u8) -> Vec<u8> {
    let mut bytes = vec![0; LENGTH];
    for (number, sector) in bytes.chunks_mut(512).enumerate() {
        sector.fill((number as u8).wrapping_mul(31) ^ (number >> 8) as u8 ^ seed);
    }
    bytes
}

/// All of `memory` and a log.
pub(super) fn dump(memory: &[u8]) -> Dump {
    let range = PhysRange::new(physical(memory), memory.len() as u64).expect("no wrap");
    let view = |name, extent| {
        let view = Rc::new(Extents::new(vec![extent]).expect("small"));
        NamedView { name, view, start: 0 }
    };
    Dump {
        id: [0; 16],
        first: vec![
            view("dmesg", Extent::Bytes(LOG.to_vec())),
            NamedView { start: 0xc000_1000, ..view("stack", Extent::Bytes(vec![7; 5000])) },
        ],
        bulk: Some(view("oldmem", Extent::Phys(range))),
        contents: Contents::OldMem { start: 0x10_0000 },
        ..Dump::default()
    }
}

/// An empty disk of so many bytes.
pub(super) fn formatted(length: usize) -> Vec<u8> {
    let mut bytes = vec![0xee; length];
    let header = DiskHeader::new(OURS).encode();
    bytes[..2 * BLOCK].copy_from_slice(&[header, header].concat());
    bytes
}

/// Room for so many dumps.
pub(super) fn room_for(dumps: usize) -> usize {
    2 * BLOCK + dumps * (LENGTH + 7 * BLOCK)
}

type Target_<'c> = DumpDisk<'c, VirtioBlk<'c, FakeTransport<Disk>>>;

pub(super) fn open<'c>(
    disk: &Rc<RefCell<Disk>>,
    clock: &'c FakeClock<'c>,
) -> Result<Target_<'c>, Failure> {
    let device = VirtioBlk::start(FakeTransport::new(disk), slot(), clock, 10_000)?;
    DumpDisk::open(device, OURS, slot(), clock)
}

/// Has a disk take a dump of `memory`.
pub(super) fn deliver(
    disk: &Rc<RefCell<Disk>>,
    memory: &[u8],
    manner: Manner<'_>,
) -> Result<(), Failure> {
    let clock = FakeClock::default();
    open(disk, &clock)?.with(manner).deliver(&dump(memory), &mut |_| ())
}

/// A dump as it is on a disk.
pub(super) struct Stored {
    pub(super) entry: DumpEntry,
    pub(super) header: DumpHeader,
    pub(super) marks: Vec<Mark>,
}

/// The dumps on a disk that have a header, and the directory.
pub(super) fn stored(bytes: &[u8]) -> (DiskHeader, Vec<Stored>) {
    let found = FoundDisk::decode(bytes);
    let Ok(FoundDisk::V2 { header, .. }) = found else { panic!("{found:?}") };
    let dumps = header.dumps.as_slice().iter().filter_map(|entry| {
        let region = &bytes[entry.offset as usize..][..entry.length as usize];
        let header = DumpHeader::decode_copies(region, OURS, entry).ok()?;
        let table = &region[header.table_offset as usize..];
        let (block, _) = TableBlock::decode_copies(table, &header, 0);
        let marks = block.marks[..header.chunks() as usize].to_vec();
        Some(Stored { entry: *entry, header, marks })
    });
    (header, dumps.collect())
}

impl Stored {
    /// A chunk's bytes.
    pub(super) fn chunk<'b>(&self, bytes: &'b [u8], chunk: usize) -> &'b [u8] {
        let (start, end) = self.header.chunk_range(chunk as u64);
        let bulk = (self.entry.offset + self.header.bulk_offset) as usize;
        &bytes[bulk + start as usize..bulk + end as usize]
    }

    /// Whether all that it says is there is equal to `memory`.
    #[track_caller]
    pub(super) fn assert_right(&self, bytes: &[u8], memory: &[u8]) {
        for (small, expected) in self.header.views().iter().zip([LOG, &[7; 5000]]) {
            let at = (self.entry.offset + small.offset) as usize;
            let is_there = bytes[at..at + small.length as usize] == *expected;
            // When it was their write that failed, the checksum says so.
            assert!(is_there || self.header.state == DiskState::FAILED, "{:?}", small.name);
            assert_eq!(small.crc, Crc32c::of(expected));
        }
        let whole = self.header.state == DiskState::COMPLETE;
        for (chunk, mark) in self.marks.iter().enumerate() {
            let (start, end) = self.header.chunk_range(chunk as u64);
            let expected = &memory[start as usize..end as usize];
            assert!(!whole || *mark != Mark::Absent, "chunk {chunk} of a complete dump");
            if *mark != Mark::Absent {
                assert!(self.chunk(bytes, chunk) == expected, "chunk {chunk}");
            }
            if let Mark::Checked(crc) = mark {
                assert_eq!(*crc, Crc32c::of(expected));
            }
        }
    }

    fn marked(&self) -> usize {
        self.marks.iter().filter(|mark| **mark != Mark::Absent).count()
    }
}

#[test]
fn a_disk_that_is_not_ours_is_stopped_and_never_written() {
    let clock = FakeClock::default();
    let strange = Disk::new(vec![0x55; 8192]);
    assert!(matches!(open(&strange, &clock).err(), Some(Failure::NotADumpDisk(_))));
    let header = DiskHeader::new(DiskId([1; 16])).encode();
    let other = Disk::new([header, header].concat());
    assert_eq!(open(&other, &clock).err(), Some(Failure::OtherDumpDisk(DiskId([1; 16]))));
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
        deliver(&disk, memory, Manner::default()).expect("room for two");
    }
    let bytes = &disk.borrow().bytes;
    let (directory, dumps) = stored(bytes);
    assert!(directory.dumps.as_slice().iter().all(|dump| dump.state == DiskState::COMPLETE));
    assert_eq!(dumps.len(), 2);
    for (dump, memory) in dumps.iter().zip(&memories) {
        dump.assert_right(bytes, memory);
        assert_eq!((dump.header.state, dump.marked()), (DiskState::COMPLETE, 4));
        assert_eq!(dump.header.contents, Contents::OldMem { start: 0x10_0000 });
        assert_eq!(dump.header.stage, u32::from(Stage::Done.code()));
        assert_eq!(dump.header.views()[1].start, 0xc000_1000);
        assert!(dump.marks.iter().all(|mark| *mark == Mark::Whole));
    }
}

#[test]
fn a_full_disk_keeps_its_complete_dumps_unless_told_otherwise() {
    let disk = Disk::new(formatted(room_for(2)));
    let memories = [memory(1), memory(2), memory(3)];
    for memory in &memories[..2] {
        deliver(&disk, memory, Manner::default()).expect("room for two");
    }
    let refused = deliver(&disk, &memories[2], Manner::default());
    assert!(matches!(refused, Err(Failure::DiskFull { have: 0, .. })), "{refused:?}");
    let (directory, dumps) = stored(&disk.borrow().bytes);
    assert_eq!((directory.refused.captures, dumps.len()), (1, 2));
    let replacing = Manner { replace_complete: true, ..Manner::default() };
    deliver(&disk, &memories[2], replacing).expect("the oldest goes");
    let (directory, dumps) = stored(&disk.borrow().bytes);
    assert_eq!(directory.refused.captures, 0);
    for (dump, memory) in dumps.iter().zip(&memories[1..]) {
        dump.assert_right(&disk.borrow().bytes, memory);
        assert_eq!(dump.marked(), 4);
    }
    let numbers: Vec<_> = dumps.iter().map(|dump| dump.entry.sequence).collect();
    assert_eq!(numbers, [2, 3]);
}

#[test]
fn a_partial_dump_goes_without_being_told() {
    let disk = Disk::new(formatted(room_for(1)));
    disk.borrow_mut().fails = 20..21;
    let memory = memory(1);
    deliver(&disk, &memory, Manner::default()).expect_err("a write failed");
    let bytes = disk.borrow().bytes.clone();
    let (_, dumps) = stored(&bytes);
    assert_eq!(dumps[0].header.state, DiskState::FAILED);
    deliver(&disk, &memory, Manner::default()).expect("its place is free");
    let (_, dumps) = stored(&disk.borrow().bytes);
    assert_eq!((dumps[0].entry.sequence, dumps[0].header.state), (2, DiskState::COMPLETE));
}

/// The directory was not written any more after the dump's own header.
#[test]
fn a_complete_dump_is_not_given_up_because_the_directory_is_behind() {
    let disk = Disk::new(formatted(room_for(1)));
    deliver(&disk, &memory(1), Manner::default()).expect("room for one");
    let (mut directory, _) = stored(&disk.borrow().bytes);
    directory.dumps.set_state(1, DiskState::IN_PROGRESS);
    disk.borrow_mut().bytes[..2 * BLOCK]
        .copy_from_slice(&[directory.encode(), directory.encode()].concat());
    let refused = deliver(&disk, &memory(2), Manner::default());
    assert!(matches!(refused, Err(Failure::DiskFull { .. })), "{refused:?}");
    stored(&disk.borrow().bytes).1[0].assert_right(&disk.borrow().bytes, &memory(1));
}

#[test]
fn checksums_are_those_of_memory() {
    let disk = Disk::new(formatted(room_for(1)));
    let memory = memory(1);
    let manner = Manner { checksums: true, memory: &Pointers, ..Manner::default() };
    deliver(&disk, &memory, manner).expect("room for one");
    let (_, dumps) = stored(&disk.borrow().bytes);
    assert!(dumps[0].header.checksums);
    assert!(dumps[0].marks.iter().all(|mark| matches!(mark, Mark::Checked(_))));
    dumps[0].assert_right(&disk.borrow().bytes, &memory);
}

/// Readable up to here.
struct Half<'m>(&'m [u8]);

impl ReadPhys for Half<'_> {
    fn read_phys(&self, at: PhysAddr, into: &mut [u8]) -> Result<(), Error> {
        match at.get() - physical(self.0).get() {
            offset if offset < CHUNK => Pointers.read_phys(at, into),
            _ => Err(Error::MachineCheck { at }),
        }
    }
}

#[test]
fn what_the_cpu_cannot_read_has_no_checksum_and_is_there() {
    let disk = Disk::new(formatted(room_for(1)));
    let memory = memory(1);
    let half = Half(&memory);
    let manner = Manner { checksums: true, memory: &half, ..Manner::default() };
    deliver(&disk, &memory, manner).expect("room for one");
    let (_, dumps) = stored(&disk.borrow().bytes);
    assert!(matches!(
        dumps[0].marks[..],
        [Mark::Checked(_), Mark::Whole, Mark::Whole, Mark::Whole]
    ));
}

#[test]
fn a_view_that_cannot_be_stored_costs_nothing_else() {
    let (disk, clock) = (Disk::new(formatted(room_for(1))), FakeClock::default());
    let memory = memory(1);
    let mut dump = dump(&memory);
    let strange = NamedView { name: "No Name", ..dump.first[0].clone() };
    let unreadable = NamedView { name: "old", ..dump.bulk.clone().expect("there is one") };
    dump.first.splice(1..1, [strange, dump.first[0].clone(), unreadable]);
    open(&disk, &clock).expect("is ours").deliver(&dump, &mut |_| ()).expect("room");
    let (_, dumps) = stored(&disk.borrow().bytes);
    let names: Vec<_> = dumps[0].header.views().iter().map(|view| view.name).collect();
    assert_eq!(names, ["dmesg", "stack"].map(|name| ViewName::new(name).expect("a name")));
    dumps[0].assert_right(&disk.borrow().bytes, &memory);
}

/// What a disk says after a flush that failed is worth nothing, even when the next flush succeeds.
#[test]
fn after_a_flush_that_failed_nothing_is_marked() {
    let memory = memory(1);
    let flushes = |disk: &Rc<RefCell<Disk>>| {
        let log = &disk.borrow().log;
        log.iter().filter(|done| **done == crate::fake::Done::Flush).count()
    };
    let whole = Disk::new(formatted(room_for(1)));
    deliver(&whole, &memory, Manner::default()).expect("room");
    // Behind the bulk come the flushes before the marks, before the header, behind it, and the last.
    let disk = Disk::new(formatted(room_for(1)));
    disk.borrow_mut().bad_flush = Some(flushes(&whole) - 4);
    assert_eq!(deliver(&disk, &memory, Manner::default()), Err(Failure::Io(1)));
    let (_, dumps) = stored(&disk.borrow().bytes);
    assert_eq!((dumps[0].header.state, dumps[0].marked()), (DiskState::FAILED, 0));
}

#[test]
fn without_a_bulk_there_are_the_small_views() {
    let (disk, clock) = (Disk::new(formatted(room_for(1))), FakeClock::default());
    let without = Dump { bulk: None, ..dump(&[0; BLOCK]) };
    let mut stages = Vec::new();
    let mut target = open(&disk, &clock).expect("is ours");
    let delivered = target.deliver(&without, &mut |stage| stages.push(stage));
    assert_eq!((delivered, stages), (Err(Failure::NothingToSend), vec![Stage::FirstByte]));
    let (directory, dumps) = stored(&disk.borrow().bytes);
    dumps[0].assert_right(&disk.borrow().bytes, &[]);
    assert_eq!(dumps[0].header.state, DiskState::FAILED);
    assert_eq!(directory.dumps.as_slice()[0].state, DiskState::FAILED);
}

#[test]
fn too_small_and_read_only() {
    let disk = Disk::new(formatted(1 << 20));
    let refused = deliver(&disk, &memory(1), Manner::default());
    let need = (room_for(1) - 2 * BLOCK) as u64;
    let have = (1 << 20) - 2 * BLOCK as u64;
    assert_eq!(refused, Err(Failure::TooSmall { need, have }));
    let (directory, _) = stored(&disk.borrow().bytes);
    assert_eq!((directory.refused.captures, directory.refused.need), (1, need));
    assert!(disk.borrow().bytes[2 * BLOCK..].iter().all(|byte| *byte == 0xee));

    let before = disk.borrow().writes;
    disk.borrow_mut().base.features |= 1 << 5;
    assert_eq!(deliver(&disk, &memory(1), Manner::default()), Err(Failure::ReadOnly));
    assert_eq!(disk.borrow().writes, before);
}

#[test]
fn version_1_is_brought_up_to_date_when_it_holds_nothing() {
    let old = v1::DiskHeader::new(OURS);
    for state in [DiskState::EMPTY, DiskState::IN_PROGRESS, DiskState::FAILED] {
        let disk = Disk::new(vec![0xee; room_for(1)]);
        let header = v1::DiskHeader { state, length: 5, ..old }.encode();
        disk.borrow_mut().bytes[..BLOCK].copy_from_slice(&header);
        let memory = memory(1);
        deliver(&disk, &memory, Manner::default()).expect("room for one");
        let (_, dumps) = stored(&disk.borrow().bytes);
        dumps[0].assert_right(&disk.borrow().bytes, &memory);
    }
    for state in [DiskState::COMPLETE, DiskState(77)] {
        let disk = Disk::new(vec![0xee; room_for(1)]);
        let header = v1::DiskHeader { state, length: 5, ..old }.encode();
        disk.borrow_mut().bytes[..BLOCK].copy_from_slice(&header);
        assert_eq!(deliver(&disk, &memory(1), Manner::default()), Err(Failure::OldDump));
        assert_eq!(disk.borrow().writes, 0);
    }
}

/// A disk that merges requests fails several at once. What was sent before them is there.
#[test]
fn after_several_failed_writes_the_dump_still_says_so() {
    let disk = Disk::new(formatted(room_for(1)));
    let memory = memory(1);
    let clock = FakeClock::default();
    let mut target = open(&disk, &clock).expect("is ours");
    let place = target.reserve(&dump(&memory)).expect("room");
    drop(target);
    // The bulk's second and third MiB, wherever they come in the order of requests.
    let bulk = (place.region + place.header.bulk_offset) as usize;
    let disk = Disk::new(formatted(room_for(1)));
    disk.borrow_mut().bad = bulk + (1 << 20)..bulk + (3 << 20);
    let failed = deliver(&disk, &memory, Manner::default());
    assert_eq!(failed, Err(Failure::Io(1)));
    let (directory, dumps) = stored(&disk.borrow().bytes);
    assert_eq!(directory.dumps.as_slice()[0].state, DiskState::FAILED);
    dumps[0].assert_right(&disk.borrow().bytes, &memory);
    assert_eq!((dumps[0].header.state, dumps[0].marked()), (DiskState::FAILED, 1));
    assert_eq!(dumps[0].header.stage, u32::from(Stage::FirstByte.code()));
}

/// The directory's last word is of use, but the dump's own header has said it before.
#[test]
fn a_header_block_that_fails_costs_no_dump() {
    let disk = Disk::new(formatted(room_for(1)));
    disk.borrow_mut().bad = 0..512;
    deliver(&disk, &memory(1), Manner::default()).expect("the second header will do");
    let (_, dumps) = stored(&disk.borrow().bytes);
    assert_eq!(dumps[0].header.state, DiskState::COMPLETE);
    let disk = Disk::new(formatted(room_for(1)));
    disk.borrow_mut().bad = BLOCK..BLOCK + 512;
    assert_eq!(deliver(&disk, &memory(1), Manner::default()), Err(Failure::Io(1)));
    assert!(disk.borrow().bytes == formatted(room_for(1)), "as it was");
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
    let place = target.reserve(&dump).expect("room");
    let bulk = (place.region + place.header.bulk_offset) as usize;
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
        {
            let pages = bytes.chunks(BLOCK);
            assert!(pages.into_iter().all(|page| page[BLOCK / 2..] == [0; BLOCK / 2]), "{at}");
        }
    }
}

/// A disk that answers so many requests, one after the other, and then no more: what it has is never
/// changed, by no attempt to bring out what became of the dump, and also not by dropping the target.
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
        let (memory, manner) = (memory(1), Manner { pace: 1, ..Manner::default() });
        target = target.with(manner);
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
    assert_eq!(open(&disk, &clock).err(), Some(Failure::LargeBlocks(8192)));
    assert_eq!(disk.borrow().base.status, 0, "it is stopped");
}
