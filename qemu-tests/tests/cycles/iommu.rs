//! First kernels that have an IOMMU translate the addresses of the dump disk, which their own
//! driver reads when they die.

use crate::basics::*;
use qemu_tests::{Config, MachineType, Report};

/// An IOMMU, and the words about it.
pub(crate) struct Iommu {
    /// QEMU's device.
    device: &'static str,
    /// Switches it on, for Linux.
    word: &'static str,
    /// Linux on its use, on the console.
    used: &'static str,
    /// As the loader hands it over.
    unit: &'static str,
}

/// All of them: Intel VT-d and AMD-Vi.
pub(crate) const IOMMUS: [Iommu; 2] = [
    Iommu {
        device: "intel-iommu,intremap=on",
        word: "intel_iommu=on",
        used: "DMAR: Intel(R) Virtualization Technology for Directed I/O",
        unit: "vtd@0xfed90000",
    },
    Iommu {
        device: "amd-iommu",
        word: "amd_iommu=on",
        used: "AMD-Vi: Interrupt remapping enabled",
        unit: "amd@0xfed80000",
    },
];

/// The driver of virtio disks.
const DRIVER: [&str; 6] = [
    "drivers/virtio/virtio.ko",
    "drivers/virtio/virtio_ring.ko",
    "drivers/virtio/virtio_pci_modern_dev.ko",
    "drivers/virtio/virtio_pci_legacy_dev.ko",
    "drivers/virtio/virtio_pci.ko",
    "drivers/block/virtio_blk.ko",
];

/// Shell commands: the kind of translation for each function, and two programs that read the disk.
const BUSY: &str = "say iommu $(cat /sys/bus/pci/devices/*/iommu_group/type)
for reader in 0 1; do while dd if=/dev/vda of=/dev/null bs=1M iflag=direct 2>/dev/null; do :; done & done
until read -r reads writes </sys/block/vda/inflight && [ \"$reads\" -gt 0 ]; do :; done";

/// Runs Debian with the dump disk behind an IOMMU, with `change` applied.
pub(crate) fn behind(iommu: &Iommu, change: impl FnOnce(&mut Config)) -> (Report, String) {
    let out = tempfile::tempdir().expect("a folder for the results");
    cycle_into(&out, debian_kernel("AMD64"), |config| {
        config.machine = MachineType::Q35;
        config.memory = 256 * MIB;
        config.devices = ["-device", iommu.device].map(str::to_string).to_vec();
        config.disk_properties = "disable-legacy=on,iommu_platform=on".into();
        // On a busy host Linux may find that no timer interrupt is remapped, and panic of that.
        config.first_append = format!("{} no_timer_check", iommu.word);
        config.modules = DRIVER.to_vec();
        config.before_crash = BUSY.into();
        change(config);
    })
}

/// The dump is whole, the disk was behind the IOMMU, and translation was turned off.
#[track_caller]
pub(crate) fn assert_captured_behind(iommu: &Iommu, change: impl FnOnce(&mut Config)) {
    let (report, console) = behind(iommu, change);
    assert_all_checked(&report, LINUX_CHECKS);
    let turned_off = format!("kdump: IOMMU {}: translation turned off", iommu.unit);
    for said in [iommu.used, "first-kernel: iommu DMA", &turned_off] {
        assert!(console.contains(said), "the console does not say {said:?}:\n{console}");
    }
}
