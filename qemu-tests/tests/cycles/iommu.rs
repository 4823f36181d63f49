//! First kernels that have an IOMMU translate the addresses of the dump disk, which their own
//! driver reads when they die.

use crate::common::*;
use qemu_tests::{Config, MachineType, Report};

/// An IOMMU, and the words about it.
struct Iommu {
    /// QEMU's device.
    device: &'static str,
    /// Switches it on, for Linux.
    word: &'static str,
    /// Linux on its use, on the console.
    used: &'static str,
    /// As the loader hands it over.
    unit: &'static str,
}

const INTEL: Iommu = Iommu {
    device: "intel-iommu,intremap=on",
    word: "intel_iommu=on",
    used: "DMAR: Intel(R) Virtualization Technology for Directed I/O",
    unit: "vtd@0xfed90000",
};

const AMD: Iommu = Iommu {
    device: "amd-iommu",
    word: "amd_iommu=on",
    used: "AMD-Vi: Interrupt remapping enabled",
    unit: "amd@0xfed80000",
};

/// The driver of virtio disks.
const DRIVER: [&str; 6] = [
    "drivers/virtio/virtio.ko",
    "drivers/virtio/virtio_ring.ko",
    "drivers/virtio/virtio_pci_modern_dev.ko",
    "drivers/virtio/virtio_pci_legacy_dev.ko",
    "drivers/virtio/virtio_pci.ko",
    "drivers/block/virtio_blk.ko",
];

/// Shell commands: the kind of translation for each function, and two that read the disk.
const BUSY: &str = "say iommu $(cat /sys/bus/pci/devices/*/iommu_group/type)
for reader in 0 1; do while dd if=/dev/vda of=/dev/null bs=1M iflag=direct 2>/dev/null; do :; done & done
sleep 1
say reads in flight $(cat /sys/block/vda/inflight)";

/// Runs Debian with the dump disk behind an IOMMU, with `change` applied.
fn behind(iommu: &Iommu, change: impl FnOnce(&mut Config)) -> (Report, String) {
    cycle_and_console(debian_amd64(), |config| {
        config.machine = MachineType::Q35;
        config.memory = 256 * MIB;
        config.devices = ["-device", iommu.device].map(str::to_string).to_vec();
        config.disk_properties = "disable-legacy=on,iommu_platform=on".into();
        config.first_append = iommu.word.into();
        config.modules = DRIVER.to_vec();
        config.before_crash = BUSY.into();
        change(config);
    })
}

#[track_caller]
fn assert_captured_behind(iommu: &Iommu) {
    let (report, console) = behind(iommu, |_| ());
    assert_all_checked(&report, LINUX_CHECKS);
    let turned_off = format!("kdump: IOMMU {}: translation turned off", iommu.unit);
    assert_says(&console, &[iommu.used, "first-kernel: iommu DMA", &turned_off]);
}

#[test]
fn debian_amd64_with_the_dump_disk_behind_vt_d() {
    assert_captured_behind(&INTEL);
}

#[test]
fn debian_amd64_with_the_dump_disk_behind_amd_vi() {
    assert_captured_behind(&AMD);
}

/// A unit that is not where the command line says may be on: the disk is refused by name.
#[test]
fn a_disk_behind_an_iommu_that_is_not_turned_off_is_refused() {
    let (report, console) =
        behind(&INTEL, |config| config.append = "kdump.iommu=vtd@0xfed80000".into());
    assert_only_fails(&report, &["cycle"]);
    let said = [
        "kdump: IOMMU vtd@0xfed80000: no IOMMU answers there (it reads 0xffffffff)",
        "the IOMMU at 0xfed80000 may still translate the device's addresses",
    ];
    assert_says(&console, &said);
}

/// The same as without our work: translation is on, and the disk does not get the addresses that it
/// is given.
#[test]
fn a_disk_behind_an_iommu_that_stays_on_is_of_no_use() {
    let (report, console) =
        behind(&INTEL, |config| config.append = "kdump.iommu=none kdump.timeout=2".into());
    assert_only_fails(&report, &["cycle"]);
    assert_says(&console, &["the device did not complete a request in time"]);
}
