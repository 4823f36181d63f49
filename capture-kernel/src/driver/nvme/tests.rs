//! The driver over a fake controller.

use super::*;
use crate::driver::dma::{DmaPiece, Pool, ZEROS};
use crate::fake::{FakeClock, Pages, Space, Ssd, SsdRegisters, logged, old, slot};
use core::cell::RefCell;
use proptest::prelude::*;
use std::rc::Rc;
use std::string::ToString;
use std::vec;

const TIMEOUT: u64 = 200;
/// Bits of the registers for the state that a dead kernel leaves.
const ENABLED: u32 = 4 << 20 | 6 << 16 | 1;
const READY: u32 = 1;
const FATAL: u32 = 1 << 1;
const SHUTTING_DOWN: u32 = 1 << 2;
const SHUT_DOWN: u32 = 2 << 2;

type Device<'c> = Nvme<'c, SsdRegisters>;

fn start<'c>(ssd: &Rc<RefCell<Ssd>>, clock: &'c FakeClock) -> Result<Device<'c>, Error> {
    let mut device = Nvme::start(SsdRegisters(ssd.clone()), slot(), clock, TIMEOUT)?;
    device.select(0)?;
    Ok(device)
}

fn one(piece: DmaPiece) -> Pieces {
    [piece].into_iter().collect()
}

/// Memory of so many pages: other bytes on each.
fn pages(count: usize) -> Pages {
    let bytes: Vec<u8> = (0..count).flat_map(|page| [(page as u8).wrapping_add(1); 4096]).collect();
    Pages::new(&bytes)
}

/// A write of `memory` in requests as long as the device takes, twice each with a piece of zeros
/// before, and read back.
fn round_trip(ssd: &Rc<RefCell<Ssd>>) {
    let clock = FakeClock::default();
    let mut device = start(ssd, &clock).expect("starts");
    let most = device.limits().bytes as usize;
    let memory = pages(40 + most / 4096);
    let all = memory.bytes();
    let mut at = 0;
    for part in all.chunks(most - 4096) {
        let pieces = [DmaPiece::Zeros(ZEROS), old(part)].into_iter().collect();
        device.write(at as u64, pieces).expect("is taken");
        at += 4096 + part.len();
    }
    device.flush().expect("arrives");
    let mut back = vec![1; at];
    device.read(0, &mut back).expect("reads");
    let expected: Vec<u8> =
        all.chunks(most - 4096).flat_map(|part| [&[0; 4096], part].concat()).collect();
    assert!(back == expected, "other bytes");
    let shift = device.block_size() as usize;
    device.read(4096, &mut back[..shift]).expect("one block");
    assert_eq!(back[..shift], all[..shift]);
    device.stop().expect("stops");
    assert_eq!((ssd.borrow().status & READY, ssd.borrow().resets), (0, 1));
}

/// Blocks, MDTS, entries of a queue, commands at a time, distance of doorbells.
#[test]
fn data_arrives_whatever_the_controller_can() {
    for (shift, mdts, entries, commands, stride) in [
        (9, 7, 64, 0, 0),
        (12, 0, 1024, 0, 0),
        (9, 1, 2, 0, 0),
        (12, 5, 3, 0, 2),
        (9, 8, 65536, 1, 0),
        (12, 9, 5, 3, 6),
    ] {
        let ssd = Ssd::with(vec![Space::new(7, vec![0xee; 4 << 20], shift)]);
        {
            let mut ssd = ssd.borrow_mut();
            ssd.capabilities = (entries - 1) | 1 << 16 | 2 << 24 | 1 << 37 | stride << 32;
            ssd.controller[77] = mdts;
            ssd.controller[514] = commands;
        }
        round_trip(&ssd);
    }
}

/// As many commands at a time as there is room for, and no more.
#[test]
fn commands_in_flight() {
    for (entries, commands, most) in [(64, 0, 16), (17, 0, 16), (16, 0, 15), (2, 0, 1), (64, 4, 4)]
    {
        let (ssd, clock) = (Ssd::new(vec![0; 1 << 20]), FakeClock::default());
        ssd.borrow_mut().capabilities = (entries - 1) | 1 << 37;
        ssd.borrow_mut().controller[514] = commands;
        let mut device = start(&ssd, &clock).expect("starts");
        ssd.borrow_mut().lags = true;
        let memory = pages(1);
        for number in 0..most {
            device.write(number * 4096, one(old(memory.bytes()))).expect("is taken");
        }
        assert_eq!(device.write(0, one(old(memory.bytes()))), Err(UNFINISHED));
        assert_eq!(ssd.borrow().most_in_flight as u64, most);
        assert_eq!((device.written_below(), device.stop()), (0, Err(UNFINISHED)));
        let answer = |ssd: &mut Ssd| ssd.answer(ssd.waiting() / 2);
        while answer(&mut ssd.borrow_mut()) {}
        device.drain().and_then(|()| device.stop()).expect("all are back");
    }
}

