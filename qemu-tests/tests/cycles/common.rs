//! What every scenario needs: the ordinary cycle, and what can come of one.

use std::path::PathBuf;

use qemu_tests::dump_disk::DiskAfter;
use qemu_tests::{Config, Fault, FirstKernel, Interrupt, Report, Verdict};
use vmcore::Class;

pub(crate) const MIB: u64 = 1 << 20;

/// A file that xtask has built or fetched.
pub(crate) fn file(variable: &str) -> PathBuf {
    std::env::var_os(variable).map(PathBuf::from).unwrap_or_else(|| {
        panic!("{variable} is not set: these tests need images, run `cargo xtask test`")
    })
}

pub(crate) fn config(first_kernel: FirstKernel, out: &tempfile::TempDir) -> Config {
    Config {
        first_kernel,
        capture_kernel: file("KDUMP_TEST_CAPTURE_KERNEL"),
        capture_kernel_symbols: file("KDUMP_TEST_CAPTURE_KERNEL_SYMBOLS"),
        purgatory: file("KDUMP_TEST_PURGATORY"),
        memory: 128 * MIB,
        cpus: 1,
        slot: "32M@16M".into(),
        out: out.path().to_path_buf(),
        append: String::new(),
        first_append: String::new(),
        truth: true,
        core_headers: None,
        oldmem: None,
        fault: None,
        disk_properties: String::new(),
        interrupt: Interrupt::default(),
    }
}

pub(crate) fn guest() -> FirstKernel {
    FirstKernel::Guest { elf: file("KDUMP_TEST_GUEST") }
}

pub(crate) fn debian() -> FirstKernel {
    FirstKernel::Linux {
        name: "debian-i386".into(),
        is_64_bit: false,
        kernel: file("KDUMP_TEST_LINUX_I386"),
        busybox: file("KDUMP_TEST_BUSYBOX"),
        loader: file("KDUMP_TEST_LOADER"),
    }
}

pub(crate) fn debian_amd64() -> FirstKernel {
    FirstKernel::Linux {
        name: "debian-amd64".into(),
        is_64_bit: true,
        kernel: file("KDUMP_TEST_LINUX_AMD64"),
        busybox: file("KDUMP_TEST_BUSYBOX_AMD64"),
        loader: file("KDUMP_TEST_LOADER"),
    }
}

/// The same, with the loader that needs no 32-bit emulation.
pub(crate) fn debian_amd64_and_native_loader() -> FirstKernel {
    let mut debian = debian_amd64();
    if let FirstKernel::Linux { loader, .. } = &mut debian {
        *loader = file("KDUMP_TEST_LOADER_X86_64");
    }
    debian
}

/// One cycle with what `change` makes of the ordinary configuration.
pub(crate) fn cycle(first_kernel: FirstKernel, change: impl FnOnce(&mut Config)) -> Report {
    cycle_and_console(first_kernel, change).0
}

/// The same, and everything that was on the console.
pub(crate) fn cycle_and_console(
    first_kernel: FirstKernel,
    change: impl FnOnce(&mut Config),
) -> (Report, String) {
    let out = tempfile::tempdir().expect("a folder for the results");
    let mut config = config(first_kernel, &out);
    change(&mut config);
    let report = qemu_tests::run(&config, &mut |_| ()).expect("the host has what a cycle needs");
    let console = std::fs::read(out.path().join("console.log")).expect("what was on the console");
    (report, String::from_utf8_lossy(&console).into_owned())
}

#[track_caller]
pub(crate) fn assert_passes(report: &Report) {
    assert_eq!(report.verdict, Verdict::Pass, "{report:#?}");
}

/// The report fails, and these are all the checks that do.
#[track_caller]
pub(crate) fn assert_only_fails(report: &Report, names: &[&str]) {
    let failed: Vec<_> = report.checks.iter().filter(|check| !check.pass).collect();
    let failed_names: Vec<_> = failed.iter().map(|check| check.name.as_str()).collect();
    assert_eq!(failed_names, names, "{report:#?}");
    assert_eq!(report.verdict, Verdict::Fail);
}

/// The cycle ends without a dump, and the console says this.
#[track_caller]
pub(crate) fn assert_no_dump(report: &Report, said: &str) {
    assert_only_fails(report, &["cycle"]);
    let heard = report.last_lines.iter().any(|line| line.contains(said));
    assert!(heard, "the console does not say {said:?}: {report:#?}");
}

/// Whether the check compares memory before the failure action; without a target's search there is
/// no T1.
pub(crate) fn is_kept_to_the_end(check: &str) -> bool {
    ["memory_kept_t1_t2", "memory_kept_t0_t2"].contains(&check)
}

/// The guest with a fault that ends the capture at `stage`, with the failure action and `said` on the
/// console, and without a write to old memory. Returns what is on the disk.
#[track_caller]
pub(crate) fn assert_capture_fails(
    fault: Fault,
    class: Class,
    stage: &str,
    said: &[&str],
) -> DiskAfter {
    let (report, console) = cycle_and_console(guest(), |config| {
        config.fault = Some(fault);
        config.core_headers = Some(class);
    });
    assert_only_fails(&report, &["cycle"]);
    assert_eq!(report.stage, stage, "{report:#?}");
    assert!(report.checks.iter().any(|check| is_kept_to_the_end(&check.name)), "{report:#?}");
    let failed = format!("kdump: failed at stage={stage}");
    for said in [said, &[failed.as_str(), "kdump: stage=failed", "kdump: rebooting"]].concat() {
        assert!(console.contains(said), "the console does not say {said:?}:\n{console}");
    }
    report.disk_after.expect("there is no dump")
}

/// The guest with a fault that does not stop the capture, and `said` on the console.
#[track_caller]
pub(crate) fn assert_captured(fault: Fault, said: &str) {
    let (report, console) = cycle_and_console(guest(), |config| {
        config.fault = Some(fault);
        config.core_headers = Some(Class::Elf64);
    });
    assert_passes(&report);
    assert!(console.contains(said), "the console does not say {said:?}:\n{console}");
}

pub(crate) const UNTOUCHED: (bool, bool) = (false, false);

pub(crate) const HEADER_ONLY: (bool, bool) = (true, false);

pub(crate) fn written(disk: &DiskAfter) -> (bool, bool) {
    (disk.header_written, disk.data_written)
}

#[track_caller]
pub(crate) fn assert_refused(disk: &DiskAfter, reason: &str) {
    assert!(disk.refused.contains(reason), "extract does not say {reason:?}: {disk:?}");
}
