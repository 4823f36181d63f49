//! Dump disks that are not there, not ours, or broken.

use crate::common::*;
use qemu_tests::Fault;
use qemu_tests::check::disk_after::{DiskAfter, Partial};
use qemu_tests::host::dump_disk::Attachment;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use vmcore::Class;

#[test]
fn a_disk_with_another_id_is_not_written() {
    let other = "kdump.target=disk:id=00000000000000000000000000000000";
    let report = cycle(guest(), |config| config.append = other.into());
    assert_no_dump(&report, "no disk or partition carries a dump-disk header with id 0000");
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
    assert_no_dump(&report, "attached through an IOMMU");
}

#[test]
fn without_a_dump_disk_nothing_is_written() {
    let fault = Fault::Disk(Attachment::Absent);
    let said = ["no disk or partition carries a dump-disk header with id"];
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
fn a_disk_that_is_too_small_for_anything_says_so_itself() {
    let fault = Fault::DiskSize(16 << 10);
    let said = ["the dump disk is too small", "8192 there"];
    let disk = assert_capture_fails(fault, Class::Elf32, "views", &said);
    assert_eq!(written(&disk), HEADER_ONLY);
    assert_refused(&disk, "for want of room (captures: 1, the last one needed");
}

/// As the console and the collector have it.
const NO_ROOM_STORED: &str = "the disk had no room for all of the dump";
const NO_ROOM: &str = "the dump disk had no room for all of the dump";

#[test]
fn a_small_disk_gets_as_much_as_fits() {
    let fault = Fault::DiskSize(8 * MIB);
    let disk = assert_capture_fails(fault, Class::Elf32, "first_byte", &[NO_ROOM]);
    assert_eq!(written(&disk), (true, true));
    assert_refused(&disk, NO_ROOM_STORED);
    let partial = assert_partial_is_right(&disk);
    assert!(partial.there > 7 * MIB && partial.there < 8 * MIB, "{partial:?}");
}

/// A 512 MiB guest and a disk of 300 MiB: the small views are right, the saved part of memory is
/// right and fills the disk, and all reports name it as a part.
#[test]
fn a_disk_of_300_mib_gets_most_of_512() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = folder.path().join("disk");
    File::create(&disk).and_then(|file| file.set_len(300 * MIB)).expect("a disk");
    collector::format(&disk, None, false).expect("an empty disk");
    let (report, console) = cycle_and_console(guest(), |config| {
        config.dump_disk = Some(disk.clone());
        config.memory = 512 * MIB;
    });
    assert_only_fails(&report, &["cycle"]);
    assert_says(&console, &[NO_ROOM, "kdump: failed at stage=first_byte"]);
    let after = report.disk_after.expect("there is no whole dump");
    let partial = assert_partial_is_right(&after);
    assert!(partial.there > 290 * MIB && partial.there < 300 * MIB, "{partial:?}");
    let out = folder.path().join("vmcore");
    let extracted = collector::extract(&disk, None, &out, &mut |_, _| {}).expect("a part");
    assert!(extracted.no_room && extracted.trouble().is_some_and(|said| said.contains("no room")));
    assert_eq!(extracted.path, Some(folder.path().join("vmcore.partial")));
    let views: Vec<_> = extracted.views.iter().map(|view| (&view.name[..], &view.path)).collect();
    assert!(views.iter().all(|(_, path)| path.is_some()), "{views:?}");
    assert!(views.iter().any(|view| view.0 == "notes"), "{views:?}");
    // The notes beside it are those in it.
    let notes = std::fs::read(folder.path().join("vmcore.notes")).expect("the notes");
    let core = std::fs::read(folder.path().join("vmcore.partial")).expect("the part");
    assert!(core[..1 << 16].windows(notes.len()).any(|bytes| bytes == notes));
    let verified = collector::verify(&disk).expect("a dump disk");
    assert!(verified.intact, "{verified}");
}

/// The dump is about 90 MiB long: sector 65536 is 32 MiB into it. Data written before that is
/// there.
#[test]
fn an_io_error_half_way_is_named() {
    let fault = Fault::Disk(Attachment::FailsAt { sector: 65536 });
    let disk = assert_capture_fails(fault, Class::Elf32, "first_byte", &["an I/O error"]);
    assert_eq!(written(&disk), (true, true));
    assert_refused(&disk, "the capture failed; the last stage it reached is `first_byte`");
    let partial = assert_partial_is_right(&disk);
    assert!(partial.there > 8 * MIB && partial.there < 32 * MIB, "{partial:?}");
}

