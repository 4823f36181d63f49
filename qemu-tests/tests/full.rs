//! Guests with more memory than an ordinary run may take, and dumps that take minutes; `cargo xtask
//! test --full` runs these one after the other.

#[path = "cycles/basics.rs"]
mod basics;
#[path = "cycles/busy_disks.rs"]
mod busy_disks;
#[path = "cycles/crash_kinds.rs"]
mod crash_kinds;
#[path = "cycles/iommu.rs"]
mod iommu;
#[path = "cycles/pages.rs"]
mod pages;

use basics::*;
use busy_disks::assert_kept;
use crash_kinds::{KINDS, assert_fingerprints};
use iommu::{IOMMUS, assert_captured_behind, behind};
use pages::{CLASSES, LOADS, SHOW_IN_PANIC, also_by_crashinfo, assert_pages, keep_for_python};
use qemu_tests::check::core_file::CoreFile;
use qemu_tests::check::crashinfo::Crashinfo;
use qemu_tests::{Check, Controller, Level, Verdict};
use vmcore::PageClass;

const PAGE: u64 = 4096;
/// From here on the guest fills its memory; its image follows.
const GUEST: u64 = 16 * MIB;

/// The vmcore is whole, in headers of this class (`EI_CLASS`), and the last page of each stretch of
/// high memory has the address in it that the guest put there.
#[track_caller]
fn assert_captured(memory: u64, class: u8) {
    let out = tempfile::tempdir().expect("a folder for the results");
    let (report, console) = cycle_into(&out, guest(), |config| config.memory = memory);
    assert_passes(&report);
    let core = CoreFile::open(&out.path().join("vmcore")).expect("a vmcore");
    let mut found = [0];
    core.read_at(4, &mut found).expect("a header");
    assert_eq!(found, [class], "{console}");
    for load in core.loads.iter().filter(|load| load.paddr > GUEST) {
        let mut address = [0; 8];
        core.read_at(load.offset + load.filesz - PAGE, &mut address).expect("the last page");
        let expected = load.paddr + load.filesz - PAGE;
        assert_eq!(u64::from_le_bytes(address), expected, "{expected:#x}");
    }
}

#[test]
fn guest_with_3_gib() {
    assert_captured(3072 * MIB, 1);
}

#[test]
fn guest_with_3_gib_and_a_half_has_memory_above_4_gib() {
    assert_captured(3584 * MIB, 2);
}

#[test]
fn guest_with_4_gib_and_a_half() {
    assert_captured(4608 * MIB, 2);
}

#[test]
fn guest_with_8_gib() {
    assert_captured(8192 * MIB, 2);
}

/// The smallest slot, compressed, at level 31: the dump is whole.
#[test]
fn debian_amd64_with_8_gib_and_a_slot_of_2_mib() {
    let out = tempfile::tempdir().expect("a folder for the results");
    let (report, console) = cycle_into(&out, debian_kernel("AMD64"), |config| {
        config.memory = 8192 * MIB;
        config.slot = "2M@16M".into();
        config.level = Level::KERNEL;
        config.append = "kdump.level=31 kdump.compress=lz4".into();
    });
    assert_passes(&report);
    assert!(console.contains("kdump: heap: ") && !console.contains("no compression"), "{console}");
}

/// A Linux has few pages of zeros: it is minutes on a serial line, most of them in QEMU.
#[test]
fn debian_i386_over_the_serial_console() {
    let out = tempfile::tempdir().expect("a folder for the results");
    let (report, _) = cycle_into(&out, debian(), |config| {
        config.memory = 96 * MIB;
        config.delivery = over("serial");
    });
    assert_passes(&report);
}

/// Preemptible in all places.
#[test]
fn debian_amd64_rt() {
    assert_pages(debian_kernel("AMD64_RT"), LOADS, CLASSES, true, |config| {
        config.cpus = 2;
        config.first_append = SHOW_IN_PANIC.into();
    });
}

/// The newest: `panic` calls `vpanic`, files of kexec are in a folder of their own, and heads of
/// compound pages are found by a mask. Its package has no modules.
#[test]
fn debian_amd64_7_2() {
    let classes = [PageClass::Cache, PageClass::User, PageClass::Free, PageClass::HwPoison];
    let out = assert_pages(debian_kernel("AMD64_7_2"), LOADS, &classes, false, |config| {
        config.cpus = 2;
        config.first_append = format!("hugetlb_free_vmemmap=on {SHOW_IN_PANIC}");
        also_by_crashinfo(config, crashinfo());
    });
    keep_for_python(&out, "amd64-7.2");
}

