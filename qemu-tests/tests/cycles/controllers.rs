//! Dump disks on each kind of controller. The other architecture of each, and disks with requests
//! in flight, are in `cargo xtask test --full`.

use crate::busy_disks::assert_kept;
use crate::common::*;
use qemu_tests::host::dump_disk::Attachment;
use qemu_tests::{Config, Controller, Fault, FirstKernel, Way};
use vmcore::Class;

/// A cycle with T0, T1 and T2.
fn assert_stopped_kept(first_kernel: FirstKernel, controller: Controller) {
    let report = assert_kept(first_kernel, controller, true, |_| ());
    assert_all_checked(&report, &[LINUX_CHECKS, &["busy_disk_kept"]].concat());
}

#[test]
fn debian_i386_with_a_busy_virtio_disk() {
    assert_kept(debian(), Controller::VirtioBlk, false, |_| ());
}

#[test]
fn debian_amd64_with_a_busy_disk_on_virtio_scsi() {
    assert_stopped_kept(debian_amd64(), Controller::VirtioScsi);
}

#[test]
fn debian_i386_with_a_busy_disk_on_nvme() {
    assert_stopped_kept(debian(), Controller::Nvme);
}

#[test]
fn debian_amd64_with_a_busy_disk_on_ahci() {
    assert_stopped_kept(debian_amd64(), Controller::Ahci);
}

fn on(controller: Controller) -> impl FnOnce(&mut Config) {
    move |config| config.delivery.targets = Way::Disk(controller).into()
}

#[test]
fn a_guest_over_virtio_scsi() {
    let (report, console) = cycle_and_console(guest(), on(Controller::VirtioScsi));
    assert_passes(&report);
    assert_says(&console, &["kdump: target virtio-scsi at PCI ", "target 0 LUN 0"]);
}

/// Two disks beside it, one of another size of blocks, on targets of their own and of its target.
#[test]
fn the_dump_disk_is_one_of_several_on_virtio_scsi() {
    let (report, console) = cycle_and_console(guest(), |config| {
        on(Controller::VirtioScsi)(config);
        config.disk_properties =
            "scsi-id=3,lun=2,logical_block_size=4096,physical_block_size=4096".into();
        let others = ["scsi-id=0", "scsi-id=3,lun=1"];
        for (number, place) in (0..).zip(others) {
            let drive = format!("if=none,id=other{number},driver=null-co,size=1M,read-zeroes=on");
            let disk = format!("scsi-hd,bus=disks.0,drive=other{number},{place}");
            config.devices.extend(["-drive".into(), drive, "-device".into(), disk]);
        }
    });
    assert_passes(&report);
    assert_says(&console, &["target 0 LUN 0", "target 3 LUN 1", "target 3 LUN 2"]);
}

/// A cycle whose dump disk on virtio-scsi has a fault.
#[track_caller]
fn assert_scsi_fails(attachment: Attachment, stage: &str, said: &[&str]) {
    let (report, console) = cycle_and_console(guest(), |config| {
        on(Controller::VirtioScsi)(config);
        config.fault = Some(Fault::Disk(attachment));
        config.core_headers = Some(Class::Elf32);
    });
    assert_only_fails(&report, &["cycle"]);
    assert_says(&console, said);
    assert_says(&console, &[&format!("kdump: failed at stage={stage}")]);
}

#[test]
fn faults_of_a_disk_on_virtio_scsi_are_named() {
    assert_scsi_fails(Attachment::ReadOnly, "views", &["the disk is read-only"]);
    let said = ["an aborted command (sense b/00/06)"];
    assert_scsi_fails(Attachment::FailsAt { sector: 65536 }, "first_byte", &said);
}
