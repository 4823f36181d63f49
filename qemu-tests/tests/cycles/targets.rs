//! The ways out, each with a first kernel that it suits: the dump is whole and equal to memory.

use crate::common::*;
use qemu_tests::{Config, Delivery, FirstKernel, MachineType, Report};

/// A cycle over these targets.
#[track_caller]
fn assert_out(
    first_kernel: FirstKernel,
    targets: &str,
    change: impl FnOnce(&mut Config),
) -> (Report, String) {
    let (report, console) = cycle_and_console(first_kernel, |config| {
        config.delivery = over(targets);
        change(config);
    });
    assert_passes(&report);
    (report, console)
}

/// The harness compares all bytes around the partition before and after (`rest_of_disk`).
#[test]
fn a_guest_over_a_partition_between_two_others() {
    let (report, console) = assert_out(guest(), "partition", small);
    assert!(console.contains(", partition 2, id "), "{console}");
    assert!(report.checks.iter().any(|check| check.name == "rest_of_disk"));
}

/// The console's text and the frames share one line.
#[test]
fn a_guest_over_the_serial_console() {
    let (report, console) = assert_out(guest(), "serial", small);
    assert!(console.contains("kdump: target serial:port=0,baud=115200: has the dump"), "{console}");
    assert_eq!(report.arrived_by.as_deref(), Some("serial"));
    assert_eq!(report.received[0].damaged_frames, 0, "{report:#?}");
}

#[test]
fn a_guest_over_a_serial_line_of_its_own() {
    let (_, console) = assert_out(guest(), "serial2", small);
    assert!(console.contains("kdump: target serial:port=1,baud=115200: has the dump"), "{console}");
}

#[test]
fn a_guest_over_a_virtio_console() {
    let (_, console) = assert_out(guest(), "virtio-console", |_| ());
    assert!(console.contains("kdump: target virtio-console:name=kdump: has the dump"), "{console}");
}

/// The small views are beside the dump, and are the same over either way.
#[test]
fn debian_i386_over_a_disk_and_a_virtio_console() {
    let out = tempfile::tempdir().expect("a folder for the results");
    let (report, _) = cycle_into(&out, debian(), |config| {
        config.memory = 256 * MIB;
        config.delivery = over("virtio-blk+virtio-console");
    });
    assert_passes(&report);
    let view = |path: &str| std::fs::read(out.path().join(path)).expect(path);
    for name in ["dmesg-tail", "notes", "vmcoreinfo", "stack", "dmesg"] {
        let file = format!("vmcore.{name}");
        let (disk, line) = (view(&file), view(&format!("received/virtio-console/{file}")));
        assert!(!disk.is_empty() && disk == line, "{name}");
    }
    let tail = String::from_utf8_lossy(&view("vmcore.dmesg-tail")).into_owned();
    assert!(tail.contains("Kernel panic - not syncing: sysrq triggered crash"), "{tail}");
}

#[test]
fn debian_amd64_over_a_virtio_console() {
    assert_out(debian_amd64(), "virtio-console", |config| config.memory = 256 * MIB);
}

#[test]
fn a_microvm_over_a_virtio_console() {
    let (report, _) = cycle_and_console(guest(), |config| {
        config.machine = MachineType::MicroVm;
        config.memory = 96 * MIB;
        config.delivery = over("virtio-blk+virtio-console");
    });
    assert_passes(&report);
}

/// Each gets the same bytes.
#[test]
fn a_guest_over_all_targets_in_turn() {
    let (report, _) = assert_out(guest(), "virtio-blk+virtio-console+serial", small);
    let same = report.checks.iter().find(|check| check.name == "same_everywhere");
    let names = same.map(|check| check.detail.as_str());
    assert_eq!(names, Some("one SHA-256 from virtio-blk, virtio-console, serial"));
    let vmcores = report.received.iter().flat_map(|received| &received.views);
    let vmcores: Vec<_> = vmcores.filter(|view| view.view == "vmcore").collect();
    let sha256 = Some(report.vmcore_sha256.clone());
    assert!(vmcores.len() == 2 && vmcores.iter().all(|view| view.sha256 == sha256), "{report:#?}");
}

/// A view that is asked for instead of the vmcore comes over a link as well.
#[test]
fn a_part_of_oldmem_over_the_serial_console() {
    assert_passes(&cycle(debian(), |config| {
        config.memory = 96 * MIB;
        config.delivery = over("serial");
        config.append = "kdump.view=oldmem:0x3000000+256K".into();
        config.oldmem = Some(0x300_0000..0x304_0000);
    }));
}

/// Linux's panic log is there long before its memory is: here the machine's power fails soon after.
#[test]
fn the_panic_log_comes_first() {
    let out = tempfile::tempdir().expect("a folder for the results");
    let (report, _) = cycle_into(&out, debian(), |config| {
        config.memory = 96 * MIB;
        let fate = qemu_tests::Fate::PowerCut { after: 64 << 10 };
        config.delivery = Delivery { fate, ..over("serial") };
        config.truth = false;
    });
    assert_only_fails(&report, &["cycle"]);
    let views = &report.received[0].views;
    let missing = |name: &str| {
        let view = views.iter().find(|view| view.view == name);
        view.unwrap_or_else(|| panic!("no {name}: {report:#?}")).missing.len()
    };
    assert_eq!((missing("dmesg-tail"), missing("vmcoreinfo")), (0, 0));
    assert_ne!(missing("vmcore"), 0);
    let tail = out.path().join("received/serial/vmcore.dmesg-tail.partial");
    let tail = std::fs::read_to_string(tail).expect("the end of the log");
    assert!(tail.contains("Kernel panic - not syncing: sysrq triggered crash"), "{tail}");
}
