//! The test guest in good health, and checks that can fail.

use crate::common::*;
use qemu_tests::Fault;
use vmcore::Class;

#[test]
fn guest_with_a_slot_elsewhere() {
    assert_passes(&cycle(guest(), |config| config.slot = "32M@64M".into()));
}

#[test]
fn guest_with_a_small_slot() {
    assert_passes(&cycle(guest(), |config| config.slot = "8M@34M".into()));
}

#[test]
fn guest_with_little_memory() {
    assert_passes(&cycle(guest(), |config| {
        config.memory = 48 * MIB;
        config.slot = "8M@34M".into();
    }));
}

#[test]
fn guest_with_64_mib_of_memory() {
    assert_passes(&cycle(guest(), |config| config.memory = 64 * MIB));
}

#[test]
fn guest_with_256_mib_of_memory() {
    assert_passes(&cycle(guest(), |config| config.memory = 256 * MIB));
}

#[test]
fn guest_with_elf64_core_headers() {
    assert_passes(&cycle(guest(), |config| config.core_headers = Some(Class::Elf64)));
}

#[test]
fn guest_without_stops_is_compared_after_its_end() {
    let report = cycle(guest(), |config| config.truth = false);
    assert_passes(&report);
    assert_eq!(report.stopped_ms, 0.0);
    assert!(report.checks.iter().all(|check| !check.name.starts_with("memory_kept")));
}

#[test]
fn a_stray_write_into_old_memory_is_seen() {
    let report = cycle(guest(), |config| config.fault = Some(Fault::StrayWrite));
    assert_only_fails(&report, &["memory_kept_t0_t1"]);
}

#[test]
fn one_wrong_byte_in_the_vmcore_is_seen() {
    let report = cycle(guest(), |config| config.fault = Some(Fault::CorruptVmcore));
    assert_only_fails(&report, &["vmcore_equals_memory"]);
}