/// Each state of the registers in which a dead kernel may have left the controller, and the words
/// on the console.
#[test]
fn it_starts_from_any_state() {
    const LATE: &str = "NVMe: still shutting down after 200 ms; it is reset all the same";
    for (configuration, status, times, word) in [
        (0, 0, [Some(3); 2], ""),
        (ENABLED, READY, [Some(3); 2], ""),
        (ENABLED, 0, [Some(40), Some(3)], ""),
        (ENABLED, FATAL, [Some(3); 2], ""),
        (ENABLED, READY | FATAL, [Some(3); 2], ""),
        (0, READY, [Some(3); 2], ""),
        (ENABLED | 1 << 14, READY | SHUTTING_DOWN, [Some(3), Some(40)], ""),
        (ENABLED | 1 << 14, READY | SHUT_DOWN, [Some(3); 2], ""),
        (ENABLED | 1 << 14, READY | SHUTTING_DOWN, [Some(3), None], LATE),
    ] {
        let ssd = Ssd::new(vec![0xee; 4 << 20]);
        {
            let mut ssd = ssd.borrow_mut();
            (ssd.configuration, ssd.status) = (configuration, status);
            [ssd.start_time, ssd.shutdown_time] = times;
        }
        let clock = FakeClock::default();
        let (device, said) = logged(|| start(&ssd, &clock).map(|mut device| device.stop()));
        device.expect("starts").expect("stops");
        let still = said.iter().find(|line| line.contains("still"));
        assert_eq!(still.map_or("", |line| line.as_str()), word);
    }
}

/// The error of a device that is used a little, and the time until then.
fn first_error(change: impl FnOnce(&mut Ssd)) -> (Error, u64) {
    let (ssd, clock) = (Ssd::new(vec![0; 64 << 10]), FakeClock::default());
    change(&mut ssd.borrow_mut());
    let memory = pages(1);
    let tried = start(&ssd, &clock).and_then(|mut device| {
        for at in [0, 4096] {
            device.write(at, one(old(memory.bytes())))?;
        }
        device.read(0, &mut [0; 4096])?;
        device.flush()
    });
    (tried.expect_err("it does not work"), clock.milliseconds())
}

fn status(kind: u8, code: u8) -> Error {
    Error::Nvme(Status { kind, code })
}

