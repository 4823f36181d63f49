//! A kernel that brings itself down, and one's own userland in it.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::common::*;
use cpio::newc::{self, Builder};
use qemu_tests::{Config, Crash, Fault, FirstKernel, Outcome, Report};

/// Deadlines are far off: a busy host must not make one pass.
const LONG: Crash = Crash::Expected(Duration::from_secs(300));

/// Beginning of the tests' own userlands. It mounts as if nothing were mounted yet.
const MOUNT: &str = "#!/bin/busybox sh
set -e
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
echo own: $0 $*
";

/// Brings the kernel down as a driver's panic would.
const PANIC: &str = "echo c >/proc/sysrq-trigger\n";

/// An initramfs of busybox and one script, compressed.
fn initramfs(folder: &tempfile::TempDir, busybox: &str, script: &str, then: &str) -> PathBuf {
    let busybox = fs::read(file(busybox)).expect("busybox");
    let script = script.to_string();
    let text = format!("{MOUNT}{then}");
    let files: [(&str, u32, &[u8]); 5] = [
        ("bin", 0o040_755, b""),
        ("bin/busybox", 0o100_755, &busybox),
        ("proc", 0o040_755, b""),
        ("sys", 0o040_755, b""),
        (&script, 0o100_755, text.as_bytes()),
    ];
    let mut archive = Vec::new();
    for (name, mode, content) in files {
        let length = content.len().try_into().expect("a small file");
        let mut writer = Builder::new(name).mode(mode).write(&mut archive, length);
        writer.write_all(content).expect("memory");
        writer.finish().expect("memory");
    }
    let archive = newc::trailer(archive).expect("memory");
    let path = folder.path().join("own-initrd");
    let output = fs::File::create(&path).expect("a file");
    let mut gzip = Command::new("gzip");
    let mut gzip = gzip.stdin(Stdio::piped()).stdout(output).spawn().expect("gzip");
    gzip.stdin.take().expect("a pipe").write_all(&archive).expect("gzip reads");
    assert!(gzip.wait().expect("gzip").success());
    path
}

/// A kernel of which the harness knows nothing: as with one's own bzImage.
fn not_known(mut kernel: FirstKernel) -> FirstKernel {
    if let FirstKernel::Linux { is_known, .. } = &mut kernel {
        *is_known = false;
    }
    kernel
}

/// One cycle of Debian's i386 kernel with an own userland that does `then`.
fn own_userland(script: &str, then: &str, change: impl FnOnce(&mut Config)) -> (Report, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let initrd = initramfs(&folder, "KDUMP_TEST_BUSYBOX", script, then);
    cycle_and_console(not_known(debian()), |config| {
        config.initrd = Some(initrd);
        config.crash = LONG;
        change(config);
    })
}

#[track_caller]
fn detail<'r>(report: &'r Report, name: &str) -> &'r str {
    let check = report.checks.iter().find(|check| check.name == name);
    &check.unwrap_or_else(|| panic!("no check {name}: {report:#?}")).detail
}

/// Their init finds the kernel as if it were the first program, and its panic is the crash.
#[test]
fn an_own_init_that_panics_is_captured() {
    let (report, console) = own_userland("init", PANIC, |_| ());
    assert_all_checked(&report, LINUX_CHECKS);
    assert_eq!(report.outcome, Outcome::GoodDump);
    assert!(console.contains("own: /init"), "{console}");
    let line = report.panic.as_deref().unwrap_or_default();
    assert!(line.contains("Kernel panic - not syncing"), "{report:#?}");
    assert!(detail(&report, "panic_path").ends_with("on its stack: panic"), "{report:#?}");
}

/// An init that ends is a panic as well; the program is the one that `rdinit=` names.
#[test]
fn an_own_program_by_rdinit_that_ends_is_captured() {
    let (report, console) = own_userland("mine", "exit 3\n", |config| {
        config.first_append = "rdinit=/mine an_unknown_word".into();
    });
    assert_all_checked(&report, LINUX_CHECKS);
    assert_says(&console, &["own: /mine an_unknown_word", "Attempted to kill init!"]);
}

/// Without a panic of its own the kernel is crashed when its userland has run for a while.
#[test]
fn an_own_userland_on_amd64_is_crashed_by_sysrq_while_it_runs() {
    let folder = tempfile::tempdir().expect("a folder");
    let busy = "while true; do :; done\n";
    let initrd = initramfs(&folder, "KDUMP_TEST_BUSYBOX_AMD64", "init", busy);
    let (report, console) = cycle_and_console(not_known(debian_amd64()), |config| {
        config.memory = 256 * MIB;
        config.cpus = 2;
        config.initrd = Some(initrd);
        config.crash = Crash::AskedAfter(Duration::from_secs(10));
    });
    assert_all_checked(&report, LINUX_CHECKS);
    assert!(console.contains("own: /init"), "{console}");
    assert!(detail(&report, "panic_path").contains("panic, sysrq_handle_crash"), "{report:#?}");
}