/// Everything that is there of a dump equals memory; and something is.
#[track_caller]
fn assert_partial_is_right(disk: &DiskAfter) -> &Partial {
    let partial = disk.partial.as_ref().expect("something is there");
    assert!(partial.there < partial.length && partial.compared > 0, "{partial:?}");
    assert_eq!(partial.wrong, 0, "{partial:?}");
    partial
}

/// QEMU is killed while the dump is written: the bytes that the header named by then are there, and
/// right.
#[test]
fn a_dump_that_is_cut_off_yields_what_was_committed() {
    let report = cycle(guest(), |config| {
        config.fault = Some(Fault::Disk(Attachment::PowerLoss));
        config.truth = false;
    });
    assert_only_fails(&report, &["cycle"]);
    let disk = report.disk_after.expect("there is no whole dump");
    assert_refused(&disk, "a capture began and did not end; the last stage it reached is `views`");
    let partial = assert_partial_is_right(&disk);
    assert!(partial.there >= MIB, "{partial:?}");
}

#[test]
fn two_dumps_lie_on_one_disk() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = folder.path().join("disk");
    File::create(&disk).and_then(|file| file.set_len(256 * MIB)).expect("a disk");
    collector::format(&disk, None, false).expect("an empty disk");
    let reports = ["kdump.checksum=1", ""].map(|word| {
        cycle(guest(), |config| {
            config.dump_disk = Some(disk.clone());
            config.append = word.into();
        })
    });
    for (number, report) in (1..).zip(&reports) {
        assert_passes(report);
        let out = folder.path().join("vmcore");
        let extracted = collector::extract(&disk, Some(number), &out, &mut |_, _| {});
        let extracted = extracted.expect("there are two");
        assert_eq!(extracted.trouble(), None);
        let sha256: String = extracted.sha256.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(sha256, report.vmcore_sha256);
    }
    let verified = collector::verify(&disk).expect("a dump disk");
    assert!(verified.intact, "{verified}");
    let checked = verified.dumps.iter().map(|dump| dump.checked == dump.length);
    assert_eq!(checked.collect::<Vec<_>>(), [true, false]);
}

/// The other copy says enough.
#[test]
fn an_io_error_in_one_header_costs_nothing() {
    let report = cycle(guest(), |config| {
        config.fault = Some(Fault::Disk(Attachment::FailsAt { sector: 0 }));
    });
    assert_passes(&report);
}

/// A disk that takes no write to the header that is next cannot say anything of itself.
#[test]
fn an_io_error_in_the_header_leaves_the_disk_as_it_was() {
    let fault = Fault::Disk(Attachment::FailsAt { sector: 8 });
    let disk = assert_capture_fails(fault, Class::Elf32, "views", &["an I/O error"]);
    assert!(!disk.header_written, "what else was written is in no dump");
    assert_refused(&disk, "no capture has begun on it");
}

/// Checks the guest with a disk whose serving process stops or ends in the middle of the dump. The
/// VM is not stopped for digests: that would wait for the disk.
#[track_caller]
fn assert_disk_process_is_missed(attachment: Attachment, said: &str) {
    let (report, console) = cycle_and_console(guest(), |config| {
        config.fault = Some(Fault::Disk(attachment));
        config.truth = false;
        config.append = "kdump.timeout=10".into();
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

/// The dump is equal to memory, and less than 3/4 of it was written.
#[test]
fn an_lz4_dump_takes_less_of_a_disk() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = folder.path().join("disk");
    File::create(&disk).and_then(|file| file.set_len(256 * MIB)).expect("a disk");
    collector::format(&disk, None, false).expect("an empty disk");
    let report = cycle(guest(), |config| {
        config.dump_disk = Some(disk.clone());
        config.append = "kdump.compress=lz4".into();
    });
    assert_passes(&report);
    let written = disk.metadata().expect("a file").blocks() * 512;
    assert!(written < report.bytes * 3 / 4, "{written} bytes of {}", report.bytes);
}
