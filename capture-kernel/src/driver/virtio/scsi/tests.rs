use super::*;
use crate::driver::dma::DmaPiece;
use crate::driver::scsi::Sense;
use crate::fake::{
    Answers, FakeClock, FakeTransport, Scsi, ScsiDisk, ScsiFault, logged, old, slot,
};
use core::cell::RefCell;
use std::rc::Rc;
use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

const TIMEOUT: u64 = 1000;
const UNFINISHED: Error = Error::Timeout("complete a request");

type Device<'c> = VirtioScsi<'c, FakeTransport<Scsi>>;

/// One disk at target 0, number 0, all bytes zero.
fn one(bytes: usize) -> Rc<RefCell<Scsi>> {
    Scsi::new([((0, 0), ScsiDisk::new(vec![0; bytes], 512))])
}

fn start<'c>(scsi: &Rc<RefCell<Scsi>>, clock: &'c FakeClock) -> Result<Device<'c>, Error> {
    VirtioScsi::start(FakeTransport::new(scsi), slot(), clock, TIMEOUT)
}

fn selected<'c>(scsi: &Rc<RefCell<Scsi>>, clock: &'c FakeClock) -> Result<Device<'c>, Error> {
    let mut device = start(scsi, clock)?;
    device.select(0)?;
    Ok(device)
}

fn pieces<const N: usize>(pieces: [DmaPiece; N]) -> Pieces {
    pieces.into_iter().collect()
}

fn fault(opcode: u8, count: usize, answers: Answers) -> ScsiFault {
    ScsiFault { opcode, count, answers }
}

fn sense(key: u8, code: [u8; 2]) -> Error {
    Error::Scsi(Failure::Sense(Sense { key, code, is_deferred: false }))
}

#[test]
fn blocks_of_512_and_4096_bytes_are_written_and_read() {
    for block_size in [512, 4096] {
        let disk = ScsiDisk::new(vec![9; 65_536], block_size);
        let (scsi, clock) = (Scsi::new([((2, 300), disk)]), FakeClock::default());
        let mut device = selected(&scsi, &clock).expect("a disk");
        assert_eq!(device.disk_name(0).to_string(), ", target 2 LUN 300");
        assert_eq!((device.capacity(), device.block_size()), (65_536, block_size));
        assert!(!device.is_read_only());
        let (first, second) = ([1_u8; 1024], [2_u8; 3072]);
        device.write(8192, pieces([old(&first), old(&second)])).expect("is taken");
        device.write(12_288, pieces([DmaPiece::Zeros(4096)])).expect("is taken");
        device.flush().expect("arrives");
        let mut bytes = vec![0; 65_536];
        device.read(0, &mut bytes).expect("reads");
        let expected =
            [&[9; 8192][..], &first, &second, &[0; 4096], &[9; 65_536 - 16_384]].concat();
        assert!(bytes == expected && scsi.borrow().disks[&(2, 300)].bytes == expected);
        assert_eq!(scsi.borrow().log.iter().filter(|opcode| **opcode == 0x35).count(), 1);
        device.stop().expect("stops");
        assert_eq!(scsi.borrow().base.status, 0);
    }
}

#[test]
fn all_units_of_all_targets_are_found() {
    let disk = |kind| ScsiDisk { kind, ..ScsiDisk::new(vec![0; 4096], 512) };
    let places = [((0, 0), disk(5)), ((0, 7), disk(0)), ((1, 0), disk(0)), ((3, 16_383), disk(0))];
    let (scsi, clock) = (Scsi::new(places), FakeClock::default());
    let mut device = start(&scsi, &clock).expect("starts");
    let names: Vec<String> =
        (0..device.disks()).map(|it| device.disk_name(it).to_string()).collect();
    let expected = ["target 0 LUN 0", "target 0 LUN 7", "target 1 LUN 0", "target 3 LUN 16383"];
    assert!(names.iter().map(|name| &name[2..]).eq(expected), "{names:?}");
    assert_eq!(device.select(0), Err(Error::Unsupported("no disk, but another SCSI device")));
    for index in [3, 1, 2] {
        device.select(index).expect("a disk");
        assert_eq!(device.capacity(), 4096);
    }
    assert_eq!(device.select(4), Err(Error::Outside));
    scsi.borrow_mut().last = (2, 5);
    assert_eq!(start(&scsi, &clock).expect("starts").disks(), 2, "up to the last of both");
}

