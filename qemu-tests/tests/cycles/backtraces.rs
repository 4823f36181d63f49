//! Backtraces on the console: without a target, with damage, and none.

use qemu_tests::Fault;
use qemu_tests::host::dump_disk::Attachment;

use crate::common::*;

/// The line after the backtraces.
const LAST: &str = "kdump: backtraces: ";

/// The places of these texts on the console ascend.
#[track_caller]
fn assert_in_order(console: &str, texts: &[&str]) {
    let places: Vec<_> = texts.iter().map(|text| console.find(text)).collect();
    assert!(places.is_sorted() && !places.contains(&None), "{texts:?}: {places:?}\n{console}");
}

#[test]
fn they_come_between_the_first_byte_and_the_bulk() {
    let (report, console) = cycle_and_console(guest(), |_| ());
    assert_passes(&report);
    let stages = ["stage=first_byte", "stage=last_byte"];
    assert_in_order(&console, &[stages[0], "kdump: cpu 0 pid ", LAST, stages[1]]);
    assert!(report.backtraces_ms.is_some());
    let (report, console) = cycle_and_console(guest(), |config| {
        config.append = "kdump.backtrace=0".into();
    });
    assert_passes(&report);
    assert!(!console.contains(LAST) && !console.contains("kdump: cpu 0 pid "), "{console}");
}

#[test]
fn the_console_has_them_where_no_target_takes_the_dump() {
    let (report, console) = cycle_and_console(guest(), |config| {
        config.fault = Some(Fault::Disk(Attachment::Absent));
    });
    assert_only_fails(&report, &["cycle"]);
    assert_in_order(&console, &["kdump: cpu 0 pid ", LAST, "no dump: ", "stage=failed"]);
}

/// Names are lost, the dump is not.
#[test]
fn damaged_symbols_cost_names_only() {
    let (report, console) = cycle_and_console(debian(), |config| {
        config.fault = Some(Fault::DamagedSymbols);
    });
    let failed = report.checks.iter().filter(|check| !check.pass).map(|check| &check.name);
    assert!(failed.clone().all(|name| name == "backtrace"), "{report:#?}");
    let stages = ["stage=first_byte", "stage=last_byte"];
    assert_in_order(&console, &[stages[0], "kdump: names of functions: ", LAST, stages[1]]);
    assert!(!console.contains(" sysrq_handle_crash+0x"), "{console}");
}
