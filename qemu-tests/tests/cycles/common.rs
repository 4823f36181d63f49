//! Parts that every scenario needs: the ordinary cycle, and its possible results.

pub(crate) use crate::basics::*;
use qemu_tests::check::disk_after::DiskAfter;
use qemu_tests::host::gdb;
use qemu_tests::{Config, Fault, FirstKernel, Loading, Report, StockCapture, Verdict};
use vmcore::Class;

/// The test guest, loaded in this way.
pub(crate) fn guest_with(loading: Loading) -> FirstKernel {
    FirstKernel::Guest { elf: file("KDUMP_TEST_GUEST"), loading }
}

/// Debian's kernel as the capture kernel.
pub(crate) fn stock_capture() -> StockCapture {
    let (kernel, busybox) = (file("KDUMP_TEST_LINUX_I386"), file("KDUMP_TEST_BUSYBOX"));
    StockCapture { kernel, busybox, ..StockCapture::default() }
}

pub(crate) fn debian_amd64() -> FirstKernel {
    FirstKernel::Linux {
        name: "debian-amd64".into(),
        is_64_bit: true,
        kernel: file("KDUMP_TEST_LINUX_AMD64"),
        is_known: true,
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

/// Runs one cycle with `change` applied to the ordinary configuration.
pub(crate) fn cycle(first_kernel: FirstKernel, change: impl FnOnce(&mut Config)) -> Report {
    cycle_and_console(first_kernel, change).0
}

/// The same, and everything that was on the console.
pub(crate) fn cycle_and_console(
    first_kernel: FirstKernel,
    change: impl FnOnce(&mut Config),
) -> (Report, String) {
    let out = tempfile::tempdir().expect("a folder for the results");
    cycle_into(&out, first_kernel, change)
}

/// A guest for serial lines: 64 MiB, most of which is slot. The guest writes to each page that is
/// not.
pub(crate) fn small(config: &mut Config) {
    config.memory = 64 * MIB;
    config.slot = "44M@16M".into();
}

/// All of these are on the console.
#[track_caller]
pub(crate) fn assert_says(console: &str, said: &[&str]) {
    for said in said {
        assert!(console.contains(said), "the console does not say {said:?}:\n{console}");
    }
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

/// True if the check compares memory before the failure action; without a target's search there is
/// no T1.
pub(crate) fn is_kept_to_the_end(check: &str) -> bool {
    ["memory_kept_t1_t2", "memory_kept_t0_t2"].contains(&check)
}

/// Checks that a fault ends the guest's capture at `stage`, with the failure action and `said` on
/// the console, and without a write to old memory. Returns the contents of the disk.
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

/// The guest with a fault that leaves oldmem, and `said` on the console.
#[track_caller]
pub(crate) fn assert_oldmem(fault: Fault, said: &str) {
    let (report, console) = cycle_and_console(guest(), |config| {
        config.fault = Some(fault);
        config.append = "kdump.view=oldmem:0x100000+15M".into();
        config.oldmem = Some(0x10_0000..0x100_0000);
    });
    assert!(console.contains(said), "the console does not say {said:?}:\n{console}");
    assert_passes(&report);
    assert!(report.checks.iter().any(|check| check.name == "memory_kept_t0_t1"), "{report:#?}");
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

/// A cycle of the guest, and queries about its dump.
pub(crate) struct Dump {
    out: tempfile::TempDir,
    pub(crate) report: Report,
    pub(crate) console: String,
}

impl Dump {
    /// Runs one cycle with `change` applied to the ordinary configuration.
    pub(crate) fn of(change: impl FnOnce(&mut Config)) -> Self {
        let out = tempfile::tempdir().expect("a folder for the results");
        let (report, console) = cycle_into(&out, guest(), change);
        Self { out, report, console }
    }

    /// gdb, with the guest's symbols, finds `cpu` in `function`.
    #[track_caller]
    pub(crate) fn assert_place(&self, cpu: u32, function: &str) {
        let vmcore = self.out.path().join("vmcore");
        let places = gdb::places(&vmcore, &file("KDUMP_TEST_GUEST")).expect("gdb");
        // gdb names threads by the pid in their notes, which is the number of the CPU and one.
        let place =
            places.split("\nThread ").find(|place| place.contains(&format!("LWP {})", cpu + 1)));
        let is_there = place.is_some_and(|place| place.contains(&format!("{function} ()")));
        assert!(is_there, "CPU {cpu} is not in {function}: {places}");
    }
}