#[test]
fn units_of_a_target_that_does_not_list_them_are_probed() {
    let disk = || ScsiDisk { unknown: vec![0xa0], ..ScsiDisk::new(vec![0; 4096], 512) };
    let places = [0, 5, 7, 8].map(|lun| ((1, lun), disk()));
    let (scsi, clock) = (Scsi::new(places), FakeClock::default());
    let mut device = start(&scsi, &clock).expect("starts");
    assert_eq!(device.disks(), 3, "eight are probed");
    device.select(2).expect("LUN 7");
}

#[test]
fn limits_of_controller_and_disk_are_kept() {
    // seg_max, max_sectors, most blocks of the disk; pieces, bytes.
    let table = [
        ([62, 0xffff, 128], 0, (32, 1 << 20)),
        ([3, 0xffff, 128], 0, (3, 1 << 20)),
        ([0, 0, 0], 0, (1, 4096)),
        ([62, 129, 128], 0, (32, 65_536)),
        ([62, 0xffff, 128], 24, (32, 12_288)),
        ([62, 129, 128], 1 << 31, (32, 65_536)),
        ([62, 0xffff, 128], 1, (32, 4096)),
    ];
    for (limits, most_blocks, expected) in table {
        let (scsi, clock) = (one(4096), FakeClock::default());
        scsi.borrow_mut().limits = limits;
        scsi.borrow_mut().disks.get_mut(&(0, 0)).expect("is there").most_blocks = most_blocks;
        let found = selected(&scsi, &clock).expect("a disk").limits();
        assert_eq!((found.pieces, found.bytes), expected, "{limits:?} {most_blocks}");
    }
}

#[test]
fn several_commands_are_in_flight_and_no_more_than_the_controller_takes() {
    for (commands, most) in [(128, 16), (5, 5), (0, 1)] {
        let (scsi, clock) = (one(1 << 20), FakeClock::default());
        scsi.borrow_mut().limits[2] = commands;
        let mut device = selected(&scsi, &clock).expect("a disk");
        let page = [7; 4096];
        scsi.borrow_mut().lags = true;
        for number in 0..most {
            device.write(number * 4096, pieces([old(&page)])).expect("is taken");
        }
        assert_eq!(scsi.borrow().waiting() as u64, most);
        assert_eq!(device.written_below(), 0);
        assert_eq!(device.write(0, pieces([old(&page)])), Err(UNFINISHED));
        assert_eq!(device.stop(), Err(UNFINISHED), "a disk with commands in flight is not reset");
        while scsi.borrow_mut().answer_one() {}
        device.drain().expect("all are back");
        assert_eq!(device.written_below(), u64::MAX);
    }
}

#[test]
fn blocks_beyond_32_bits_have_commands_of_their_own() {
    let (scsi, clock) = (one(4096), FakeClock::default());
    let blocks = 1 << 33;
    scsi.borrow_mut().disks.get_mut(&(0, 0)).expect("is there").claims = Some(blocks);
    let mut device = selected(&scsi, &clock).expect("a disk");
    assert_eq!(device.capacity(), blocks * 512);
    let beyond = sense(5, [0x21, 0]);
    assert_eq!(device.read((1 << 42) - 4096, &mut [0; 4096]), Err(beyond));
    assert_eq!(scsi.borrow().log.last(), Some(&0x88));
}

/// The result of a write, a flush and a read of a disk that has these faults and this change.
fn outcome(faults: &[ScsiFault], change: impl FnOnce(&mut ScsiDisk)) -> Result<(), Error> {
    let (scsi, clock) = (one(16_384), FakeClock::default());
    scsi.borrow_mut().faults = faults.to_vec();
    change(scsi.borrow_mut().disks.get_mut(&(0, 0)).expect("is there"));
    let mut device = selected(&scsi, &clock)?;
    let page = [7; 4096];
    let written = device.write(4096, pieces([old(&page)])).and_then(|()| device.flush());
    let below = device.written_below();
    assert_eq!(below == u64::MAX, written.is_ok(), "{below}: {written:?}");
    assert!(written.is_err() || scsi.borrow().disks[&(0, 0)].bytes[4096..8192] == page);
    let mut bytes = [0; 4096];
    written.and_then(|()| device.read(4096, &mut bytes))?;
    assert!(bytes == page);
    device.stop()
}

