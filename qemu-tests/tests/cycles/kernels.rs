//! Other kernels of Debian's than the usual two: every check holds on each of them.

use crate::common::*;
use qemu_tests::{Config, Fault};
use vmcore::PageClass;

use crate::pages::{
    CLASSES, LOADS, SHOW_IN_PANIC, also_by_crashinfo, assert_pages, keep_for_python,
};

/// Two-level page tables on i386.
#[test]
fn debian_i386_without_pae() {
    let classes = [CLASSES, &[PageClass::Offline]].concat();
    assert_pages(debian_kernel("I386_NONPAE"), LOADS, &classes, true, |config| {
        config.fault = Some(Fault::Balloon(32 * MIB));
    });
}

/// The page structs of a huge page of a hugetlbfs share their memory.
#[test]
fn debian_amd64_6_12() {
    let out = assert_pages(debian_kernel("AMD64_6_12"), LOADS, CLASSES, false, |config| {
        config.cpus = 2;
        config.first_append = format!("hugetlb_free_vmemmap=on {SHOW_IN_PANIC}");
        also_by_crashinfo(config, crashinfo());
    });
    keep_for_python(&out, "amd64-6.12");
}

/// Two CPUs, and a slot where the kernel likes it: one of the old kernels that moves to a random
/// place may move to the usual slot.
fn old(config: &mut Config) {
    config.cpus = 2;
    config.slot = "32M".into();
}

/// The oldest x86_64 kernel that is tried: no kallsyms in VMCOREINFO.
#[test]
fn debian_amd64_5_10() {
    let out = assert_pages(debian_kernel("AMD64_5_10"), LOADS, CLASSES, true, |config| {
        old(config);
        also_by_crashinfo(config, crashinfo());
    });
    keep_for_python(&out, "amd64-5.10");
}

/// The oldest i386 kernel.
#[test]
fn debian_i386_5_10() {
    assert_pages(debian_kernel("I386_5_10"), LOADS, CLASSES, true, old);
}