#[test]
fn a_device_that_misbehaves_is_an_error_in_time() {
    type Change = fn(&mut Ssd);
    let cases: [(Change, Error); 24] = [
        (|ssd| ssd.start_time = None, Error::Timeout("become ready")),
        (
            |ssd| (ssd.configuration, ssd.status, ssd.stop_time) = (1, 1, None),
            Error::Timeout("stop"),
        ),
        (|ssd| ssd.fails_to_start = true, Error::Fatal),
        (|ssd| ssd.is_gone = true, Error::Removed),
        (|ssd| ssd.gone_after = Some(1), Error::Removed),
        (|ssd| ssd.fatal_after = Some(2), Error::Fatal),
        (|ssd| ssd.stalls_after = Some(1), UNFINISHED),
        (|ssd| ssd.stalls_after = Some(3), UNFINISHED),
        (|ssd| (ssd.fails, ssd.failure) = (1..2, 0x280), status(2, 0x80)),
        (|ssd| (ssd.fails, ssd.failure) = (3..4, 0x20), status(0, 0x20)),
        (|ssd| ssd.refuses = Some((0x06, None)), UNFINISHED),
        (|ssd| ssd.refuses = Some((0x06, Some(6))), status(0, 6)),
        (|ssd| ssd.refuses = Some((0x09, Some(2))), status(0, 2)),
        (|ssd| ssd.refuses = Some((0x05, Some(0x102))), status(1, 2)),
        (|ssd| ssd.refuses = Some((0x01, None)), UNFINISHED),
        (|ssd| ssd.answers_with = Some(5), Error::BadAnswer(5)),
        (|ssd| ssd.answers_with = Some(0xffff), Error::BadAnswer(0xffff)),
        (|ssd| ssd.answers_for = Some(0), Error::BadQueue(0)),
        (|ssd| ssd.answers_for = Some(9), Error::BadQueue(9)),
        (|ssd| ssd.capabilities = 1 << 37, Error::QueueTooShort(1)),
        (|ssd| ssd.capabilities &= !(1 << 37), Error::Unsupported("it has no NVM command set")),
        (|ssd| ssd.capabilities |= 1 << 48, Error::Unsupported("it knows no pages of 4096 bytes")),
        (|ssd| ssd.capabilities |= 15 << 32, Error::Unsupported("its registers have no doorbells")),
        (|ssd| ssd.spaces.clear(), Error::Unsupported("it has no active namespace")),
    ];
    for (number, (change, expected)) in cases.into_iter().enumerate() {
        let (failure, time) = first_error(change);
        assert_eq!(failure, expected, "case {number}");
        assert!(time < 4 * TIMEOUT, "case {number}: {time} ms");
    }
    let (twice, _) = first_error(|ssd| ssd.answers_twice = true);
    assert!(matches!(twice, Error::BadAnswer(_)), "{twice}");
    let (late, _) = first_error(|ssd| ssd.answers_late = true);
    assert!(matches!(late, Error::BadAnswer(_)), "{late}");
}

#[test]
fn statuses_have_words() {
    let (failure, _) = first_error(|ssd| (ssd.fails, ssd.failure) = (1..2, 0x280));
    assert_eq!(failure.to_string(), "the device reported an error: write fault, status 2/0x80");
    let text = status(0, 0x20).to_string();
    assert_eq!(text, "the device reported an error: namespace is write protected, status 0/0x20");
    assert!(status(6, 1).to_string().ends_with("unknown, status 6/0x01"));
}

/// A limit of the controller's that is longer than kdump.timeout does not count, and is reported.
#[test]
fn a_controller_that_asks_for_more_time_does_not_get_it() {
    let (ssd, clock) = (Ssd::new(vec![0; 4096]), FakeClock::default());
    ssd.borrow_mut().capabilities |= 255 << 24;
    ssd.borrow_mut().start_time = None;
    let (failure, said) = logged(|| start(&ssd, &clock).err());
    assert_eq!(failure, Some(Error::Timeout("become ready")));
    assert_eq!(said, ["NVMe: may take 127500 ms to be ready, kdump.timeout allows 200"]);
    assert!(clock.milliseconds() < 2 * TIMEOUT);
}

/// Fields of the answers to Identify: offset and value in that about the controller, and in that
/// about the namespace.
#[test]
fn answers_that_fit_no_dump_disk() {
    let metadata = "the namespace has blocks with metadata";
    let protection = "the namespace has end-to-end protection";
    let sizes = "its queues have no entries of ordinary size";
    for (controller, namespace, expected) in [
        (Some((111, 2)), None, Error::Unsupported("it is no I/O controller")),
        (Some((512, 0x77)), None, Error::Unsupported(sizes)),
        (Some((513, 0x33)), None, Error::Unsupported(sizes)),
        (Some((512, 0)), None, Error::Unsupported(sizes)),
        (None, Some((29, 1)), Error::Unsupported(protection)),
        (None, Some((128 + 8, 8)), Error::Unsupported(metadata)),
        (None, Some((26, 0)), Error::BlockSize(1)),
        (None, Some((128 + 10, 10)), Error::BlockSize(1024)),
        (None, Some((128 + 10, 13)), Error::BlockSize(8192)),
        (None, Some((128 + 10, 255)), Error::BlockSize(0)),
        (None, Some((0, 0)), Error::Unsupported("the namespace is not active")),
        (None, Some((7, 0xff)), Error::Unsupported("its size is no number of bytes")),
    ] {
        let (failure, _) = first_error(|ssd| {
            ssd.controller[controller.map_or(0, |(at, _)| at)] = controller.map_or(0, |(_, to)| to);
            if let Some((at, to)) = namespace {
                let answer = &mut ssd.spaces[0].answer;
                (answer[0], answer[1]) = (if at == 0 { 0 } else { answer[0] }, 0);
                answer[at] = to;
            }
        });
        assert_eq!(failure, expected);
    }
}