/// The types of an i386 kernel are in its debug vmlinux.
#[test]
fn debian_i386_with_its_debug_vmlinux() {
    let out = assert_pages(debian(), LOADS, CLASSES, true, |config| {
        config.cpus = 2;
        config.first_append = SHOW_IN_PANIC.into();
        let debug_vmlinux = Some(file("KDUMP_TEST_DEBUG_I386"));
        also_by_crashinfo(config, Crashinfo { debug_vmlinux, ..crashinfo() });
    });
    keep_for_python(&out, "i386-6.1");
}

/// crashinfo reads the kernel that it runs on.
#[test]
fn debian_amd64_reads_itself() {
    assert_pages(debian_kernel("AMD64"), &[], &[PageClass::Free], true, |config| {
        config.memory = 512 * MIB;
        config.cpus = 2;
        config.first_append = SHOW_IN_PANIC.into();
        also_by_crashinfo(config, Crashinfo { is_live: true, ..crashinfo() });
    });
}

/// Crashes of one kind in five boots have one fingerprint, and it is that of no other kind. The
/// kernel moves to another random place in each.
#[test]
fn each_kind_of_crash_has_its_fingerprint() {
    assert_fingerprints(&KINDS.map(|kind| kind.name), 5);
}

#[test]
fn debian_amd64_with_the_dump_disk_behind_amd_vi() {
    assert_captured_behind(&IOMMUS[1], |_| ());
}

/// The driver of SATA controllers. It talks to the disk, and nothing reads it.
const SATA: [&str; 5] = [
    "drivers/scsi/scsi_common.ko",
    "drivers/scsi/scsi_mod.ko",
    "drivers/ata/libata.ko",
    "drivers/ata/libahci.ko",
    "drivers/ata/ahci.ko",
];

#[test]
fn debian_amd64_with_a_sata_dump_disk_behind_vt_d() {
    assert_captured_behind(&IOMMUS[0], |config| {
        config.delivery = over("ahci");
        config.disk_properties = String::new();
        config.modules = SATA.to_vec();
        config.before_crash = "say iommu $(cat /sys/bus/pci/devices/*/iommu_group/type)".into();
    });
}

/// The dump disk is behind VT-d, with more words for the capture kernel. There is no dump, and all
/// of this is on the console.
#[track_caller]
fn assert_no_dump_behind_an_iommu(append: &str, said: &[&str]) {
    let (report, console) = behind(&IOMMUS[0], |config| config.append = append.into());
    assert_eq!(report.verdict, Verdict::Fail, "{report:#?}");
    let kept = |check: &Check| check.name == "memory_kept_t1_t2" && check.pass;
    assert!(report.checks.iter().any(kept), "{report:#?}");
    for said in said {
        assert!(console.contains(said), "the console does not say {said:?}:\n{console}");
    }
}

/// A unit that is not where the command line says may be on: the disk is refused by name.
#[test]
fn a_disk_behind_an_iommu_that_does_not_answer_is_refused() {
    let said = [
        "kdump: IOMMU vtd@0xfed80000: no IOMMU answers there",
        "the IOMMU at 0xfed80000 may still translate the device's addresses",
    ];
    assert_no_dump_behind_an_iommu("kdump.iommu=vtd@0xfed80000", &said);
}

/// Translation is on, and the capture kernel is told that there is no IOMMU: the disk does not get
/// the memory that it is given.
#[test]
fn a_disk_behind_an_iommu_that_stays_on_is_of_no_use() {
    let said = ["the device did not complete a request in time"];
    assert_no_dump_behind_an_iommu("kdump.iommu=none kdump.timeout=2", &said);
}

#[test]
fn debian_over_a_partition_between_two_others() {
    for kernel in [debian(), debian_kernel("AMD64")] {
        let out = tempfile::tempdir().expect("a folder for the results");
        let (report, console) = cycle_into(&out, kernel, |config| {
            config.memory = 256 * MIB;
            config.delivery = over("partition");
        });
        assert_passes(&report);
        assert!(report.checks.iter().any(|check| check.name == "rest_of_disk"));
        assert!(console.contains(", partition 2, id "), "{console}");
    }
}

/// Stopped at T0, T1 and T2, and with requests in flight: each kind that the ordinary tests have
/// not.
#[test]
fn busy_disks_on_every_controller() {
    for controller in Controller::ALL {
        for kernel in ["I386", "AMD64"] {
            for truth in [true, false] {
                println!("{} {kernel}, stopped: {truth}", controller.name());
                assert_kept(debian_kernel(kernel), controller, truth, |_| ());
            }
        }
    }
}
