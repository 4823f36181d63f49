//! Other kernels of Debian's than the usual two: every check holds on each of them.

use crate::common::*;

/// Two-level page tables on i386.
#[test]
fn debian_i386_without_pae() {
    let report = cycle(debian_kernel("I386_NONPAE"), |config| config.memory = 256 * MIB);
    assert_all_checked(&report, LINUX_CHECKS);
}

#[test]
fn debian_amd64_6_12() {
    let report = cycle(debian_kernel("AMD64_6_12"), |config| config.memory = 256 * MIB);
    assert_all_checked(&report, LINUX_CHECKS);
}
