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

/// crashinfo pulls the memory that its first page needs, and nothing else is sent.
#[test]
fn crashinfo_reads_a_linux_over_the_serial_console() {
    let out = tempfile::tempdir().expect("a folder for the results");
    let (report, console) = cycle_into(&out, debian_amd64(), |config| {
        config.memory = 256 << 20;
        config.append = "kdump.target=none".into();
        let pulls = vec![Pull { view: "vmcore", start: 0, length: 4096 }];
        let crashinfo = Some(file("KDUMP_TEST_CRASHINFO"));
        config.delivery = Delivery { pulls, crashinfo, ..over("serial") };
    });
    assert_passes(&report);
    let page = std::fs::read(out.path().join("received/serial/crashinfo.json")).expect("a page");
    let page: serde_json::Value = serde_json::from_slice(&page).expect("JSON");
    let panic = &page["data"]["panic"];
    assert_eq!(panic["kind"], "sysrq", "{page:#}");
    let functions = panic["fingerprint"]["functions"].as_array().expect("functions");
    for function in functions.iter().filter_map(|function| function.as_str()) {
        assert!(console.contains(&format!(" {function}")), "the kernel did not show {function}");
    }
    assert_eq!(functions.first().and_then(|first| first.as_str()), Some("sysrq_handle_crash"));
}
