//! A capture kernel that hangs, and the watchdog that ends it.

use crate::common::*;
use qemu_tests::Fault;

/// With `kdump.timeout=1` the watchdog's timeout is 7 s.
#[track_caller]
fn assert_watchdog_bites(first_append: &str, append: &str, last_word: &str) -> String {
    let (report, console) = cycle_and_console(guest(), |config| {
        config.fault = Some(Fault::Hang);
        config.first_append = first_append.into();
        config.append = format!("kdump.timeout=1 {append}");
    });
    assert_only_fails(&report, &["cycle"]);
    let bitten = "] kdump: watchdog: no progress for 7 s at stage=quiesced eip=0x";
    for said in [bitten, "kdump: failed at stage=quiesced", "kdump: stage=failed", last_word] {
        assert!(console.contains(said), "the console does not say {said:?}:\n{console}");
    }
    let (before, _) = console.split_once(bitten).expect("it is said");
    assert_says(before, &["kdump: image 0x", "PCI functions, none is bus master"]);
    assert!(report.checks.iter().any(|check| is_kept_to_the_end(&check.name)), "{report:#?}");
    console
}

#[test]
fn a_capture_kernel_that_hangs_is_reset() {
    assert_watchdog_bites("", "", "kdump: rebooting");
}

#[test]
fn a_hang_ends_in_the_failure_action() {
    assert_watchdog_bites("", "kdump.failure_action=poweroff", "cannot power off; rebooting");
}

/// Its interrupt is in service for good, and its class is that of the watchdog's.
#[test]
fn a_kernel_that_died_in_an_interrupt_does_not_hold_the_watchdog_back() {
    let console = assert_watchdog_bites("die=interrupt", "", "kdump: rebooting");
    assert!(console.contains("guest: dies in an interrupt"), "{console}");
}

/// A capture that works never hears of it, also when the first kernel died in an interrupt.
#[test]
fn a_capture_that_goes_on_is_left_alone() {
    let dump = Dump::of(|config| {
        config.first_append = "die=interrupt".into();
        config.append = "kdump.timeout=10".into();
    });
    assert_passes(&dump.report);
    assert!(
        dump.console.contains("kdump: watchdog: the failure action comes after 25 s"),
        "{}",
        dump.console
    );
    assert!(!dump.console.contains("no progress"), "{}", dump.console);
}

/// No stage is blamed for a fault of QEMU's own.
#[test]
fn a_qemu_that_dies_is_named() {
    let report = cycle(guest(), |config| config.fault = Some(Fault::QemuDies));
    assert_only_fails(&report, &["cycle"]);
    let cycle = report.checks.iter().find(|check| check.name == "cycle").expect("it failed");
    let said = "QEMU itself died (signal: 11";
    assert!(cycle.detail.starts_with(said), "{}", cycle.detail);
    assert!(cycle.detail.contains("at stage `capture_entry`"), "{}", cycle.detail);
}
