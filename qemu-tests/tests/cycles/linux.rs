//! Debian's kernel as the first kernel.

use crate::common::*;
use vmcore::Class;

#[test]
fn debian_i386_with_two_cpus() {
    assert_passes(&cycle(debian(), |config| {
        config.memory = 512 * MIB;
        config.cpus = 2;
    }));
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
    assert_passes(&cycle(debian_amd64(), |config| {
        config.memory = 512 * MIB;
        config.cpus = 2;
    }));
}

#[test]
fn debian_amd64_with_the_native_loader() {
    assert_passes(&cycle(debian_amd64_and_native_loader(), |config| {
        config.memory = 256 * MIB;
    }));
}
