//! The other CPUs: their number, and their behaviour at the guest's death.

use crate::common::*;
use qemu_tests::Fault;

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

/// Four CPUs with this fault, and a dump with the notes of three.
#[track_caller]
fn assert_one_is_named(fault: Fault, said: &str) {
    let (report, console) = cycle_and_console(guest(), |config| {
        (config.cpus, config.fault) = (4, Some(fault));
    });
    assert_eq!(report.failures().count(), 0, "{report:#?}\n{console}");
    let is_named = |line: &&str| line.contains("did not start") || line.contains("did not answer");
    let named: Vec<_> = console.lines().filter(is_named).collect();
    assert!(matches!(named[..], [line] if line.ends_with(said)), "{console}");
    assert!(console.contains("empty, this CPU saved no registers"), "{console}");
}

#[test]
fn a_cpu_that_never_answers_the_nmi_is_named_and_the_capture_goes_on() {
    assert_one_is_named(Fault::DeafCpu(2), "guest: cpu 2 did not answer");
}

#[test]
fn a_cpu_that_does_not_start_is_named_and_the_capture_goes_on() {
    assert_one_is_named(Fault::MissingCpu, "guest: cpu 3 did not start");
}

#[test]
fn a_cpu_that_spins_with_interrupts_off_leaves_its_note() {
    let dump = Dump::of(|config| {
        config.cpus = 2;
        config.first_append = "spin=1".into();
    });
    assert_passes(&dump.report);
    dump.assert_place(0, "guest_panic");
    dump.assert_place(1, "guest_cpu_spin");
}

#[test]
fn any_cpu_can_crash() {
    let dump = Dump::of(|config| {
        config.cpus = 3;
        config.first_append = "crash_cpu=1".into();
    });
    assert_passes(&dump.report);
    dump.assert_place(0, "guest_cpu_idle");
    dump.assert_place(1, "guest_panic");
    dump.assert_place(2, "guest_cpu_idle");
}

#[test]
fn cpus_that_crash_at_once_leave_one_dump() {
    let dump = Dump::of(|config| {
        config.cpus = 2;
        config.first_append = "crash_cpu=all die=ud".into();
    });
    assert_passes(&dump.report);
    let said = |what| dump.console.lines().filter(|line| line.contains(what)).count();
    assert_eq!(
        (said("guest: panic"), said("guest: exception 6 (#UD)")),
        (1, 1),
        "{}",
        dump.console
    );
    assert_eq!(said("did not answer"), 0, "{}", dump.console);
}
