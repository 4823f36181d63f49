//! The ordinary cycle.

use std::path::PathBuf;
use std::process::Command;

use qemu_tests::check::crashinfo::Crashinfo;
use qemu_tests::{Config, Delivery, FirstKernel, Loading, Report, Verdict};

pub(crate) const MIB: u64 = 1 << 20;

/// A file that xtask has built or fetched.
pub(crate) fn file(variable: &str) -> PathBuf {
    std::env::var_os(variable).map(PathBuf::from).unwrap_or_else(|| {
        panic!("{variable} is not set: these tests need images, run `cargo xtask test`")
    })
}

pub(crate) fn config(first_kernel: FirstKernel, out: &tempfile::TempDir) -> Config {
    let programs = ["CAPTURE_KERNEL", "CAPTURE_KERNEL_SYMBOLS", "PURGATORY"]
        .map(|name| file(&format!("KDUMP_TEST_{name}")));
    let config = Config::new(first_kernel, programs, out.path().to_path_buf());
    Config { memory: 128 * MIB, cpus: 1, ..config }
}

pub(crate) fn guest() -> FirstKernel {
    FirstKernel::Guest { elf: file("KDUMP_TEST_GUEST"), loading: Loading::Placed }
}

pub(crate) fn debian() -> FirstKernel {
    FirstKernel::Linux {
        name: "debian-i386".into(),
        is_64_bit: false,
        kernel: file("KDUMP_TEST_LINUX_I386"),
        is_known: true,
        busybox: file("KDUMP_TEST_BUSYBOX"),
        loader: file("KDUMP_TEST_LOADER"),
    }
}

/// A dump over these targets, with the real collector at the end of each line.
pub(crate) fn over(targets: &str) -> Delivery {
    let targets = targets.parse().expect("a list of targets");
    Delivery { targets, collector: file("KDUMP_TEST_COLLECTOR"), ..Delivery::default() }
}

/// crashinfo without a debug file.
pub(crate) fn crashinfo() -> Crashinfo {
    Crashinfo { program: file("KDUMP_TEST_CRASHINFO"), debug_vmlinux: None, is_live: false }
}

/// Runs one cycle with `change` applied to the ordinary configuration. Returns the report and all
/// console output; its files are in `out`.
pub(crate) fn cycle_into(
    out: &tempfile::TempDir,
    first_kernel: FirstKernel,
    change: impl FnOnce(&mut Config),
) -> (Report, String) {
    let mut config = config(first_kernel, out);
    change(&mut config);
    let report = qemu_tests::run(&config).expect("the host has what a cycle needs");
    let console = std::fs::read(out.path().join("console.log")).expect("what was on the console");
    (report, String::from_utf8_lossy(&console).into_owned())
}

#[track_caller]
pub(crate) fn assert_passes(report: &Report) {
    assert_eq!(report.verdict, Verdict::Pass, "{report:#?}");
}

/// Debian's kernel that the test environment calls this: `AMD64_7_2` is debian-amd64-7.2.
pub(crate) fn debian_kernel(variable: &str) -> FirstKernel {
    let is_64_bit = variable.starts_with("AMD64");
    let busybox = if is_64_bit { "KDUMP_TEST_BUSYBOX_AMD64" } else { "KDUMP_TEST_BUSYBOX" };
    FirstKernel::Linux {
        name: format!("debian {variable}"),
        is_64_bit,
        kernel: file(&format!("KDUMP_TEST_LINUX_{variable}")),
        is_known: true,
        busybox: file(busybox),
        loader: file("KDUMP_TEST_LOADER"),
    }
}

/// All checks of a Linux whose VM is stopped.
pub(crate) const LINUX_CHECKS: &[&str] = &[
    "cycle",
    "vmcore_equals_memory",
    "coverage",
    "prstatus_notes",
    "registers",
    "banner",
    "panic_path",
    "vmcoreinfo",
    "backtrace",
    "memory_kept_t0_t1",
    "memory_kept_t1_t2",
    "truth",
    "mappings",
];

/// The report passes, and these are the checks that were made.
#[track_caller]
pub(crate) fn assert_all_checked(report: &Report, names: &[&str]) {
    assert_passes(report);
    let mut made: Vec<_> = report.checks.iter().map(|check| check.name.as_str()).collect();
    let mut names = names.to_vec();
    made.sort_unstable();
    names.sort_unstable();
    assert_eq!(made, names, "{report:#?}");
}

/// A program of Debian's i386 or amd64, with the libraries beside it.
pub(crate) fn tool(is_64_bit: bool, path: &str) -> Command {
    let (root, interpreter, libraries) = match is_64_bit {
        false => ("KDUMP_TEST_TOOLS_I386", "lib/ld-linux.so.2", "i386-linux-gnu"),
        true => ("KDUMP_TEST_TOOLS_AMD64", "lib64/ld-linux-x86-64.so.2", "x86_64-linux-gnu"),
    };
    let root = file(root);
    let folders = ["lib", "usr/lib"].map(|folder| root.join(folder).join(libraries));
    let mut tool = Command::new(root.join(interpreter));
    tool.arg("--library-path").arg(std::env::join_paths(folders).expect("folders"));
    tool.arg(root.join(path));
    tool
}

/// Returns a program's standard output.
pub(crate) fn output(command: &mut Command) -> Vec<u8> {
    let output = command.output().expect("it starts");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}
