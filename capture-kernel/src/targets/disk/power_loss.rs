//! Power is lost at any moment of a capture, and the disk loses data that it need not keep.

use super::WriteOptions;
use super::tests::{
    LENGTH, LOG, OURS, deliver, deliver_dump, dump, formatted, hurried, memory, mixed, named, open,
    room_for, stored,
};
use crate::driver;
use crate::dump::Dump;
use crate::fake::{Disk, Done, FakeClock};
use crate::targets::Target;
use crate::targets::TargetError;
use core::cell::RefCell;
use dumpfile::chunk::Codec;
use dumpfile::disk::BLOCK;
use dumpfile::{DiskHeader, DiskState};
use handoff::Stage;
use proptest::prelude::*;
use std::rc::Rc;
use std::vec::Vec;

pub(super) const ALL: u64 = LENGTH as u64;

/// A disk with one complete dump, of `memory(1)`, and room for `dumps`.
pub(super) fn disk_with_one(dumps: usize) -> Rc<RefCell<Disk>> {
    let disk = Disk::new(formatted(room_for(dumps)));
    deliver(&disk, &memory(1), WriteOptions::default()).expect("room");
    disk.borrow_mut().log.clear();
    disk
}

/// Contents of a disk that began as `bytes` after the first `until` events: the writes that a flush
/// followed, and of the others the part that `luck` leaves: all, nothing, or a torn part.
pub(super) fn after_power_loss(
    mut bytes: Vec<u8>,
    done: &[Done],
    until: usize,
    luck: &[u8],
) -> Vec<u8> {
    let done = &done[..until];
    let flushed = done.iter().rposition(|done| *done == Done::Flush).unwrap_or(0);
    let mut luck = luck.iter().cycle();
    for (number, done) in done.iter().enumerate() {
        let Done::Write(at, written) = done else { continue };
        let sectors = written.len() / 512;
        let kept = match luck.next() {
            _ if number < flushed => sectors,
            Some(0..100) => sectors,
            Some(100..200) => 0,
            torn => sectors * usize::from(*torn.unwrap_or(&0) % 8) / 8,
        };
        bytes[*at..*at + kept * 512].copy_from_slice(&written[..kept * 512]);
    }
    bytes
}

/// Every dump that the disk names has only right bytes where it says that they are there. Returns
/// how many bytes of the one with this number are.
#[track_caller]
fn assert_right(bytes: &[u8], number: u64) -> u64 {
    assert_right_of(bytes, number, &memory(2))
}

