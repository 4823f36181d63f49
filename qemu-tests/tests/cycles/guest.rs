//! Crash cycles on the test guest: an honest one holds every check, and each planted fault fails
//! the check that is there for it.

use qemu_tests::{Config, Fault, FirstKernel, Report, Verdict, run};

use crate::images;

fn cycle(change: impl FnOnce(&mut Config)) -> Report {
    let out = tempfile::tempdir().expect("a folder");
    let guest = FirstKernel::Guest { elf: images::image("KDUMP_GUEST") };
    let mut config = images::config(guest, out.path());
    change(&mut config);
    run(&config, &mut |_| {}).expect("the host has what a cycle needs")
}

#[test]
fn an_honest_cycle_holds_every_check() {
    let report = cycle(|_| {});
    assert_eq!(report.verdict, Verdict::Pass, "{report:#?}");
    for name in ["vmcore_equals_memory", "memory_kept_t0_t1", "memory_kept_t1_t2", "truth"] {
        assert!(report.checks.iter().any(|check| check.name == name), "{name} was not checked");
    }
}

#[test]
fn a_small_slot_at_another_place_works_too() {
    let report = cycle(|config| config.slot = "8M@34M".to_string());
    assert_eq!(report.verdict, Verdict::Pass, "{report:#?}");
}

#[test]
fn without_stops_memory_is_compared_after_the_end() {
    let report = cycle(|config| config.truth = false);
    assert_eq!(report.verdict, Verdict::Pass, "{report:#?}");
    assert_eq!(report.stopped_ms, 0.0);
    assert!(report.checks.iter().all(|check| !check.name.starts_with("memory_kept")));
}

#[test]
fn a_stray_write_into_old_memory_is_found() {
    let report = cycle(|config| config.fault = Some(Fault::StrayWrite));
    assert_eq!(images::failed(&report), ["memory_kept_t0_t1"]);
}

#[test]
fn a_wrong_byte_in_the_vmcore_is_found() {
    let report = cycle(|config| config.fault = Some(Fault::CorruptVmcore));
    assert_eq!(images::failed(&report), ["vmcore_equals_memory"]);
}

#[test]
fn a_capture_without_a_target_says_where_it_stopped() {
    let report = cycle(|config| config.append = "kdump.target=none".to_string());
    assert_eq!(images::failed(&report), ["cycle"]);
    assert_eq!(report.bytes, 0);
    assert!(!report.last_lines.is_empty());
}