#[test]
fn a_kernel_that_powers_off_has_not_panicked() {
    let (report, _) = own_userland("init", "/bin/busybox poweroff -f\n", |_| ());
    assert_eq!(report.outcome, Outcome::NoPanic, "{report:#?}");
    assert!(detail(&report, "cycle").contains("ended without a panic"), "{report:#?}");
}

#[test]
fn a_kernel_that_lives_on_has_not_panicked() {
    let (report, _) = own_userland("init", "/bin/busybox sleep 100000\n", |config| {
        config.crash = Crash::Expected(Duration::from_secs(2));
    });
    assert_eq!(report.outcome, Outcome::NoPanic, "{report:#?}");
    assert!(detail(&report, "cycle").contains("lives, and has not panicked"), "{report:#?}");
}

/// A kernel that does not even say that it lives hangs: here all of its processes are killed but
/// one.
#[test]
fn a_kernel_that_falls_silent_hangs() {
    let silent = "/bin/busybox kill -9 -1\n/bin/busybox sleep 100000\n";
    let (report, _) = own_userland("init", silent, |config| {
        config.crash = Crash::Expected(Duration::from_secs(20));
    });
    assert_eq!(report.outcome, Outcome::Hang, "{report:#?}");
}

/// Linux itself ends without a program to run: nothing of ours was there yet.
#[test]
fn a_panic_before_the_load_is_told_as_such() {
    let (report, _) = cycle_and_console(debian(), |config| {
        config.crash = LONG;
        config.first_append = "rdinit=/nothing root=/dev/nothing".into();
    });
    assert_eq!(report.outcome, Outcome::EarlyPanic, "{report:#?}");
    let said = detail(&report, "cycle");
    assert!(said.contains("panicked before the capture kernel was loaded: "), "{said}");
    assert!(said.contains("Unable to mount root fs"), "{said}");
}

#[test]
fn an_own_initramfs_without_a_program_is_not_loaded() {
    let (report, _) = own_userland("other", "", |_| ());
    assert_eq!(report.outcome, Outcome::NotLoaded, "{report:#?}");
    assert!(detail(&report, "cycle").contains("has no program called /init"), "{report:#?}");
}

#[test]
fn a_slot_that_does_not_exist_is_not_loaded() {
    let (report, _) = cycle_and_console(debian(), |config| config.slot = "512M@16M".into());
    assert_eq!(report.outcome, Outcome::NotLoaded, "{report:#?}");
}

/// The host has said its word when the kernel prints again.
const OOPS_WHEN_TOLD: &str = "
echo 1 >/proc/sys/kernel/panic_on_oops
(
    printing() { cat /proc/sys/kernel/printk; }
    before=$(printing)
    while [ \"$(printing)\" = \"$before\" ]; do sleep 1; done
    echo c >/proc/sysrq-trigger
) &
";

/// With `panic_on_oops` the kernel jumps from the oops itself, and prints no panic: the CPU's
/// registers are those of the fault.
#[track_caller]
fn assert_oops_is_captured(kernel: FirstKernel, fault: Fault, said: &str) {
    let report = cycle(kernel, |config| {
        config.memory = 256 * MIB;
        config.crash = LONG;
        config.fault = Some(fault);
        config.before_crash = OOPS_WHEN_TOLD.into();
    });
    assert_all_checked(&report, LINUX_CHECKS);
    assert_eq!(report.outcome, Outcome::GoodDump);
    let line = report.panic.as_deref().unwrap_or_default();
    assert!(line.contains(said) && line.contains("[#1]"), "{line}");
    assert!(detail(&report, "panic_path").contains("as printed"), "{report:#?}");
}

#[test]
fn an_oops_without_a_panic_is_captured_on_i386() {
    assert_oops_is_captured(debian(), Fault::Oops, "invalid opcode");
}

#[test]
fn a_null_dereference_without_a_panic_is_captured_on_amd64() {
    assert_oops_is_captured(debian_amd64(), Fault::NullDereference, "Oops: 0000");
}

/// A kernel without kallsyms: VMCOREINFO supplies the remaining facts, and one check is not made.
#[test]
fn a_kernel_without_symbols_is_checked_by_vmcoreinfo() {
    for kernel in [debian(), debian_amd64()] {
        let report = cycle(not_known(kernel), |config| {
            config.memory = 256 * MIB;
            config.fault = Some(Fault::NoSymbols);
        });
        assert_all_checked(&report, LINUX_CHECKS);
        let skipped: Vec<_> = report.checks.iter().filter(|check| check.skipped).collect();
        assert!(skipped.iter().any(|check| check.name == "panic_path"), "{report:#?}");
        assert!(skipped.len() <= 2, "{report:#?}");
    }
}
