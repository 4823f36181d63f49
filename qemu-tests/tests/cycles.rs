//! Crash-and-capture cycles: each test boots a first kernel under QEMU, crashes it, and looks at
//! what the capture kernel saved. `cargo xtask test` builds what they need and says where it is.

use std::path::PathBuf;

use handoff::purgatory::PARAMS_SYMBOL;
use qemu_tests::image::Image;
use qemu_tests::{Config, Fault, FirstKernel, Interrupt, Report, Verdict};

const MIB: u64 = 1 << 20;

/// A file that xtask has built or fetched.
fn file(variable: &str) -> PathBuf {
    std::env::var_os(variable).map(PathBuf::from).unwrap_or_else(|| {
        panic!("{variable} is not set: these tests need images, run `cargo xtask test`")
    })
}

fn config(first_kernel: FirstKernel, out: &tempfile::TempDir) -> Config {
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
        fault: None,
        disk_properties: String::new(),
        interrupt: Interrupt::default(),
    }
}

fn guest() -> FirstKernel {
    FirstKernel::Guest { elf: file("KDUMP_TEST_GUEST") }
}

fn debian() -> FirstKernel {
    FirstKernel::Linux {
        name: "debian-i386".into(),
        kernel: file("KDUMP_TEST_LINUX_I386"),
        busybox: file("KDUMP_TEST_BUSYBOX"),
        loader: file("KDUMP_TEST_LOADER"),
    }
}

/// One cycle with what `change` makes of the ordinary configuration.
fn cycle(first_kernel: FirstKernel, change: impl FnOnce(&mut Config)) -> Report {
    let out = tempfile::tempdir().expect("a folder for the results");
    let mut config = config(first_kernel, &out);
    change(&mut config);
    qemu_tests::run(&config, &mut |_| ()).expect("the host has what a cycle needs")
}

#[track_caller]
fn assert_passes(report: &Report) {
    assert_eq!(report.verdict, Verdict::Pass, "{report:#?}");
}

/// The report fails, and these are all the checks that do.
#[track_caller]
fn assert_only_fails(report: &Report, names: &[&str]) {
    let failed: Vec<_> = report.checks.iter().filter(|check| !check.pass).collect();
    let failed_names: Vec<_> = failed.iter().map(|check| check.name.as_str()).collect();
    assert_eq!(failed_names, names, "{report:#?}");
    assert_eq!(report.verdict, Verdict::Fail);
}

/// The cycle ends without a dump, and the console says this.
#[track_caller]
fn assert_no_dump(report: &Report, said: &str) {
    assert_only_fails(report, &["cycle"]);
    let heard = report.last_lines.iter().any(|line| line.contains(said));
    assert!(heard, "the console does not say {said:?}: {report:#?}");
}

#[test]
fn debian_i386_with_two_cpus() {
    assert_passes(&cycle(debian(), |config| {
        config.memory = 512 * MIB;
        config.cpus = 2;
    }));
}

#[test]
fn debian_i386_in_little_memory() {
    assert_passes(&cycle(debian(), |config| config.memory = 96 * MIB));
}

#[test]
fn debian_i386_with_a_slot_of_its_own_choice() {
    assert_passes(&cycle(debian(), |config| {
        config.memory = 256 * MIB;
        config.slot = "32M".into();
    }));
}

/// Every CPU has its note, with the registers that it had loaded.
#[track_caller]
fn assert_passes_with_cpus(cpus: u32) {
    let report = cycle(guest(), |config| config.cpus = cpus);
    assert_passes(&report);
    let pattern = report.checks.iter().find(|check| check.name == "register_pattern");
    let detail = &pattern.expect("the guest's registers are known").detail;
    assert!(detail.ends_with(&format!("each of {cpus} CPUs")), "{detail}");
}

#[test]
fn guest_with_one_cpu() {
    assert_passes_with_cpus(1);
}

#[test]
fn guest_with_two_cpus() {
    assert_passes_with_cpus(2);
}

#[test]
fn guest_with_four_cpus() {
    assert_passes_with_cpus(4);
}

#[test]
fn guest_with_eight_cpus() {
    assert_passes_with_cpus(8);
}

