//! The driver over a fake HBA.

mod faults;
mod reach;

use super::*;
use crate::driver::controller::{Controller, DiskName};
use crate::driver::dma::{DmaPiece, Pieces, Pool, SlotMemory, ZEROS};
use crate::driver::{BlockDevice, Error};
use crate::fake::ahci::{Fake, Port, Sata, Shared, registers};
use crate::fake::{FakeClock, logged, old, slot};
use proptest::prelude::*;
use std::vec;
use std::vec::Vec;

const TIMEOUT: u64 = 100;
const PAGE: usize = 4096;
const UNFINISHED: Error = Error::Timeout("complete a request");

fn disk(pages: usize) -> Option<Sata> {
    Some(Sata::new(vec![9; pages * PAGE]))
}

fn start_in<'c>(
    hba: &Shared,
    clock: &'c FakeClock<'c>,
    slot: SlotMemory,
) -> Result<Ahci<'c>, Error> {
    quiet(&mut *registers(hba), clock, 2000)?;
    Ahci::start(registers(hba), slot, clock, TIMEOUT)
}

fn start<'c>(hba: &Shared, clock: &'c FakeClock<'c>) -> Result<Ahci<'c>, Error> {
    start_in(hba, clock, slot())
}

/// The disk at the first port.
fn open<'c>(hba: &Shared, clock: &'c FakeClock<'c>) -> Result<Ahci<'c>, Error> {
    let mut ahci = start(hba, clock)?;
    ahci.select(0)?;
    Ok(ahci)
}

fn pieces<const N: usize>(pieces: [DmaPiece; N]) -> Pieces {
    pieces.into_iter().collect()
}

type Change = fn(&mut Fake);

/// All states that a dead kernel or firmware may leave, and all kinds of HBAs and disks that work.
const WORKS: [(&str, Change); 15] = [
    ("as a kernel leaves it", |_| ()),
    ("a port that hangs", |hba| hba.ports[0].hangs = true),
    ("owned by firmware", |hba| hba.firmware = Some(1)),
    ("owned by stubborn firmware", |hba| {
        hba.firmware = Some(1);
        hba.is_stubborn = true;
    }),
    ("two ports, and the reset forgets one", |hba| {
        hba.ports.insert(0, Port::default());
        hba.ports.swap(0, 1);
        (hba.implemented, hba.forgets) = (0b11, true);
    }),
    ("the firmware never told the ports", |hba| hba.implemented = 0),
    ("AHCI is off", |hba| hba.switch_off()),
    ("like QEMU", |hba| hba.like_qemu = true),
    ("an HBA without queuing", |hba| hba.cap &= !(1 << 30)),
    ("a disk without queuing", |hba| hba.disk(0).queue = 0),
    ("a disk that queues one", |hba| hba.disk(0).queue = 1),
    ("a disk that queues two", |hba| hba.disk(0).queue = 2),
    ("one slot", |hba| hba.cap &= !(31 << 8)),
    ("large sectors", |hba| hba.disk(0).sector = 4096),
    ("a short flush only", |hba| hba.disk(0).words = vec![(83, 1 << 14 | 1 << 12 | 1 << 10)]),
];

