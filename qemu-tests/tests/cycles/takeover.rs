//! Two targets of which the first is no way out, or not for long: the second gets all of the dump.

use crate::common::*;
use qemu_tests::host::dump_disk::Attachment;
use qemu_tests::{Config, Delivery, Fate, Fault, Report, Way};

/// As short as possible: one target's timeout must end, and the other must do its work.
const SHORT_TIMEOUT: &str = "kdump.timeout=10";

/// The guest with `targets`; the one of this name gets the dump, and `said` is on the console.
#[track_caller]
fn assert_taken_over(
    targets: &str,
    by: &str,
    said: &str,
    change: impl FnOnce(&mut Config),
) -> Report {
    let (report, console) = cycle_and_console(guest(), |config| {
        small(config);
        config.append = SHORT_TIMEOUT.into();
        config.delivery = over(targets);
        change(config);
    });
    assert_passes(&report);
    assert_eq!(report.arrived_by.as_deref(), Some(by), "{report:#?}");
    let on_disk = report.disk_after.as_ref().and_then(|disk| disk.partial.as_ref());
    assert!(on_disk.is_none_or(|partial| partial.wrong == 0), "{report:#?}");
    let mut given_up = console.lines().filter(|line| line.contains("trying the next"));
    assert!(given_up.any(|line| line.contains(said)), "nothing gives up for {said:?}:\n{console}");
    report
}

#[test]
fn a_serial_port_that_does_not_exist() {
    assert_taken_over("serial2,virtio-blk", "virtio-blk", "no 16550 answers", |config| {
        config.delivery.missing = Some(Way::SecondSerial);
    });
}

#[test]
fn a_disk_that_does_not_exist() {
    assert_taken_over("virtio-blk,serial", "serial", "no disk or partition carries", |config| {
        config.fault = Some(Fault::Disk(Attachment::Absent));
    });
}

/// The disk that is there is not the one that is named, and stays as it is.
#[test]
fn a_disk_with_another_id() {
    let report = assert_taken_over(
        "virtio-blk,serial",
        "serial",
        "no disk or partition carries",
        |config| {
            let other = "disk:id=00000000000000000000000000000000";
            config.append += &format!(" kdump.target={other},serial:port=0,baud=115200");
        },
    );
    assert_eq!(report.disk_after.map(|disk| written(&disk)), Some(UNTOUCHED));
}

#[test]
fn a_serial_line_with_nobody_at_its_end() {
    assert_taken_over("serial,virtio-blk", "virtio-blk", "no collector answers", |config| {
        config.delivery.fate = Fate::Absent;
    });
}

#[test]
fn a_virtio_console_with_nobody_at_its_end() {
    let console = "target virtio-console:name=kdump:";
    assert_taken_over("virtio-console,virtio-blk", "virtio-blk", console, |config| {
        config.delivery.fate = Fate::Absent;
    });
}

#[test]
fn a_machine_without_the_console_port() {
    let console = "target virtio-console:name=kdump:";
    assert_taken_over("virtio-console,virtio-blk", "virtio-blk", console, |config| {
        config.delivery.missing = Some(Way::VirtioConsole);
    });
}

#[test]
fn a_collector_of_another_version() {
    assert_taken_over("serial,virtio-blk", "virtio-blk", "speaks version 3", |config| {
        config.delivery.fate = Fate::OtherVersion;
    });
}

/// The bytes that the collector got are named exactly, and the disk has everything.
#[test]
fn a_collector_that_is_gone_for_good() {
    let said = "the collector has fallen silent";
    let report = assert_taken_over("serial,virtio-blk", "virtio-blk", said, |config| {
        config.delivery.fate = Fate::Killed { after: 250_000, back: None };
        // About half of the bytes, if they are not compressed.
        config.append += " kdump.compress=none";
    });
    let claims = report.checks.iter().find(|check| check.name == "claims_of_serial");
    assert!(claims.is_some_and(|check| check.pass), "{report:#?}");
}

/// The disk's backing file has no room left, half-way.
#[test]
fn a_disk_that_is_full() {
    let fault = Fault::Disk(Attachment::Full { sector: 20480 });
    let report = assert_taken_over(
        "virtio-blk,virtio-console",
        "virtio-console",
        "an I/O error",
        |config| {
            config.fault = Some(fault);
        },
    );
    let disk = report.disk_after.expect("there is no dump on the disk");
    assert_eq!(written(&disk), (true, true));
    assert_refused(&disk, "the capture failed; the last stage it reached is `first_byte`");
}

/// The VM is not stopped for digests: that would wait for the disk.
#[test]
fn a_disk_that_dies_half_way() {
    assert_taken_over("virtio-blk,virtio-console", "virtio-console", "an I/O error", |config| {
        config.memory = 128 * MIB;
        config.fault = Some(Fault::Disk(Attachment::Dies));
        config.truth = false;
    });
}

/// The same disk answers nothing any more. It is not reset either: QEMU would wait for it.
#[test]
fn a_disk_that_stalls_half_way() {
    let said = "did not complete a request in time";
    assert_taken_over("virtio-blk,virtio-console", "virtio-console", said, |config| {
        config.memory = 128 * MIB;
        config.fault = Some(Fault::Disk(Attachment::Stalls));
        config.truth = false;
    });
}

/// With a `+` the second is no replacement: a run that lacks one of two dumps has failed.
#[test]
fn both_are_asked_for_and_one_is_not_there() {
    let report = cycle(guest(), |config| {
        small(config);
        config.append = SHORT_TIMEOUT.into();
        config.delivery = Delivery { fate: Fate::Absent, ..over("virtio-blk+serial") };
    });
    assert_only_fails(&report, &["vmcore"]);
    let check = report.failures().next().expect("one");
    assert!(check.detail.contains("target serial"), "{check:?}");
}