#[test]
fn disks_that_get_over_it_are_used() {
    let table = [
        // Unit attentions, a transport's reset, a busy disk, a full queue, a busy controller.
        (0x2a, 8, Answers::Sense(6, 0x29, 0)),
        (0x2a, 8, Answers::Sense(0xb, 0, 0)),
        (0x2a, 3, Answers::Response(4)),
        (0x2a, 3, Answers::Response(2)),
        (0x2a, 3, Answers::Status(8)),
        (0x28, 3, Answers::Status(0x28)),
        (0x2a, 3, Answers::Response(5)),
        // Becoming ready.
        (0, 4, Answers::Sense(2, 4, 1)),
        (0x2a, 2, Answers::Sense(2, 4, 0)),
        // Commands that it need not know.
        (0x1a, 9, Answers::Sense(5, 0x20, 0)),
        (0x1a, 1, Answers::Sense(5, 0x24, 0)),
        (0x1a, 1, Answers::Data(&[0])),
        // The page of limits, which is asked for after the type.
        (0x12, 0, Answers::Sense(5, 0x24, 0)),
    ];
    for (opcode, count, answers) in table {
        let found = outcome(&[fault(opcode, count, answers)], |_| {});
        assert_eq!(found, Ok(()), "{opcode:#x} {count} {answers:?}");
    }
    assert_eq!(outcome(&[], |disk| disk.attentions = 8), Ok(()));
    assert_eq!(outcome(&[], |disk| disk.attentions = 9), Err(sense(6, [0x29, 0])));
    assert_eq!(outcome(&[], |disk| disk.needs_start = true), Ok(()));
    // Without a cache, and with one that nobody knows of, there is nothing to flush.
    assert_eq!(outcome(&[], |disk| (disk.has_cache, disk.unknown) = (false, vec![0x35])), Ok(()));
    assert_eq!(outcome(&[], |disk| disk.unknown = vec![0x35, 0x1a]), Ok(()));
}

#[test]
fn disks_that_do_not_are_named() {
    let undelivered = |reason| Error::Scsi(Failure::Undelivered(reason));
    let removed = undelivered("it was removed, or never was there");
    let table = [
        (0x2a, 9, Answers::Sense(6, 0x29, 0), sense(6, [0x29, 0])),
        (0x2a, 1, Answers::Sense(3, 0xc, 2), sense(3, [0xc, 2])),
        (0x2a, 1, Answers::Sense(4, 0x44, 0), sense(4, [0x44, 0])),
        (0x2a, 1, Answers::Sense(7, 0x27, 0), sense(7, [0x27, 0])),
        (0x2a, 1, Answers::Sense(0, 0, 0), sense(0, [0, 0])),
        (0x28, 1, Answers::Sense(3, 0x11, 0), sense(3, [0x11, 0])),
        (0x35, 1, Answers::Sense(3, 0xc, 0), sense(3, [0xc, 0])),
        (0x35, 1, Answers::Sense(5, 0x20, 0), sense(5, [0x20, 0])),
        (0x2a, 1, Answers::Status(0x18), Error::Scsi(Failure::Status(0x18))),
        (0x2a, 1, Answers::Status(2), Error::Scsi(Failure::Status(2))),
        (0x2a, usize::MAX, Answers::Status(8), Error::Scsi(Failure::Status(8))),
        (0x2a, 1, Answers::Response(3), removed),
        (0x35, 1, Answers::Response(3), removed),
        (0x2a, 9, Answers::Response(4), undelivered("the bus was reset")),
        (0x2a, 1, Answers::Response(0xff), undelivered("the controller has failed")),
        (0x2a, 1, Answers::Residual(512), Error::Scsi(Failure::Short)),
        (0x28, 1, Answers::Residual(u32::MAX), Error::Scsi(Failure::Short)),
        (0x28, 1, Answers::Data(&[7; 512]), Error::Scsi(Failure::Short)),
        (0x2a, 1, Answers::Never, UNFINISHED),
        (0x28, 1, Answers::Never, UNFINISHED),
        (0x35, 1, Answers::Never, UNFINISHED),
        // Before the disk is used.
        (0, usize::MAX, Answers::Sense(2, 4, 1), sense(2, [4, 1])),
        (0, 1, Answers::Sense(2, 0x3a, 0), sense(2, [0x3a, 0])),
        (0, 1, Answers::Never, UNFINISHED),
        (0x12, 1, Answers::Response(3), removed),
        (0x25, 1, Answers::Sense(4, 0x3e, 0), sense(4, [0x3e, 0])),
        (0x25, 1, Answers::Data(&[0; 7]), Error::Unsupported("a SCSI disk without a size")),
        (0x25, 1, Answers::Data(&[0, 0, 0, 9, 0, 0, 2, 8]), Error::BlockSize(520)),
        (0x25, 1, Answers::Data(&[0, 0, 0, 9, 0, 0, 0, 0]), Error::BlockSize(0)),
    ];
    for (opcode, count, answers, expected) in table {
        let mut faults = vec![fault(opcode, count, answers)];
        if opcode == 0x25 {
            faults.push(fault(0x9e, 1, Answers::Data(&[0xff; 32])));
        }
        let found = outcome(&faults, |_| {});
        assert_eq!(found, Err(expected), "{opcode:#x} {count} {answers:?}");
    }
}

