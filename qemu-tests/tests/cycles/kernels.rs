//! Other kernels of Debian's than the usual two: every check holds on each of them.

use crate::common::*;
use crate::pages::{CLASSES, LOADS, assert_pages};

/// Two-level page tables on i386.
#[test]
fn debian_i386_without_pae() {
    assert_pages(debian_kernel("I386_NONPAE"), LOADS, CLASSES, true, |_| ());
}

#[test]
fn debian_amd64_6_12() {
    assert_pages(debian_kernel("AMD64_6_12"), LOADS, CLASSES, false, |_| ());
}