#[test]
fn a_write_protected_namespace_is_read_only() {
    let (ssd, clock) = (Ssd::new(vec![0; 4096]), FakeClock::default());
    assert!(!start(&ssd, &clock).expect("starts").is_read_only());
    ssd.borrow_mut().spaces[0].answer[99] = 1;
    assert!(start(&ssd, &clock).expect("starts").is_read_only());
}

/// Several namespaces, one of which is not active and one of which has protection.
#[test]
fn one_namespace_at_a_time() {
    let spaces = [(2, 9), (3, 9), (9, 12)]
        .map(|(id, shift)| Space::new(id, vec![id as u8; 8192 * id as usize], shift));
    let (ssd, clock) = (Ssd::with(spaces.into()), FakeClock::default());
    ssd.borrow_mut().spaces[1].answer[29] = 2;
    ssd.borrow_mut().list = Some(vec![2, 3, 5, 9, 9, 10]);
    let mut device = start(&ssd, &clock).expect("starts");
    let names: Vec<_> = (0..device.disks()).map(|n| device.disk_name(n).to_string()).collect();
    assert_eq!(names.concat(), ", namespace 2, namespace 3, namespace 5, namespace 9");
    let mut selected = |index| {
        device.select(index).map(|()| {
            let mut bytes = [0; 4096];
            device.read(4096, &mut bytes).expect("reads");
            (bytes[0], device.capacity(), device.block_size())
        })
    };
    assert_eq!(selected(0), Ok((2, 2 * 8192, 512)));
    assert_eq!(selected(1), Err(Error::Unsupported("the namespace has end-to-end protection")));
    assert_eq!(selected(2), Err(status(0, 0x0b)));
    assert_eq!(selected(3), Ok((9, 9 * 8192, 4096)));
    assert_eq!(selected(4), Err(Error::NoConfiguration));
    assert_eq!(device.read(0, &mut [0; 512]), Err(Error::NoConfiguration));
    device.select(0).expect("is there");
    assert_eq!(device.write(256, one(DmaPiece::Zeros(4096))), Err(Error::Misaligned(256)));
}

/// A controller before NVMe 1.1 has no list: all numbers are tried. And a long list has an end.
#[test]
fn lists_of_namespaces() {
    let (ssd, clock) = (Ssd::new(vec![0; 4096]), FakeClock::default());
    let disks = || start(&ssd, &clock).expect("starts").disks();
    ssd.borrow_mut().list = Some((1..1025).collect());
    assert_eq!(disks(), 256);
    ssd.borrow_mut().list = Some(vec![1, u32::MAX, 2]);
    assert_eq!(disks(), 1);
    let number = |count: u32| identify::all(count).expect("memory").len();
    assert_eq!([0, 3, u32::MAX].map(number), [0, 3, 256]);
}

/// The cache is flushed where there is one; a flush that fails leaves nothing certain.
#[test]
fn the_cache_is_flushed() {
    let (ssd, clock) = (Ssd::new(vec![0; 8192]), FakeClock::default());
    let mut device = start(&ssd, &clock).expect("starts");
    device.flush().expect("works");
    assert_eq!((ssd.borrow().requests, device.written_below()), (1, u64::MAX));
    ssd.borrow_mut().fails = 2..3;
    ssd.borrow_mut().failure = 6;
    device.write(4096, one(DmaPiece::Zeros(4096))).expect("is taken");
    assert_eq!((device.flush(), device.written_below()), (Err(status(0, 6)), 0));
    device.settle().and_then(|()| device.stop()).expect("all is back");
    ssd.borrow_mut().controller[525] = 0;
    start(&ssd, &clock).and_then(|mut device| device.flush()).expect("has no cache");
    assert_eq!(ssd.borrow().requests, 3);
}

/// Data that is not in whole pages, or too much of it.
#[test]
fn data_that_no_prp_list_can_have() {
    let (ssd, clock) = (Ssd::new(vec![0; 8 << 20]), FakeClock::default());
    let mut device = start(&ssd, &clock).expect("starts");
    let memory = pages(260);
    for part in [512..4608, 0..257 * 4096] {
        let written = device.write(0, one(old(&memory.bytes()[part])));
        assert_eq!(written, Err(Error::Fragmented));
    }
    assert_eq!(ssd.borrow().requests, 0);
}