#[test]
fn a_deferred_error_doubts_every_write_before() {
    let (scsi, clock) = (one(16_384), FakeClock::default());
    let mut device = selected(&scsi, &clock).expect("a disk");
    let page = [7; 4096];
    device.write(0, pieces([old(&page)])).and_then(|()| device.drain()).expect("is written");
    scsi.borrow_mut().faults = vec![fault(0x28, 1, Answers::Deferred(3, 0xc, 0))];
    let failure = device.read(0, &mut [0; 4096]).expect_err("tells of the write");
    assert!(failure.to_string().contains("a medium error of an earlier write"), "{failure}");
    assert_eq!(device.written_below(), 0);
}

#[test]
fn write_protection_is_seen() {
    let (scsi, clock) = (one(4096), FakeClock::default());
    scsi.borrow_mut().disks.get_mut(&(0, 0)).expect("is there").is_read_only = true;
    assert!(selected(&scsi, &clock).expect("a disk").is_read_only());
}

#[test]
fn a_controller_that_misbehaves_is_an_error_and_not_a_hang() {
    let refused = |change: fn(&mut Scsi)| {
        let (scsi, clock) = (one(4096), FakeClock::default());
        change(&mut scsi.borrow_mut());
        selected(&scsi, &clock).err()
    };
    let another = Error::Unsupported("its commands or its sense data have another length");
    let no_disk = Some(Error::Outside);
    assert_eq!(refused(|scsi| scsi.sizes = [96, 16]), Some(another));
    assert_eq!(refused(|scsi| scsi.sizes = [0, 32]), Some(another));
    assert_eq!(refused(|scsi| scsi.base.queue_size = 0), Some(Error::QueueTooShort(0)));
    assert_eq!(refused(|scsi| scsi.base.features = 0), Some(Error::LegacyOnly));
    assert_eq!(refused(|scsi| scsi.base.features |= 1 << 33), Some(Error::BehindIommu));
    assert_eq!(refused(|scsi| scsi.base.never_resets = true), Some(Error::Timeout("reset")));
    assert_eq!(refused(|scsi| scsi.answers_with = Some(50)), no_disk);
    assert_eq!(refused(|scsi| scsi.disks.clear()), no_disk);
    let never = |scsi: &mut Scsi| scsi.faults = vec![fault(0xa0, usize::MAX, Answers::Never)];
    assert_eq!(refused(never), no_disk);
    assert_eq!(refused(|scsi| scsi.last = (u16::MAX, u32::MAX)), None);
}

/// One that does not answer keeps its memory and costs no other.
#[test]
fn another_disk_can_be_used_after_one_that_hangs() {
    let disk = || ScsiDisk::new(vec![3; 4096], 512);
    let (scsi, clock) = (Scsi::new([((0, 0), disk()), ((1, 0), disk())]), FakeClock::default());
    let mut device = start(&scsi, &clock).expect("starts");
    scsi.borrow_mut().faults = vec![fault(0x25, 1, Answers::Never)];
    assert_eq!(device.select(0), Err(UNFINISHED));
    device.select(1).expect("another");
    let page = [7; 4096];
    device.write(0, pieces([old(&page)])).and_then(|()| device.flush()).expect("is written");
    assert_eq!(device.written_below(), u64::MAX);
    assert!(scsi.borrow().disks[&(1, 0)].bytes == page);
    assert_eq!(device.stop(), Err(UNFINISHED));
}

#[test]
fn a_target_that_hangs_is_named_and_those_before_it_are_used() {
    let (scsi, clock) = (one(4096), FakeClock::default());
    scsi.borrow_mut().disks.insert((1, 0), ScsiDisk::new(vec![0; 4096], 512));
    // The first target lists its units.
    scsi.borrow_mut().faults =
        vec![fault(0xa0, 1, Answers::Data(&[0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]))];
    scsi.borrow_mut().faults.push(fault(0xa0, 1, Answers::Never));
    let (device, said) = logged(|| selected(&scsi, &clock).map(|device| device.disks()));
    assert_eq!(device, Ok(1));
    assert_eq!(said[0], "virtio-scsi: target 1: the device did not complete a request in time");
    assert_eq!(said[1], "virtio-scsi: no time left to look for target 2 and later ones");
}