#[test]
fn it_works_from_any_state_and_of_any_kind() {
    let data: Vec<[u8; PAGE]> = (0..50).map(|page| [page as u8 + 1; PAGE]).collect();
    for (name, change) in WORKS {
        let (hba, clock) = (Fake::new(vec![disk(64)]), FakeClock::default());
        change(&mut hba.borrow_mut());
        let mut ahci = open(&hba, &clock).expect(name);
        assert_eq!(ahci.capacity(), 64 * PAGE as u64, "{name}");
        assert_eq!(ahci.disks(), hba.borrow().ports.len(), "{name}");
        for (at, page) in (0..).step_by(PAGE).zip(&data) {
            let (first, second) = page.split_at(1022);
            ahci.write(at, pieces([old(first), old(second)])).expect(name);
        }
        ahci.write(50 * PAGE as u64, (0..10).map(|_| DmaPiece::Zeros(ZEROS)).collect())
            .expect(name);
        ahci.flush().expect(name);
        let mut all = vec![0; 64 * PAGE];
        ahci.read(0, &mut all).expect(name);
        let expected = [&data.concat()[..], &[0; 10 * PAGE], &[9; 4 * PAGE]].concat();
        assert!(all == expected, "{name}");
        assert_eq!(ahci.written_below(), u64::MAX, "{name}");
        ahci.stop().expect(name);
        let mut hba = hba.borrow_mut();
        assert_eq!((hba.disk(0).writes, hba.disk(0).flushes), (51, 1), "{name}");
        assert_eq!(hba.resets, 2, "{name}: once before and once after");
    }
}

#[test]
fn writes_are_queued_where_hba_and_disk_can() {
    let queued = |change: Change| {
        let (hba, clock) = (Fake::new(vec![disk(32)]), FakeClock::default());
        change(&mut hba.borrow_mut());
        hba.borrow_mut().disk(0).lags = true;
        let mut ahci = open(&hba, &clock).expect("starts");
        let page = [7; PAGE];
        let taken = (0..32)
            .take_while(|number| ahci.write(number * PAGE as u64, pieces([old(&page)])).is_ok());
        let taken = taken.count();
        (taken, hba.borrow().waiting(0))
    };
    assert_eq!(queued(|_| ()), (16, 16));
    assert_eq!(queued(|hba| hba.disk(0).queue = 3), (3, 3));
    assert_eq!(queued(|hba| hba.cap = hba.cap & !(31 << 8) | 4 << 8), (5, 5));
    assert_eq!(queued(|hba| hba.disk(0).queue = 0), (16, 1));
    assert_eq!(queued(|hba| hba.cap &= !(1 << 30)), (16, 1));
}

/// A bad block in an old dump is no reason to write more slowly.
#[test]
fn after_a_read_that_failed_writes_are_queued() {
    for like_qemu in [false, true] {
        let (hba, clock) = (Fake::new(vec![disk(8)]), FakeClock::default());
        let mut ahci = open(&hba, &clock).expect("starts");
        hba.borrow_mut().like_qemu = like_qemu;
        hba.borrow_mut().disk(0).bad = 0..1;
        assert_eq!(ahci.read(0, &mut [0; PAGE]), Err(Error::Io(0x51)));
        let page = [7; PAGE];
        ahci.write(PAGE as u64, pieces([old(&page)])).and_then(|()| ahci.flush()).expect("works");
        assert_eq!(hba.borrow_mut().disk(0).queued, 1);
    }
}

#[test]
fn a_command_that_the_link_has_lost_is_given_again_once() {
    for (like_qemu, queue) in [(false, 0), (false, 32), (true, 0), (true, 32)] {
        let (hba, clock) = (Fake::new(vec![disk(8)]), FakeClock::default());
        hba.borrow_mut().disk(0).queue = queue;
        let mut ahci = open(&hba, &clock).expect("starts");
        (hba.borrow_mut().like_qemu, hba.borrow_mut().disk(0).lags) = (like_qemu, true);
        let page = [7; PAGE];
        ahci.write(0, pieces([old(&page)])).expect("is taken");
        hba.borrow_mut().disturb(0);
        assert_eq!(ahci.drain(), Err(UNFINISHED), "the disk has it again");
        assert_eq!(hba.borrow().waiting(0), 1);
        hba.borrow_mut().answer(0, 0);
        ahci.drain().expect("arrives");
        assert_eq!((ahci.written_below(), hba.borrow_mut().disk(0).writes), (u64::MAX, 1));
    }
}