#[track_caller]
pub(super) fn assert_right_of(bytes: &[u8], number: u64, second: &[u8]) -> u64 {
    let mut found = 0;
    for dump in &stored(bytes).1 {
        let there = match dump.entry.sequence {
            2 => dump.assert_right(bytes, second),
            other => dump.assert_right(bytes, &memory(other as u8)),
        };
        found += if dump.entry.sequence == number { there } else { 0 };
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// The first dump stays, and the second is right as far as it claims. A claim before a flush
    /// holds, whatever happens to later writes.
    #[test]
    fn what_is_committed_is_right(
        cut in 0.0..1.0, luck in prop::collection::vec(any::<u8>(), 1..9), checksums: bool, lz4: bool,
    ) {
        let disk = disk_with_one(2);
        let before = disk.borrow().bytes.clone();
        let codec = if lz4 { Codec::Lz4 } else { Codec::Raw };
        let second = if lz4 { mixed(2) } else { memory(2) };
        let options = WriteOptions { checksums, ..hurried(codec, false) };
        deliver_dump(&disk, &dump(&second), options).expect("room for two");
        let log = disk.borrow().log.clone();
        let until = (cut * (log.len() + 1) as f64) as usize;
        let until = until.min(log.len());
        let flushed = log[..until].iter().rposition(|done| *done == Done::Flush).map_or(0, |at| at + 1);
        let bytes = after_power_loss(before.clone(), &log, until, &luck);
        let kept = after_power_loss(before, &log, flushed, &[100]);
        let there = assert_right_of(&bytes, 2, &second);
        prop_assert!(there >= assert_right_of(&kept, 2, &second));
        prop_assert_eq!(assert_right_of(&bytes, 1, &second), ALL);
    }

    /// A dump that is replaced is there as a whole, or not at all.
    #[test]
    fn what_is_replaced_is_given_up_first(
        cut in 0.0..1.0, luck in prop::collection::vec(any::<u8>(), 1..40),
    ) {
        let disk = disk_with_one(1);
        let before = disk.borrow().bytes.clone();
        deliver(&disk, &memory(2), hurried(Codec::Raw, true)).expect("room for one");
        let log = disk.borrow().log.clone();
        let until = (cut * (log.len() + 1) as f64) as usize;
        let bytes = after_power_loss(before, &log, until, &luck);
        assert_right(&bytes, 2);
        let (directory, dumps) = stored(&bytes);
        let is_named = directory.dumps.as_slice().iter().any(|dump| dump.sequence == 1);
        let is_whole = dumps.iter().any(|dump| dump.entry.sequence == 1);
        prop_assert_eq!(is_named, is_whole);
        prop_assert!(!is_whole || assert_right(&bytes, 1) == ALL);
    }

    /// After a loss of power there is a next time.
    #[test]
    fn the_next_capture_finds_its_way(
        cut in 0.0..1.0, luck in prop::collection::vec(any::<u8>(), 1..40),
    ) {
        let disk = disk_with_one(2);
        let before = disk.borrow().bytes.clone();
        deliver(&disk, &memory(2), hurried(Codec::Raw, false)).expect("room for two");
        let log = disk.borrow().log.clone();
        let until = (cut * log.len() as f64) as usize;
        let disk = Disk::new(after_power_loss(before, &log, until, &luck));
        let (directory, dumps) = stored(&disk.borrow().bytes);
        let second = dumps.iter().find(|dump| dump.entry.sequence == 2);
        let is_complete = second.is_some_and(|dump| dump.header.state == DiskState::COMPLETE);
        let next = directory.next;
        match deliver(&disk, &memory(next as u8), WriteOptions::default()) {
            Ok(()) => {
                prop_assert!(!is_complete);
                prop_assert_eq!(assert_right(&disk.borrow().bytes, next), ALL);
            }
            Err(failure) => {
                let is_full = matches!(failure, TargetError::NoRoom { .. } | TargetError::DiskFull { .. });
                prop_assert!(is_complete && is_full, "{}", failure);
            }
        }
        prop_assert_eq!(assert_right(&disk.borrow().bytes, 1), ALL);
    }
}

/// The worst luck for a log that is not believed before a flush: everything up to the cut is there,
/// or nothing that was not flushed. Runs come in one after the other.
#[test]
fn the_header_names_more_as_the_dump_goes_on() {
    let disk = disk_with_one(2);
    let before = disk.borrow().bytes.clone();
    deliver(&disk, &memory(2), hurried(Codec::Raw, false)).expect("room for two");
    let log = disk.borrow().log.clone();
    let mut counts = Vec::new();
    for until in 0..=log.len() {
        for luck in [0, 100] {
            let bytes = after_power_loss(before.clone(), &log, until, &[luck]);
            let count = assert_right(&bytes, 2);
            if luck == 0 {
                counts.push(count);
            }
        }
    }
    assert!(counts.is_sorted());
    counts.dedup();
    assert_eq!(counts, [0, 1 << 20, 2 << 20, 3 << 20, ALL]);
}

/// The first small views are there for good when the stage says so, and the others before the first
/// byte of the bulk is written: from then on whatever becomes of later writes.
#[test]
fn first_bytes_first() {
    let disk = disk_with_one(2);
    let before = disk.borrow().bytes.clone();
    let (clock, memory, mut told) = (FakeClock::default(), memory(2), None);
    let mut target = open(&disk, &clock).expect("is ours").with(hurried(Codec::Raw, false));
    let reached = &mut |stage| {
        if stage == Stage::FirstByte {
            told = Some(disk.borrow().log.len());
        }
    };
    target.deliver(&dump(&memory), reached).expect("room for two");
    let log = disk.borrow().log.clone();
    let (_, dumps) = stored(&disk.borrow().bytes);
    let bulk = (dumps[1].entry.offset + dumps[1].header.bulk_start) as usize;
    let is_bulk = |done: &Done| matches!(done, Done::Write(at, _) if *at >= bulk);
    let first = log.iter().position(is_bulk).expect("there is a bulk");
    let told = told.expect("the stage is reached");
    assert!(told < first);
    for until in told..=log.len() {
        for luck in [[0, 100], [100, 0], [100, 100], [203, 101]] {
            let bytes = after_power_loss(before.clone(), &log, until, &luck);
            let (_, dumps) = stored(&bytes);
            assert_eq!(dumps[1].view(&bytes, "dmesg"), Some(LOG));
            let is_there = dumps[1].view(&bytes, "stack").is_some();
            assert!(is_there || until < first, "after {until} requests");
        }
    }
}

/// If no dump is given up, one flush is enough for the directory, the first small views and the
/// header: whichever of these writes are lost, and whichever are torn.
#[test]
fn before_the_first_flush_the_order_does_not_matter() {
    let disk = disk_with_one(2);
    let before = disk.borrow().bytes.clone();
    deliver(&disk, &memory(2), hurried(Codec::Raw, false)).expect("room for two");
    let log = disk.borrow().log.clone();
    let until = log.iter().position(|done| *done == Done::Flush).expect("there is one");
    assert_eq!(until, 3, "directory, log, header");
    let mut kinds = Vec::new();
    for luck in (0..27).map(|n| [n % 3, n / 3 % 3, n / 9].map(|kind| [0, 100, 203][kind])) {
        let bytes = after_power_loss(before.clone(), &log, until, &luck);
        assert_eq!(assert_right(&bytes, 2), 0);
        assert_eq!(assert_right(&bytes, 1), ALL);
        let (directory, dumps) = stored(&bytes);
        kinds.push((directory.dumps.as_slice().len(), dumps.len()));
    }
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(kinds, [(1, 1), (2, 1), (2, 2)], "not named, without a header, and with one");
}

/// As long as the directory names a dump that is given up, nothing of it is overwritten: here the
/// small views of the new one are in the place of the old one's bulk.
#[test]
fn what_is_given_up_is_written_over_after_that() {
    let (old, new) = (memory(1), memory(2));
    let disk = Disk::new(formatted(room_for(1) + 9 * BLOCK));
    deliver_with_log(&disk, &old, 1, false);
    disk.borrow_mut().log.clear();
    let before = disk.borrow().bytes.clone();
    deliver_with_log(&disk, &new, 9, true);
    let log = disk.borrow().log.clone();
    let told = log.iter().position(|done| *done == Done::Flush).expect("the directory");
    assert_eq!(told, 1, "it goes alone");
    for until in 0..=log.len() {
        for luck in [&[0][..], &[100], &[0, 100], &[100, 0], &[100, 0, 0], &[100, 100, 0]] {
            let bytes = after_power_loss(before.clone(), &log, until, luck);
            for dump in stored(&bytes).1 {
                let is_old = dump.entry.sequence == 1;
                let there = bulk_of(&dump, &bytes);
                assert!(if is_old { there == old } else { new.starts_with(&there) }, "{until}");
            }
        }
    }
}

/// A disk was formatted anew with its old id and begins to count anew: leftovers of the dump that
/// had the same number and place are never mixed with the new one, nor shown for it, in any order
/// of writes.
#[test]
fn nothing_is_taken_for_a_part_of_another_dump() {
    for (old_log, new_log) in [(1, 1), (1, 9), (9, 1)] {
        let (old, new) = (memory(1), memory(2));
        let disk = Disk::new(formatted(room_for(1) + 20 * BLOCK));
        deliver_with_log(&disk, &old, old_log, false);
        let header = DiskHeader::new(OURS).encode();
        disk.borrow_mut().bytes[..2 * BLOCK].copy_from_slice(&[header, header].concat());
        disk.borrow_mut().log.clear();
        let before = disk.borrow().bytes.clone();
        deliver_with_log(&disk, &new, new_log, false);
        let log = disk.borrow().log.clone();
        for until in 0..=log.len() {
            for luck in [&[0][..], &[100], &[0, 100], &[100, 0], &[0, 0, 100], &[100, 100, 0]] {
                let bytes = after_power_loss(before.clone(), &log, until, luck);
                for dump in stored(&bytes).1 {
                    assert!(new.starts_with(&bulk_of(&dump, &bytes)), "after {until} requests");
                }
            }
        }
    }
}

/// Has the disk take `memory` and a log of so many blocks.
fn deliver_with_log(disk: &Rc<RefCell<Disk>>, memory: &[u8], blocks: usize, replaces: bool) {
    let log = named("dmesg", [6; BLOCK].repeat(blocks));
    let dump = Dump { first: [log].into(), ..dump(memory) };
    deliver_dump(disk, &dump, hurried(Codec::Raw, replaces)).expect("it has room");
}

/// The bytes of a dump's bulk that are there, which is raw and in order.
fn bulk_of(dump: &super::tests::Stored, bytes: &[u8]) -> Vec<u8> {
    let chunks = dump.chunks().flat_map(|chunk| {
        let at = (dump.entry.offset + chunk.at) as usize;
        bytes[at..at + chunk.entry.stored as usize].to_vec()
    });
    chunks.collect()
}

/// Any one request fails: the failure is reported, and the contents of the disk are right.
#[test]
fn an_io_error_at_any_request() {
    for codec in [Codec::Raw, Codec::Lz4] {
        let second = if codec == Codec::Lz4 { mixed(2) } else { memory(2) };
        let requests = {
            let disk = disk_with_one(2);
            let before = disk.borrow().requests;
            deliver_dump(&disk, &dump(&second), hurried(codec, false)).expect("room for two");
            disk.borrow().requests - before
        };
        let mut failed = 0;
        for number in 0..requests {
            let disk = disk_with_one(2);
            let first = disk.borrow().requests + number;
            disk.borrow_mut().fails = first..first + 1;
            let delivered = deliver_dump(&disk, &dump(&second), hurried(codec, false));
            let bytes = disk.borrow().bytes.clone();
            let there = assert_right_of(&bytes, 2, &second);
            assert_eq!(assert_right_of(&bytes, 1, &second), ALL, "request {number}");
            match delivered {
                Ok(()) => assert_eq!(there, ALL, "request {number}"),
                Err(failure) => {
                    let io = matches!(failure, TargetError::Device(driver::Error::Io(1)));
                    assert!(io || matches!(failure, TargetError::NotADumpDisk(_)), "{failure}");
                    failed += 1;
                }
            }
        }
        assert!(failed + 2 == requests, "all but the directory's last write and its flush");
    }
}

/// A device that says nothing any more ends the capture, and later ones.
#[test]
fn a_stall_at_any_request() {
    for number in [0, 1, 2, 5, 9, 14, 20] {
        let disk = disk_with_one(2);
        let first = disk.borrow().requests + number;
        disk.borrow_mut().stalls_after = Some(first);
        let clock = FakeClock::default();
        let (memory, mut stages) = (memory(2), Vec::new());
        let delivered = open(&disk, &clock).and_then(|target| {
            let mut target = target.with(hurried(Codec::Raw, false));
            target.deliver(&dump(&memory), &mut |stage| stages.push(stage))
        });
        assert!(
            matches!(delivered, Err(TargetError::Device(driver::Error::Timeout(_)))),
            "{number}: {delivered:?}"
        );
        assert_eq!(assert_right(&disk.borrow().bytes, 1), ALL);
        assert_right(&disk.borrow().bytes, 2);
    }
}
