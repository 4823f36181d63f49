//! Debian's kernel as the first kernel.

use std::time::Duration;

use crate::common::*;
use crate::iommu::{IOMMUS, assert_captured_behind};
use crate::pages::{
    CLASSES, LOADS, SHOW_IN_PANIC, also_by_crashinfo, assert_pages, keep_for_python,
};
use qemu_tests::{Crash, Fault, Load, SavedPages};
use vmcore::{Class, PageClass};

#[test]
fn debian_i386_with_two_cpus() {
    assert_pages(debian(), LOADS, CLASSES, true, |config| {
        config.memory = 512 * MIB;
        config.cpus = 2;
        config.first_append = SHOW_IN_PANIC.into();
    });
}

#[test]
fn debian_i386_in_little_memory() {
    assert_passes(&cycle(debian(), |config| config.memory = 96 * MIB));
}

#[test]
fn debian_i386_with_a_slot_of_its_own_choice() {
    assert_passes(&cycle(debian(), |config| {
        config.memory = 256 * MIB;
        config.slot = "32M".into();
    }));
}

#[test]
fn debian_i386_powers_off() {
    let report = cycle(debian(), |config| {
        config.memory = 256 * MIB;
        config.truth = false;
        config.append = "kdump.final_action=poweroff".into();
    });
    assert_passes(&report);
    let rebooted = report.last_lines.iter().any(|line| line.contains("rebooting"));
    assert!(!rebooted, "the ACPI tables tell how to power off: {report:#?}");
}

#[test]
fn debian_i386_with_elf64_core_headers() {
    assert_passes(&cycle(debian(), |config| {
        config.memory = 256 * MIB;
        config.core_headers = Some(Class::Elf64);
    }));
}

#[test]
fn debian_amd64_with_two_cpus() {
    let classes = [CLASSES, &[PageClass::Offline]].concat();
    let out = assert_pages(debian_amd64(), LOADS, &classes, true, |config| {
        config.memory = 512 * MIB;
        config.cpus = 2;
        config.fault = Some(Fault::Balloon(64 * MIB));
        also_by_crashinfo(config, crashinfo());
    });
    keep_for_python(&out, "amd64-6.1");
}

#[test]
fn debian_i386_dies_out_of_memory() {
    let classes = [PageClass::Cache, PageClass::User, PageClass::Free];
    let loads = [Load::Anonymous, Load::OutOfMemory];
    assert_pages(debian(), &loads, &classes, true, |config| {
        config.crash = Crash::Expected(Duration::from_secs(60));
        config.shown_stacks = false;
    });
}

/// It finds in /proc/kcore that this kernel does not encrypt its memory.
#[test]
fn debian_amd64_with_the_native_loader() {
    let (report, console) = cycle_and_console(debian_amd64_and_native_loader(), |config| {
        config.memory = 256 * MIB;
        config.saved_pages = Some(SavedPages::default());
        config.before_crash =
            r#"say "$(/kdump-loader plan -d "$@" 2>&1 | grep -A 1 sme_mask | tr -d '\n ')""#.into();
    });
    assert_passes(&report);
    assert_says(&console, &["first-kernel: sme_mask:Some(0,"]);
    let judged = report.checks.iter().find(|check| check.name == "pages_left_out");
    println!("{}", judged.expect("the word of an idle kernel").detail);
}

/// Above lowmem, where this kernel would die once more in `machine_kexec`.
#[test]
fn debian_i386_with_a_slot_above_lowmem_is_refused_by_the_loader() {
    let report = cycle(debian(), |config| {
        config.memory = 2048 * MIB;
        config.slot = "32M@1G".into();
    });
    let cycle = report.checks.iter().find(|check| check.name == "cycle").expect("the check");
    let said = ["the loader refused:", "0x40000000..0x42000000 ends above lowmem"];
    assert!(said.iter().all(|said| cycle.detail.contains(said)), "{report:#?}");
}

/// Its own driver reads the disk when it dies.
#[test]
fn debian_amd64_with_the_dump_disk_behind_vt_d() {
    assert_captured_behind(&IOMMUS[0], |_| ());
}
