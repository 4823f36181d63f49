//! The test guest in good health, and checks that can fail.

use crate::common::*;
use qemu_tests::{Fault, Verdict};
use vmcore::Class;

/// Every CPU has its note, with the registers that it had loaded.
#[track_caller]
fn assert_passes_with_cpus(cpus: u32) {
    let report = cycle(guest(), |config| config.cpus = cpus);
    assert_passes(&report);
    let pattern = report.checks.iter().find(|check| check.name == "register_pattern");
    let detail = &pattern.expect("the guest's registers are known").detail;
    assert!(detail.ends_with(&format!("each of {cpus} CPUs")), "{detail}");
}

#[test]
fn guest_with_one_cpu() {
    assert_passes_with_cpus(1);
}

#[test]
fn guest_with_two_cpus() {
    assert_passes_with_cpus(2);
}

#[test]
fn guest_with_four_cpus() {
    assert_passes_with_cpus(4);
}

#[test]
fn guest_with_eight_cpus() {
    assert_passes_with_cpus(8);
}

#[test]
fn a_cpu_that_never_answers_the_nmi_is_named_and_the_capture_goes_on() {
    let out = tempfile::tempdir().expect("a folder for the results");
    let mut config = config(guest(), &out);
    (config.cpus, config.fault) = (4, Some(Fault::DeafCpu(2)));
    let report = qemu_tests::run(&config, &mut |_| ()).expect("the host has what a cycle needs");
    let console = std::fs::read_to_string(out.path().join("console.log")).expect("a log");
    assert_eq!(report.verdict, Verdict::Pass, "{report:#?}\n{console}");
    let unanswered: Vec<_> =
        console.lines().filter(|line| line.contains("did not answer")).collect();
    assert!(
        matches!(unanswered[..], [line] if line.ends_with("guest: cpu 2 did not answer")),
        "{console}"
    );
    assert!(console.contains("empty, this CPU saved no registers"), "{console}");
}

#[test]
fn guest_with_a_slot_elsewhere() {
    assert_passes(&cycle(guest(), |config| config.slot = "32M@64M".into()));
}

#[test]
fn guest_with_a_small_slot() {
    assert_passes(&cycle(guest(), |config| config.slot = "8M@34M".into()));
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

#[test]
fn an_nmi_during_the_capture_is_counted() {
    assert_captured(Fault::Nmi, "kdump: 1 NMIs arrived during the capture");
}
