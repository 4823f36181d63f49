//! Memory that is added while Linux runs, and taken away again.

use crate::common::*;
use qemu_tests::{Fault, SavedPages};

/// Checks that the check of hot-added memory was made; returns its detail from the report.
#[track_caller]
fn hot_memory(report: &qemu_tests::Report) -> &str {
    assert_passes(report);
    let check = report.checks.iter().find(|check| check.name == "hot_memory");
    &check.expect("there is such a check").detail
}

/// The kernel may use it for whatever it likes. All of it is in the dump.
#[test]
fn debian_amd64_with_hot_added_memory() {
    let report = cycle(debian_amd64(), |config| {
        config.memory = 256 * MIB;
        config.fault = Some(Fault::Hotplug { size: 512 * MIB, left: None });
        config.first_append = "memhp_default_state=online".into();
    });
    let detail = hot_memory(&report);
    assert!(detail.ends_with("left out and untouched: nothing"), "{detail}");
    assert!(report.bytes > 700 * MIB, "{report:#?}");
}

/// The loader has seen all of it. Memory that is gone at the crash is named, and neither CPU nor
/// device touches it.
#[test]
fn memory_that_is_unplugged_after_the_load_is_a_named_hole() {
    let (report, console) = cycle_and_console(debian_amd64(), |config| {
        config.memory = 256 * MIB;
        config.fault = Some(Fault::Hotplug { size: 256 * MIB, left: Some(128 * MIB) });
        config.saved_pages = Some(SavedPages::default());
        config.first_append = "memhp_default_state=online_movable".into();
    });
    let detail = hot_memory(&report);
    assert!(!detail.ends_with("untouched: nothing"), "{detail}");
    let judged = report.checks.iter().find(|check| check.name == "pages_left_out");
    println!("{}", judged.expect("the kernel's word on each page").detail);
    assert_says(&console, &["virtio-mem at PCI ", "134217728 of 268435456 bytes are plugged"]);
    assert_says(&console, &[", unplugged, zero in the dump", "134217728 bytes in all, in "]);
}
