//! Machine checks: broken memory costs its own contents and no more.

use crate::common::*;
use qemu_tests::Fault;

#[test]
fn a_machine_check_in_a_note_is_named_and_costs_that_note_only() {
    let (report, console) = cycle_and_console(guest(), |config| {
        config.cpus = 2;
        config.fault = Some(Fault::MachineCheckInNote);
    });
    assert!(console.contains("bank 1 status=0xbc00000000000134 address=0x"), "{console}");
    assert!(console.contains("(0x400 bytes): not read: machine check at 0x"), "{console}");
    assert!(console.contains("kdump: 1 machine checks were survived"), "{console}");
    assert_passes(&report);
}

#[test]
fn a_machine_check_in_a_look_for_zeros_is_survived() {
    assert_look_survived(false);
}

#[test]
fn a_machine_check_in_a_look_through_a_large_page_is_survived() {
    assert_look_survived(true);
}

#[track_caller]
fn assert_look_survived(large: bool) {
    let (report, console) = cycle_and_console(guest(), |config| {
        config.delivery = over("virtio-console");
        config.fault = Some(Fault::MachineCheckInLook { large });
    });
    assert!(console.contains("bank 1 status=0xbc00000000000134 address=0x100000"), "{console}");
    assert!(!console.contains("machine check at eip="), "not in the look:\n{console}");
    assert!(console.contains("kdump: 1 machine checks were survived"), "{console}");
    assert_passes(&report);
}

#[test]
fn a_machine_check_elsewhere_is_survived_where_the_cpu_may_go_on() {
    let fault = Fault::MachineCheck { context_corrupt: false };
    assert_captured(fault, "the CPU may go on, going on");
}

#[test]
fn a_machine_check_that_damaged_the_cpu_ends_in_the_failure_action() {
    let (report, console) = cycle_and_console(guest(), |config| {
        config.fault = Some(Fault::MachineCheck { context_corrupt: true });
    });
    assert_only_fails(&report, &["cycle"]);
    assert!(report.checks.iter().any(|check| is_kept_to_the_end(&check.name)), "{report:#?}");
    let said = [
        "status=0xbe00000000000134",
        "exception 18 (#MC) eip=",
        "kdump: failed at stage=quiesced",
        "kdump: rebooting",
    ];
    for said in said {
        assert!(console.contains(said), "the console does not say {said:?}:\n{console}");
    }
}