#[test]
fn a_reset_of_a_link_lasts_a_millisecond() {
    let hba = Fake::new(vec![disk(8)]);
    let tick = || hba.borrow_mut().now += 1;
    let clock = FakeClock::with(&tick);
    let mut ahci = open(&hba, &clock).expect("starts");
    hba.borrow_mut().disk(0).fails = 1;
    ahci.write(0, pieces([DmaPiece::Zeros(512)])).and_then(|()| ahci.flush()).expect("arrives");
    // Two looks at a clock may be in one millisecond.
    assert!(hba.borrow().shortest >= 2);
}

#[test]
fn a_disk_that_is_pulled_out_is_an_error_and_others_can_be_selected() {
    for queue in [0, 32] {
        let (hba, clock) = (Fake::new(vec![disk(8), disk(4)]), FakeClock::default());
        hba.borrow_mut().disk(0).queue = queue;
        let mut ahci = open(&hba, &clock).expect("starts");
        hba.borrow_mut().disk(0).lags = true;
        let page = [7; PAGE];
        ahci.write(0, pieces([old(&page)])).expect("is taken");
        hba.borrow_mut().unplug(0);
        assert_eq!(ahci.drain(), Err(Error::NoDisk));
        assert_eq!((ahci.settle(), ahci.written_below()), (Err(Error::NoDisk), 0));
        assert_eq!(ahci.select(0), Err(Error::NoDisk));
        ahci.select(1).expect("is there");
        assert_eq!(ahci.capacity(), 4 * PAGE as u64);
        ahci.stop().expect("the first port was stopped");
    }
}

#[test]
fn ports_have_numbers_and_names_and_one_is_selected() {
    let ports = vec![None, disk(4), None, disk(8), disk(2)];
    let (hba, clock) = (Fake::new(ports), FakeClock::default());
    hba.borrow_mut().implemented = 0b11110;
    hba.borrow_mut().ports[4].signature = Some(0xeb14_0101);
    let mut ahci = start(&hba, &clock).expect("starts");
    assert_eq!((ahci.disks(), ahci.capacity()), (4, 0));
    assert_eq!(ahci.read(0, &mut [0; PAGE]), Err(Error::NoDisk));
    // Ports with a disk come first: nobody waits for the others.
    let names = [0, 1, 2, 3].map(|index| ahci.disk_name(index));
    assert_eq!(names, [1, 3, 4, 2].map(DiskName::Port));
    for (index, pages) in
        [(1, Some(8)), (0, Some(4)), (2, None), (3, None), (4, None), (1, Some(8))]
    {
        assert_eq!(ahci.select(index).is_ok(), pages.is_some());
        assert_eq!(ahci.capacity(), pages.unwrap_or(0) * PAGE as u64);
    }
    let page = [7; PAGE];
    ahci.write(0, pieces([old(&page)])).and_then(|()| ahci.flush()).expect("works");
    let mut hba = hba.borrow_mut();
    assert_eq!([1, 3, 4].map(|port| hba.disk(port).writes), [0, 1, 0]);
}

#[test]
fn requests_that_no_hba_can_take_are_refused() {
    let (hba, clock) = (Fake::new(vec![disk(8)]), FakeClock::default());
    let mut ahci = open(&hba, &clock).expect("starts");
    let page = [7; PAGE];
    let scattered = page.chunks(128).map(old).collect::<Pieces>();
    ahci.write(0, scattered.clone()).expect("32 pieces");
    let more = scattered.into_iter().chain([old(&page)]).collect();
    assert_eq!(ahci.write(0, more), Err(Error::Fragmented));
    assert_eq!(ahci.write(0, pieces([old(&page[..511]), old(&page[..1])])), Err(Error::Fragmented));
    for (at, length) in [(0, 510), (2, 512), (8 * PAGE as u64, 512), (u64::MAX - 511, 512)] {
        assert_eq!(ahci.write(at, pieces([old(&page[..length])])), Err(Error::Outside), "{at}");
    }
    assert_eq!(ahci.read(8 * PAGE as u64 - 512, &mut [0; 1024]), Err(Error::Outside));
    assert_eq!(ahci.limits().address_bits, 64);
}

