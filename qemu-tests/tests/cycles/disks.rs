//! Dump disks that are not there, not ours, or broken.

use crate::common::*;
use qemu_tests::Fault;
use qemu_tests::dump_disk::Attachment;
use vmcore::Class;

#[test]
fn a_disk_with_another_id_is_not_written() {
    let other = "kdump.target=virtio-blk:id=00000000000000000000000000000000";
    let report = cycle(guest(), |config| config.append = other.into());
    assert_no_dump(&report, "no virtio-blk disk carries a dump-disk header with id 0000");
}

#[test]
fn a_legacy_only_disk_is_named_and_left_alone() {
    let report = cycle(guest(), |config| config.disk_properties = "disable-modern=on".into());
    assert_no_dump(&report, "a legacy-only virtio device");
}

#[test]
fn a_modern_only_disk_takes_the_dump() {
    assert_passes(&cycle(guest(), |config| config.disk_properties = "disable-legacy=on".into()));
}

#[test]
fn a_disk_behind_an_iommu_is_named_and_left_alone() {
    let report = cycle(guest(), |config| {
        config.disk_properties = "disable-legacy=on,iommu_platform=on".into();
    });
    assert_no_dump(&report, "behind an IOMMU");
}

#[test]
fn without_a_dump_disk_nothing_is_written() {
    let fault = Fault::Disk(Attachment::Absent);
    let said = ["no virtio-blk disk carries a dump-disk header with id"];
    let disk = assert_capture_fails(fault, Class::Elf32, "views", &said);
    assert_eq!(written(&disk), UNTOUCHED);
}

#[test]
fn a_read_only_disk_is_named_and_left_alone() {
    let fault = Fault::Disk(Attachment::ReadOnly);
    let disk = assert_capture_fails(fault, Class::Elf32, "views", &["the disk is read-only"]);
    assert_eq!(written(&disk), UNTOUCHED);
    assert_refused(&disk, "no capture has begun on it");
}

#[test]
fn a_disk_that_is_too_small_says_so_itself() {
    let fault = Fault::DiskSize(8 * MIB);
    let said = ["the dump disk is too small", "8388608 there"];
    let disk = assert_capture_fails(fault, Class::Elf32, "views", &said);
    assert_eq!(written(&disk), HEADER_ONLY);
    assert_refused(&disk, "the capture failed; the last stage it reached is `views`");
}

/// The dump is about 90 MiB long: sector 65536 lies 32 MiB into it.
#[test]
fn an_io_error_half_way_is_named() {
    let fault = Fault::Disk(Attachment::FailsAt { sector: 65536 });
    let disk = assert_capture_fails(fault, Class::Elf32, "first_byte", &["an I/O error"]);
    assert_eq!(written(&disk), (true, true));
    assert_refused(&disk, "the capture failed; the last stage it reached is `first_byte`");
}

/// A disk that takes no write at all to its header cannot say anything of itself.
#[test]
fn an_io_error_in_the_header_leaves_the_disk_as_it_was() {
    let fault = Fault::Disk(Attachment::FailsAt { sector: 0 });
    let disk = assert_capture_fails(fault, Class::Elf32, "views", &["an I/O error"]);
    assert_eq!(written(&disk), UNTOUCHED);
    assert_refused(&disk, "no capture has begun on it");
}

/// The guest with a disk behind a process that stops or ends in the middle of the dump. The VM is not
/// stopped for digests: that would wait for the disk.
#[track_caller]
fn assert_disk_process_is_missed(attachment: Attachment, said: &str) {
    let (report, console) = cycle_and_console(guest(), |config| {
        config.fault = Some(Fault::Disk(attachment));
        config.truth = false;
        config.append = "kdump.timeout=2".into();
    });
    assert_only_fails(&report, &["cycle"]);
    let failed = ["kdump: failed at stage=first_byte", "kdump: stage=failed", "kdump: rebooting"];
    for said in [said].iter().chain(&failed) {
        assert!(console.contains(said), "the console does not say {said:?}:\n{console}");
    }
    let disk = report.disk_after.expect("there is no dump");
    assert_eq!(written(&disk), (true, true));
    assert_refused(&disk, "a capture began and did not end; the last stage it reached is `views`");
}

#[test]
fn a_disk_that_stalls_half_way_is_given_up() {
    let said = "kdump: no dump: the device did not complete a request in time";
    assert_disk_process_is_missed(Attachment::Stalls, said);
}

#[test]
fn a_disk_that_dies_half_way_is_named() {
    assert_disk_process_is_missed(
        Attachment::Dies,
        "kdump: no dump: the device reported an I/O error",
    );
}