#[test]
fn a_cpu_that_never_answers_the_nmi_is_named_and_the_capture_goes_on() {
    let out = tempfile::tempdir().expect("a folder for the results");
    let mut config = config(guest(), &out);
    (config.cpus, config.fault) = (4, Some(Fault::DeafCpu(2)));
    let report = qemu_tests::run(&config, &mut |_| ()).expect("the host has what a cycle needs");
    let console = std::fs::read_to_string(out.path().join("console.log")).expect("a log");
    assert_eq!(report.verdict, Verdict::Pass, "{report:#?}\n{console}");
    let unanswered: Vec<_> =
        console.lines().filter(|line| line.contains("did not answer")).collect();
    assert!(
        matches!(unanswered[..], [line] if line.ends_with("guest: cpu 2 did not answer")),
        "{console}"
    );
    assert!(console.contains("empty, this CPU saved no registers"), "{console}");
}

#[test]
fn guest_with_a_slot_elsewhere() {
    assert_passes(&cycle(guest(), |config| config.slot = "32M@64M".into()));
}

#[test]
fn guest_with_a_small_slot() {
    assert_passes(&cycle(guest(), |config| config.slot = "8M@34M".into()));
}

#[test]
fn guest_without_stops_is_compared_after_its_end() {
    let report = cycle(guest(), |config| config.truth = false);
    assert_passes(&report);
    assert_eq!(report.stopped_ms, 0.0);
    assert!(report.checks.iter().all(|check| !check.name.starts_with("memory_kept")));
}

#[test]
fn a_stray_write_into_old_memory_is_seen() {
    let report = cycle(guest(), |config| config.fault = Some(Fault::StrayWrite));
    assert_only_fails(&report, &["memory_kept_t0_t1"]);
}

#[test]
fn one_wrong_byte_in_the_vmcore_is_seen() {
    let report = cycle(guest(), |config| config.fault = Some(Fault::CorruptVmcore));
    assert_only_fails(&report, &["vmcore_equals_memory"]);
}

#[test]
fn a_disk_with_another_id_is_not_written() {
    let other = "kdump.target=virtio-blk:id=00000000000000000000000000000000";
    let report = cycle(guest(), |config| config.append = other.into());
    assert_no_dump(&report, "no virtio-blk disk carries a dump-disk header with id 0000");
}

#[test]
fn a_legacy_only_disk_is_named_and_left_alone() {
    let report = cycle(guest(), |config| config.disk_properties = "disable-modern=on".into());
    assert_no_dump(&report, "a legacy-only virtio device");
}

#[test]
fn a_modern_only_disk_takes_the_dump() {
    assert_passes(&cycle(guest(), |config| config.disk_properties = "disable-legacy=on".into()));
}

#[test]
fn a_disk_behind_an_iommu_is_named_and_left_alone() {
    let report = cycle(guest(), |config| {
        config.disk_properties = "disable-legacy=on,iommu_platform=on".into();
    });
    assert_no_dump(&report, "behind an IOMMU");
}

/// One byte of the slot changes; purgatory must say in which region, and go no further.
#[track_caller]
fn assert_damage_is_named(name: &'static str, offset: usize, said: &str) {
    let fault = Fault::DamagedSegment { name, offset };
    let report = cycle(guest(), |config| {
        config.truth = false;
        config.fault = Some(fault);
    });
    assert_no_dump(&report, said);
    assert_eq!(report.stage, "purgatory");
}

#[test]
fn damage_in_the_slot_is_named() {
    assert_damage_is_named("kernel-0", 0x1234, "region 'kernel' 0x1000000+");
    assert_damage_is_named("boot-params", 0x1e8, "region 'boot_params'");
    assert_damage_is_named("command-line", 3, "region 'command line'");
    assert_damage_is_named("elfcorehdr", 60, "region 'elfcorehdr'");
}

#[test]
fn a_damaged_parameter_block_is_not_followed() {
    let purgatory = Image::open(&file("KDUMP_TEST_PURGATORY")).expect("an ELF file");
    let params = purgatory.symbol(PARAMS_SYMBOL).expect("the block has a symbol");
    assert_damage_is_named("purgatory", params.start as usize + 48, "parameter block is damaged");
}

#[test]
fn debian_i386_powers_off() {
    let report = cycle(debian(), |config| {
        config.memory = 256 * MIB;
        config.truth = false;
        config.append = "kdump.final_action=poweroff".into();
    });
    assert_passes(&report);
    let rebooted = report.last_lines.iter().any(|line| line.contains("rebooting"));
    assert!(!rebooted, "the ACPI tables tell how to power off: {report:#?}");
}