/// Neither an error, nor a stop that fails, nor dropping the driver gives memory back.
#[test]
fn a_disk_that_does_not_answer_keeps_its_memory() {
    let (hba, clock) = (Fake::new(vec![disk(8), disk(4)]), FakeClock::default());
    let pool = Pool::new(slot(), 4, 512).expect("memory");
    let mut ahci = open(&hba, &clock).expect("starts");
    hba.borrow_mut().disk(0).lags = true;
    for byte in 1..3 {
        let piece = frozen(&pool, byte).expect("is free");
        ahci.write(0, pieces([piece, DmaPiece::Zeros(512)])).expect("is taken");
    }
    assert_eq!((ahci.drain(), ahci.stop()), (Err(UNFINISHED), Err(UNFINISHED)));
    ahci.select(1).expect("the other port works");
    assert_eq!(ahci.stop(), Err(UNFINISHED), "the first port has memory");
    drop(ahci);
    let rest: Vec<_> = core::iter::from_fn(|| frozen(&pool, 9)).collect();
    assert_eq!(rest.len(), 2);
    drop((rest, pool));
    let others: Vec<_> = (0..8).map(|_| vec![0x55_u8; 4096]).collect();
    hba.borrow_mut().assert_memory_unchanged();
    assert_eq!((hba.borrow().waiting(0), others.len()), (2, 8));
}

/// A buffer of the pool with these bytes.
fn frozen(pool: &Pool, byte: u8) -> Option<DmaPiece> {
    let mut lease = pool.lease()?;
    lease.fill(byte);
    Some(DmaPiece::Frozen(lease.freeze(512), 0..512))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Writes of any shape, answered late and in any order, some of which fail: until its answer
    /// the memory of each is as it was, and in the end all buffers are back.
    #[test]
    fn memory_of_requests_in_flight_never_changes(
        steps in prop::collection::vec((0_u8..8, any::<u8>(), 1_usize..33), 1..150),
        queue in prop::sample::select(vec![0_u16, 2, 32]),
        like_qemu: bool,
        stops: bool,
    ) {
        let (hba, clock) = (Fake::new(vec![disk(256)]), FakeClock::default());
        hba.borrow_mut().disk(0).queue = queue;
        let pool = Pool::new(slot(), 8, 512).expect("memory");
        let memory = [6_u8; 512];
        let mut ahci = open(&hba, &clock).expect("starts");
        (hba.borrow_mut().like_qemu, hba.borrow_mut().disk(0).lags) = (like_qemu, true);
        for (step, value, count) in steps {
            let waiting = hba.borrow().waiting(0);
            match step {
                0..4 => {
                    let piece = |number: usize| match number % 3 {
                        0 => frozen(&pool, value).unwrap_or(DmaPiece::Zeros(512)),
                        1 => old(&memory),
                        _ => DmaPiece::Zeros(512),
                    };
                    let _ = ahci.write(u64::from(value) * 512, (0..count).map(piece).collect());
                }
                4 | 5 if waiting > 0 => hba.borrow_mut().answer(0, count % waiting),
                6 => hba.borrow_mut().disk(0).bad = count * 1024..count * 2048,
                _ => drop(ahci.wait_for_one()),
            }
            hba.borrow_mut().assert_memory_unchanged();
        }
        if stops {
            hba.borrow_mut().disk(0).lags = false;
            while hba.borrow().waiting(0) > 0 {
                hba.borrow_mut().answer(0, 0);
            }
            ahci.settle().and_then(|()| ahci.stop()).expect("all are back");
            let all: Vec<_> = core::iter::from_fn(|| pool.lease()).collect();
            prop_assert_eq!(all.len(), 8);
        }
        drop(ahci);
        let _rest: Vec<_> = core::iter::from_fn(|| frozen(&pool, 9)).collect();
        hba.borrow_mut().assert_memory_unchanged();
    }
}