/// A buffer of the pool with these bytes.
fn frozen(pool: &Pool, byte: u8) -> Option<DmaPiece> {
    let mut lease = pool.lease()?;
    lease.fill(byte);
    Some(DmaPiece::Frozen(lease.freeze(4096), 0..4096))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Writes of any shape, answered late and in any order, some of which fail: until its answer
    /// the memory of each is as it was, and in the end all buffers are back.
    #[test]
    fn memory_of_commands_in_flight_never_changes(
        steps in prop::collection::vec((0_u8..8, any::<u8>(), 1_usize..9), 1..150),
        entries in prop::sample::select(vec![2_u64, 5, 64]),
        stops: bool,
    ) {
        let (ssd, clock) = (Ssd::new(vec![0; 2 << 20]), FakeClock::default());
        ssd.borrow_mut().capabilities = (entries - 1) | 1 << 37;
        let pool = Pool::new(slot(), 8, 4096).expect("memory");
        let memory = pages(1);
        let mut device = start(&ssd, &clock).expect("starts");
        ssd.borrow_mut().lags = true;
        ssd.borrow_mut().failure = 6;
        for (step, value, count) in steps {
            let waiting = ssd.borrow().waiting();
            match step {
                0..4 => {
                    let piece = |number: usize| match number % 3 {
                        0 => frozen(&pool, value).unwrap_or(DmaPiece::Zeros(4096)),
                        1 => old(memory.bytes()),
                        _ => DmaPiece::Zeros(4096),
                    };
                    let _ = device.write(u64::from(value) * 512, (0..count).map(piece).collect());
                }
                4 | 5 if waiting > 0 => drop(ssd.borrow_mut().answer(count % waiting)),
                6 => {
                    let next = ssd.borrow().requests;
                    ssd.borrow_mut().fails = next..next + count % 3;
                }
                _ => drop(device.wait_for_one()),
            }
            ssd.borrow().assert_memory_unchanged();
        }
        if stops {
            while ssd.borrow_mut().answer(0) {}
            device.settle().and_then(|()| device.stop()).expect("all are back");
            let all: Vec<_> = core::iter::from_fn(|| pool.lease()).collect();
            prop_assert_eq!(all.len(), 8);
        }
        drop(device);
        let _rest: Vec<_> = core::iter::from_fn(|| frozen(&pool, 9)).collect();
        ssd.borrow().assert_memory_unchanged();
    }
}

/// Neither an error, nor a stop that fails, nor dropping the driver gives memory back; a buffer that
/// is being filled has no other user.
#[test]
fn a_device_that_does_not_answer_keeps_its_memory() {
    let (ssd, clock) = (Ssd::new(vec![3; 8192]), FakeClock::default());
    let pool = Pool::new(slot(), 4, 4096).expect("memory");
    let mut device = start(&ssd, &clock).expect("starts");
    ssd.borrow_mut().lags = true;
    for byte in 1..3 {
        device.write(0, one(frozen(&pool, byte).expect("is free"))).expect("is taken");
    }
    assert_eq!(device.read(0, &mut [0; 4096]), Err(UNFINISHED));
    while ssd.borrow_mut().answer(0) {}
    assert_eq!(device.read(0, &mut [0; 4096]), Err(UNFINISHED));
    assert_eq!(device.read(4096, &mut [0; 4096]), Err(UNFINISHED));
    assert_eq!(ssd.borrow().waiting(), 1);
    ssd.borrow_mut().lags = false;
    device.write(4096, one(frozen(&pool, 7).expect("is free"))).expect("is taken");
    ssd.borrow_mut().answer(0);
    let mut into = [0; 4096];
    device.read(4096, &mut into).expect("the buffer is back");
    assert_eq!(into, [7; 4096]);
    ssd.borrow_mut().lags = true;
    device.write(0, one(frozen(&pool, 8).expect("is free"))).expect("is taken");
    assert_eq!(device.stop(), Err(UNFINISHED));
    drop(device);
    let rest: Vec<_> = core::iter::from_fn(|| frozen(&pool, 9)).collect();
    drop((rest, pool));
    let others: Vec<_> = (0..8).map(|_| vec![0x55_u8; 4096]).collect();
    assert_eq!((ssd.borrow().waiting(), others.len()), (1, 8));
    assert!(ssd.borrow_mut().answer(0));
}
