//! A dump disk on NVMe: loss of power, and failures at any command.

use super::power_loss::{ALL, after_power_loss, assert_right_of, disk_with_one};
use super::tests::{OURS, dump, hurried, memory, mixed};
use super::{DumpDisk, WriteOptions};
use crate::driver::Error;
use crate::driver::controller::Controller;
use crate::driver::nvme::Nvme;
use crate::fake::{FakeClock, Ssd, SsdRegisters, slot};
use crate::targets::{Target, TargetError};
use core::cell::RefCell;
use dumpfile::chunk::Codec;
use std::rc::Rc;
use std::vec::Vec;

/// Has the namespace take a dump of `memory`.
fn deliver(
    ssd: &Rc<RefCell<Ssd>>,
    memory: &[u8],
    options: WriteOptions<'_>,
) -> Result<(), TargetError> {
    let clock = FakeClock::default();
    let mut device = Nvme::start(SsdRegisters(ssd.clone()), slot(), &clock, 2000)?;
    device.select(0)?;
    let mut disk = DumpDisk::open(device, OURS, slot(), &clock)?.with(options);
    disk.deliver(&dump(memory), &mut |_| ())?;
    Ok(disk.stop()?)
}

/// A controller whose one namespace has a dump of `memory(1)` and room for another one.
fn ssd_with_one() -> Rc<RefCell<Ssd>> {
    Ssd::new(disk_with_one(2).borrow().bytes.clone())
}

fn contents(ssd: &Rc<RefCell<Ssd>>) -> Vec<u8> {
    ssd.borrow().spaces[0].bytes.clone()
}

#[test]
fn what_is_committed_is_right() {
    for (codec, second) in [(Codec::Raw, memory(2)), (Codec::Lz4, mixed(2))] {
        let ssd = ssd_with_one();
        let before = contents(&ssd);
        deliver(&ssd, &second, hurried(codec, false)).expect("room for two");
        assert_eq!(assert_right_of(&contents(&ssd), 2, &second), ALL);
        let log = ssd.borrow().log.clone();
        let luck = [&[100][..], &[203, 0, 100], &[100, 0, 201, 0]].into_iter().cycle();
        for (until, luck) in (0..=log.len()).zip(luck) {
            let bytes = after_power_loss(before.clone(), &log, until, luck);
            assert_right_of(&bytes, 2, &second);
            assert_eq!(assert_right_of(&bytes, 1, &second), ALL, "after {until}");
        }
    }
}

/// Any one command fails, or is the first without an answer, or the controller is gone: the failure
/// is reported, and the contents of the disk are right.
#[test]
fn a_failure_at_any_command() {
    let second = memory(2);
    let before = contents(&ssd_with_one());
    let commands = {
        let ssd = Ssd::new(before.clone());
        deliver(&ssd, &second, hurried(Codec::Raw, false)).expect("room for two");
        ssd.borrow().requests
    };
    let changes: [fn(&mut Ssd, usize); 3] = [
        |ssd, number| (ssd.fails, ssd.failure) = (number..number + 1, 0x280),
        |ssd, number| ssd.stalls_after = Some(number),
        |ssd, number| ssd.gone_after = Some(number),
    ];
    // But not the directory's last write and its flush: the dump is there.
    for number in 0..commands - 2 {
        let kind = number % changes.len();
        let ssd = Ssd::new(before.clone());
        changes[kind](&mut ssd.borrow_mut(), number);
        let delivered = deliver(&ssd, &second, hurried(Codec::Raw, false));
        assert_right_of(&contents(&ssd), 2, &second);
        assert_eq!(assert_right_of(&contents(&ssd), 1, &second), ALL, "command {number}");
        let is_named = match &delivered {
            Err(TargetError::Device(Error::Nvme(_))) => kind == 0,
            Err(TargetError::Device(Error::Timeout(_))) => kind > 0,
            Err(TargetError::Device(Error::Removed)) => kind == 2,
            _ => false,
        };
        assert!(is_named, "command {number}, kind {kind}: {delivered:?}");
    }
}
