//! Machines without PCI and ACPI, whose virtio devices have their registers in memory.

use crate::common::*;
use qemu_tests::{Config, Fault, FirstKernel, MachineType, Report};

/// Runs a cycle on QEMU's microvm with `change` applied. Returns the report and all console output.
fn on_microvm(first_kernel: FirstKernel, change: impl FnOnce(&mut Config)) -> (Report, String) {
    cycle_and_console(first_kernel, |config| {
        config.machine = MachineType::MicroVm;
        config.memory = 96 * MIB;
        change(config);
    })
}

#[test]
fn a_guest_on_a_microvm() {
    let (report, console) = on_microvm(guest(), |config| config.cpus = 2);
    assert_passes(&report);
    let said = [
        "kdump: the PIT does not answer",
        "kdump: 0 PCI functions",
        "kdump: 1 virtio devices by virtio_mmio.device=",
        "kdump: target virtio-blk at MMIO 0xfeb00000",
    ];
    assert_says(&console, &said);
}

/// QEMU passes the disk's address to Linux, and our loader passes it to the capture kernel.
#[test]
fn debian_on_a_microvm() {
    let (report, console) = on_microvm(debian(), |config| config.memory = 256 * MIB);
    assert_passes(&report);
    assert_says(&console, &["kdump: target virtio-blk at MMIO 0xfeb00000"]);
}

/// The disk that QEMU's microvm has by default.
#[test]
fn a_legacy_only_disk_of_a_microvm_is_named_and_left_alone() {
    let legacy = ["-global", "virtio-mmio.force-legacy=true"].map(str::to_string);
    let (report, _) = on_microvm(guest(), |config| config.devices = legacy.to_vec());
    assert_no_dump(&report, "virtio-blk at MMIO 0xfeb00000: a legacy-only virtio device");
    let kept = |name: &str| report.checks.iter().any(|check| check.name == name && check.pass);
    assert!(kept("memory_kept_t0_t1") && kept("memory_kept_t1_t2"), "{report:#?}");
}

#[test]
fn a_disk_of_a_microvm_behind_an_iommu_is_named_and_left_alone() {
    let (report, _) = on_microvm(guest(), |config| {
        config.disk_properties = "iommu_platform=on".into();
    });
    assert_no_dump(
        &report,
        "virtio-blk at MMIO 0xfeb00000: the device is attached through an IOMMU",
    );
}

#[test]
fn a_microvm_whose_disks_nobody_names_has_none() {
    let (report, _) = on_microvm(guest(), |config| {
        config.fault = Some(Fault::WrongSegment { name: "command-line", change: forget_devices });
    });
    assert_no_dump(&report, "no disk or partition carries a dump-disk header with id");
}

/// Makes another word of each `virtio_mmio.device=`.
fn forget_devices(line: &mut [u8]) {
    let key = b"virtio_mmio";
    let places: Vec<_> =
        line.windows(key.len()).enumerate().filter(|(_, text)| text == key).collect();
    let at = places.first().map(|(at, _)| *at).expect("the word");
    line[at] = b'x';
}

/// Bytes in old memory that look like the registers of a disk with an active driver: each entry is
/// an address (physical) and the value there. The guest's own pattern is at the start of each page.
const DECOY: u64 = 0x500_0800;
const DECOY_REGISTERS: [(u64, u32); 4] =
    [(DECOY, 0x7472_6976), (DECOY + 4, 2), (DECOY + 8, 2), (DECOY + 0x70, 0xf)];

/// Wrong places are named and not written to, and the right one is used all the same.
#[test]
fn wrong_places_of_virtio_devices_are_named_and_left_alone() {
    let wrong = [
        ("512@0x5000800:5", "0x5000800..0x5000a00: that is memory, not a device"),
        ("1G@0x5f00000:5", "0x5f00000..0x45f00000: that is memory, not a device"),
        ("512@0xfeb00402:7", "0xfeb00402..0xfeb00602: registers begin at a multiple of 4"),
        ("64@0xfeb00400:7", "0xfeb00400..0xfeb00440: registers take 256 bytes at least"),
        ("512@0xfeb00200:6", "0xfeb00200..0xfeb00400: a virtio transport without a device"),
        ("512@0xfd000000:6", "0xfd000000..0xfd000200: no virtio device is there"),
        ("512@0xfffffffff0000000:6", "cannot be mapped"),
        ("512:6", "right is SIZE[KMG]@BASE:IRQ[:ID]"),
    ];
    let words: Vec<_> = wrong.map(|(value, _)| format!("virtio_mmio.device={value}")).to_vec();
    let decoy = DECOY_REGISTERS.map(|(address, value)| {
        ["-device".to_string(), format!("loader,addr={address:#x},data={value:#x},data-len=4")]
    });
    let (report, console) = on_microvm(guest(), |config| {
        config.append = words.join(" ");
        config.devices = decoy.concat();
    });
    assert_passes(&report);
    assert_says(&console, &wrong.map(|(_, said)| said));
}
