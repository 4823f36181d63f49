//! `kdump-collector read`: a kernel that sends nothing by itself, and gives what it is asked for.

use crate::common::*;
use qemu_tests::{Delivery, Pull};

/// More than the guest's own memory of interest: its image, and pages with its pattern.
const PARTS: [(u64, u64); 3] =
    [(0x10_0000, 0x1_0000), (0x400_0000 - 0x10_0000, 0x123), (0x1001, 0xfff)];

#[test]
fn parts_of_oldmem_and_of_the_vmcore() {
    let out = tempfile::tempdir().expect("a folder for the results");
    let mut pulls = PARTS.map(|(start, length)| Pull { view: "oldmem", start, length }).to_vec();
    pulls.push(Pull { view: "vmcore", start: 0, length: 4096 });
    let (report, console) = cycle_into(&out, guest(), |config| {
        small(config);
        config.append = "kdump.target=none".into();
        config.delivery = Delivery { pulls, ..over("serial") };
    });
    assert_passes(&report);
    let equal = report.checks.iter().filter(|check| check.name == "pull_equals_memory").count();
    assert_eq!(equal, PARTS.len(), "{report:#?}");
    assert!(!console.contains("stage=failed"), "{console}");
    let vmcore = std::fs::read(out.path().join("received/serial/pull-3")).expect("the last pull");
    assert_eq!((vmcore.len(), &vmcore[..4]), (4096, &b"\x7fELF"[..]));
}
