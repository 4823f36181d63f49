//! Other kernels of Debian's than the usual two: every check holds on each of them.

use crate::common::*;
use qemu_tests::Fault;
use vmcore::PageClass;

use crate::pages::{CLASSES, LOADS, assert_pages};

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
    assert_pages(debian_kernel("AMD64_6_12"), LOADS, CLASSES, false, |config| {
        config.first_append = "hugetlb_free_vmemmap=on".into();
    });
}
