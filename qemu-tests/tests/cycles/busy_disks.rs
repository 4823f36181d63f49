//! A second disk on the dump disk's controller is busy when a Linux dies, whose own driver has both.

use crate::basics::*;
use qemu_tests::{Config, Controller, Fault, FirstKernel, Report, Way};

/// The dump is whole and right, and the busy disk is as it was before. With `truth`, the VM is
/// stopped at T0, T1 and T2; QEMU then waits for the requests at T0. Without, they are in flight
/// when the capture kernel finds the controller: if it wrote into old memory after that part was
/// sent, the vmcore would differ from memory at the end.
#[track_caller]
pub(crate) fn assert_kept(
    first_kernel: FirstKernel,
    controller: Controller,
    truth: bool,
    change: impl FnOnce(&mut Config),
) -> Report {
    let out = tempfile::tempdir().expect("a folder for the results");
    let (report, console) = cycle_into(&out, first_kernel, |config| {
        config.memory = 256 * MIB;
        config.truth = truth;
        config.delivery.targets = Way::Disk(controller).into();
        config.fault = Some(Fault::BusyDisk(controller));
        change(config);
    });
    let words = console.split("in flight: reads ").nth(1).unwrap_or_default();
    let mut numbers = words.split(" writes ").map(|rest| {
        rest.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
    });
    let [reads, writes]: [u32; 2] = [(); 2].map(|()| numbers.next().unwrap_or(0));
    assert!(reads > 0 && writes > 0, "nothing was in flight:\n{console}");
    assert_passes(&report);
    assert!(report.checks.iter().any(|check| check.name == "busy_disk_kept"), "{report:#?}");
    report
}
