//! Power is lost at any moment of a capture, and the disk loses what it was not made to keep.

use super::tests::{OURS, Pointers, deliver, formatted, memory, open, room_for, stored};
use super::*;
use crate::fake::{Disk, Done, FakeClock};
use core::cell::RefCell;
use proptest::prelude::*;
use std::rc::Rc;
use std::vec::Vec;

/// Marks chunks all the time.
fn hurried(checksums: bool, replace_complete: bool) -> Manner<'static> {
    Manner { checksums, replace_complete, pace: 1, memory: &Pointers, ..Manner::default() }
}

/// A disk with one complete dump, of `memory(1)`, and room for `dumps`.
fn disk_with_one(dumps: usize) -> Rc<RefCell<Disk>> {
    let disk = Disk::new(formatted(room_for(dumps)));
    deliver(&disk, &memory(1), Manner::default()).expect("room");
    disk.borrow_mut().log.clear();
    disk
}

/// What is on a disk that began as `bytes` after the first `until` things it has done: those writes
/// that a flush followed, and of the others what `luck` leaves: all, nothing, or a torn part.
fn after_power_loss(mut bytes: Vec<u8>, done: &[Done], until: usize, luck: &[u8]) -> Vec<u8> {
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

/// Every dump that the disk names has only right bytes where it says that they are there. Returns how
/// many chunks are marked of the one with this number.
fn assert_right(bytes: &[u8], number: u64) -> usize {
    let (_, dumps) = stored(bytes);
    for dump in &dumps {
        dump.assert_right(bytes, &memory(dump.entry.sequence as u8));
    }
    let wanted = dumps.iter().find(|dump| dump.entry.sequence == number);
    wanted.map_or(0, |dump| dump.marks.iter().filter(|mark| **mark != Default::default()).count())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// The first dump stays, and the second is right as far as it says so. What it has said before a flush it
    /// still says, whatever becomes of the writes behind that.
    #[test]
    fn what_is_marked_is_right(
        cut in 0.0..1.0, luck in prop::collection::vec(any::<u8>(), 1..9), checksums: bool,
    ) {
        let disk = disk_with_one(2);
        let before = disk.borrow().bytes.clone();
        deliver(&disk, &memory(2), hurried(checksums, false)).expect("room for two");
        let log = disk.borrow().log.clone();
        let until = (cut * (log.len() + 1) as f64) as usize;
        let until = until.min(log.len());
        let flushed = log[..until].iter().rposition(|done| *done == Done::Flush).map_or(0, |at| at + 1);
        let bytes = after_power_loss(before.clone(), &log, until, &luck);
        let kept = after_power_loss(before, &log, flushed, &[100]);
        prop_assert!(assert_right(&bytes, 2) >= assert_right(&kept, 2));
        prop_assert_eq!(assert_right(&bytes, 1), 4);
    }

    /// A dump that is replaced is there as a whole, or not at all.
    #[test]
    fn what_is_replaced_is_given_up_first(
        cut in 0.0..1.0, luck in prop::collection::vec(any::<u8>(), 1..40),
    ) {
        let disk = disk_with_one(1);
        let before = disk.borrow().bytes.clone();
        deliver(&disk, &memory(2), hurried(false, true)).expect("room for one");
        let log = disk.borrow().log.clone();
        let until = (cut * (log.len() + 1) as f64) as usize;
        let bytes = after_power_loss(before, &log, until, &luck);
        assert_right(&bytes, 2);
        let (_, dumps) = stored(&bytes);
        prop_assert!(dumps.iter().all(|dump| dump.entry.sequence != 1 || dump.marks.len() == 4));
    }

    /// After a loss of power there is a next time.
    #[test]
    fn the_next_capture_finds_its_way(
        cut in 0.0..1.0, luck in prop::collection::vec(any::<u8>(), 1..40),
    ) {
        let disk = disk_with_one(2);
        let before = disk.borrow().bytes.clone();
        deliver(&disk, &memory(2), hurried(false, false)).expect("room for two");
        let log = disk.borrow().log.clone();
        let until = (cut * log.len() as f64) as usize;
        let disk = Disk::new(after_power_loss(before, &log, until, &luck));
        let (directory, dumps) = stored(&disk.borrow().bytes);
        let second = dumps.iter().find(|dump| dump.entry.sequence == 2);
        let is_complete = second.is_some_and(|dump| dump.header.state == DiskState::COMPLETE);
        let next = directory.next;
        match deliver(&disk, &memory(next as u8), Manner::default()) {
            Ok(()) => {
                prop_assert!(!is_complete);
                prop_assert_eq!(assert_right(&disk.borrow().bytes, next), 4);
            }
            Err(failure) => {
                let is_full = matches!(failure, Failure::DiskFull { .. });
                prop_assert!(is_complete && is_full, "{}", failure);
            }
        }
        prop_assert_eq!(assert_right(&disk.borrow().bytes, 1), 4);
    }
}

/// The worst luck for a table that is not believed before a flush: everything up to the cut is there,
/// or nothing that was not flushed. Chunks come in one after the other.
#[test]
fn marks_come_as_the_dump_goes_on() {
    let disk = disk_with_one(2);
    let before = disk.borrow().bytes.clone();
    deliver(&disk, &memory(2), hurried(false, false)).expect("room for two");
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
    assert_eq!(counts, [0, 1, 2, 3, 4]);
}

/// The small views are there for good before the first byte of the bulk is written.
#[test]
fn first_bytes_first() {
    let disk = disk_with_one(2);
    let before = disk.borrow().bytes.clone();
    deliver(&disk, &memory(2), hurried(false, false)).expect("room for two");
    let log = disk.borrow().log.clone();
    let (_, dumps) = stored(&disk.borrow().bytes);
    let bulk = (dumps[1].entry.offset + dumps[1].header.bulk_offset) as usize;
    let is_bulk = |done: &Done| matches!(done, Done::Write(at, _) if *at >= bulk);
    let first = log.iter().position(is_bulk).expect("there is a bulk");
    let bytes = after_power_loss(before, &log, first, &[100]);
    let (_, dumps) = stored(&bytes);
    assert_eq!(dumps[1].header.views().len(), 2);
    dumps[1].assert_right(&bytes, &memory(2));
}

/// A disk was formatted anew with its old id and begins to count anew: what is left of the dump that had
/// the same number and place is never mixed with the new one.
#[test]
fn nothing_is_taken_for_a_part_of_another_dump() {
    let disk = disk_with_one(1);
    let header = DiskHeader::new(OURS).encode();
    disk.borrow_mut().bytes[..2 * BLOCK].copy_from_slice(&[header, header].concat());
    let before = disk.borrow().bytes.clone();
    deliver(&disk, &memory(2), hurried(false, false)).expect("it is empty");
    let log = disk.borrow().log.clone();
    let (old, new) = (memory(1), memory(2));
    for until in 0..=log.len() {
        let bytes = after_power_loss(before.clone(), &log, until, &[0]);
        for dump in stored(&bytes).1 {
            let marked = (0..dump.marks.len()).filter(|at| dump.marks[*at] != Default::default());
            let start = |chunk: usize| dump.header.chunk_range(chunk as u64).0 as usize;
            let is_of = |memory: &[u8], chunk: usize| {
                memory[start(chunk)..].starts_with(dump.chunk(&bytes, chunk))
            };
            let is_all_of = |memory: &[u8]| marked.clone().all(|chunk| is_of(memory, chunk));
            assert!(is_all_of(&old) || is_all_of(&new), "after {until} requests");
        }
    }
}

/// Any one request fails: in words, and what is on the disk is right.
#[test]
fn an_io_error_at_any_request() {
    let requests = {
        let disk = disk_with_one(2);
        let before = disk.borrow().requests;
        deliver(&disk, &memory(2), hurried(false, false)).expect("room for two");
        disk.borrow().requests - before
    };
    let mut failed = 0;
    for number in 0..requests {
        let disk = disk_with_one(2);
        let first = disk.borrow().requests + number;
        disk.borrow_mut().fails = first..first + 1;
        let delivered = deliver(&disk, &memory(2), hurried(false, false));
        let bytes = disk.borrow().bytes.clone();
        let marked = assert_right(&bytes, 2);
        assert_eq!(assert_right(&bytes, 1), 4, "request {number}");
        match delivered {
            Ok(()) => assert_eq!(marked, 4, "request {number}"),
            Err(failure) => {
                let io = matches!(failure, Failure::Io(1));
                assert!(io || matches!(failure, Failure::NotADumpDisk(_)), "{failure}");
                failed += 1;
            }
        }
    }
    assert!(failed + 2 == requests, "all but the directory's last write and its flush");
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
            let mut target = target.with(hurried(false, false));
            target.deliver(&super::tests::dump(&memory), &mut |stage| stages.push(stage))
        });
        assert!(matches!(delivered, Err(Failure::Timeout(_))), "{number}: {delivered:?}");
        assert_eq!(assert_right(&disk.borrow().bytes, 1), 4);
        assert_right(&disk.borrow().bytes, 2);
    }
}
