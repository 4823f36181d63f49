//! The guest dies in every way that it can.

use crate::common::*;

/// The guest dies with `die=word` on the second of two CPUs; its last words have `said`, and its
/// registers, back in the dump, lead gdb to the function that crashed.
#[track_caller]
fn assert_dies(word: &str, said: &str, function: &str) {
    let dump = Dump::of(|config| {
        config.cpus = 2;
        config.first_append = format!("die={word} crash_cpu=1");
    });
    assert_passes(&dump.report);
    assert!(dump.console.contains(said), "the guest does not say {said:?}:\n{}", dump.console);
    dump.assert_place(0, "guest_cpu_idle");
    dump.assert_place(1, function);
    let check = |name| dump.report.checks.iter().find(|check| check.name == name).expect(name);
    assert_eq!(check("register_pattern").detail, "7 general registers of each of 2 CPUs");
    assert_eq!(check("panic_path").detail, format!("CPU 1 died in {function}"));
}

#[test]
fn of_a_null_dereference() {
    assert_dies("null", "guest: exception 14 (#PF) at eip 0x", "guest_null_dereference");
}

#[test]
fn of_an_invalid_opcode() {
    assert_dies("ud", "guest: exception 6 (#UD) at eip 0x", "guest_invalid_opcode");
}

#[test]
fn of_a_general_protection_fault() {
    assert_dies("gp", "guest: exception 13 (#GP) at eip 0x", "guest_general_protection");
}

#[test]
fn of_a_divide_error() {
    assert_dies("divide", "guest: exception 0 (#DE) at eip 0x", "guest_divide_error");
}

#[test]
fn of_a_stack_overflow() {
    assert_dies("stack-overflow", "guest: exception 8 (#DF) at eip 0x", "guest_stack_overflow");
}

/// The first CPU has a stack and a task of the same kind.
#[test]
fn of_a_stack_overflow_on_the_first_cpu() {
    let dump = Dump::of(|config| config.first_append = "die=stack-overflow".into());
    assert_passes(&dump.report);
    dump.assert_place(0, "guest_stack_overflow");
}

/// There is nothing to capture; but the report names the fate of the machine at once.
#[test]
fn of_a_triple_fault() {
    let report = cycle(guest(), |config| config.first_append = "die=triple-fault".into());
    assert_only_fails(&report, &["cycle", "no_reset"]);
    assert_eq!(report.stage, "boot");
    let last = report.last_lines.last().expect("the guest has said something");
    assert_eq!(last, "harness: QEMU ended, reason: guest-reset");
}
