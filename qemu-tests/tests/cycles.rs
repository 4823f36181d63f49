//! Crash-and-capture cycles: each test boots a first kernel under QEMU, crashes it, and looks at
//! what the capture kernel saved. `cargo xtask test` builds what they need and says where it is.

use std::path::PathBuf;

use handoff::purgatory::PARAMS_SYMBOL;
use qemu_tests::dump_disk::{Attachment, DiskAfter};
use qemu_tests::image::Image;
use qemu_tests::{Config, Fault, FirstKernel, Interrupt, Report, Verdict};
use vmcore::Class;

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
        core_headers: None,
        oldmem: None,
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
    cycle_and_console(first_kernel, change).0
}

/// The same, and everything that was on the console.
fn cycle_and_console(
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

#[test]
fn debian_i386_with_elf64_core_headers() {
    assert_passes(&cycle(debian(), |config| {
        config.memory = 256 * MIB;
        config.core_headers = Some(Class::Elf64);
    }));
}

#[test]
fn guest_with_elf64_core_headers() {
    assert_passes(&cycle(guest(), |config| config.core_headers = Some(Class::Elf64)));
}

/// Whether the check compares memory before the failure action; without a target's search there is
/// no T1.
fn is_kept_to_the_end(check: &str) -> bool {
    ["memory_kept_t1_t2", "memory_kept_t0_t2"].contains(&check)
}

/// The guest with a fault that ends the capture at `stage`, with the failure action and `said` on the
/// console, and without a write to old memory. Returns what is on the disk.
#[track_caller]
fn assert_capture_fails(fault: Fault, class: Class, stage: &str, said: &[&str]) -> DiskAfter {
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

const UNTOUCHED: (bool, bool) = (false, false);
const HEADER_ONLY: (bool, bool) = (true, false);

fn written(disk: &DiskAfter) -> (bool, bool) {
    (disk.header_written, disk.data_written)
}

#[track_caller]
fn assert_refused(disk: &DiskAfter, reason: &str) {
    assert!(disk.refused.contains(reason), "extract does not say {reason:?}: {disk:?}");
}

#[test]
fn without_a_dump_disk_nothing_is_written() {
    let fault = Fault::Disk(Attachment::Absent);
    let said = ["no virtio-blk disk carries a dump-disk header with id"];
    let disk = assert_capture_fails(fault, Class::Elf32, "views", &said);
    assert_eq!(written(&disk), UNTOUCHED);
}

#[test]
fn a_read_only_disk_is_named_and_left_alone() {
    let fault = Fault::Disk(Attachment::ReadOnly);
    let disk = assert_capture_fails(fault, Class::Elf32, "views", &["the disk is read-only"]);
    assert_eq!(written(&disk), UNTOUCHED);
    assert_refused(&disk, "no capture has begun on it");
}

#[test]
fn a_disk_that_is_too_small_says_so_itself() {
    let fault = Fault::DiskSize(8 * MIB);
    let said = ["the dump disk is too small", "8388608 there"];
    let disk = assert_capture_fails(fault, Class::Elf32, "views", &said);
    assert_eq!(written(&disk), HEADER_ONLY);
    assert_refused(&disk, "the capture failed; the last stage it reached is `views`");
}

/// The dump is about 90 MiB long: sector 65536 lies 32 MiB into it.
#[test]
fn an_io_error_half_way_is_named() {
    let fault = Fault::Disk(Attachment::FailsAt { sector: 65536 });
    let disk = assert_capture_fails(fault, Class::Elf32, "first_byte", &["an I/O error"]);
    assert_eq!(written(&disk), (true, true));
    assert_refused(&disk, "the capture failed; the last stage it reached is `first_byte`");
}

/// A disk that takes no write at all to its header cannot say anything of itself.
#[test]
fn an_io_error_in_the_header_leaves_the_disk_as_it_was() {
    let fault = Fault::Disk(Attachment::FailsAt { sector: 0 });
    let disk = assert_capture_fails(fault, Class::Elf32, "views", &["an I/O error"]);
    assert_eq!(written(&disk), UNTOUCHED);
    assert_refused(&disk, "no capture has begun on it");
}

/// A wrong ELF core header: the reason, a vmcore of length zero, and a disk that knows.
#[track_caller]
fn assert_header_refused(class: Class, change: fn(&mut [u8]), reason: &str) {
    let fault = Fault::WrongSegment { name: "elfcorehdr", change };
    let said = [reason, "elfcorehdr refused: ", "no dump: vmcore has length zero"];
    let disk = assert_capture_fails(fault, class, "views", &said);
    assert_eq!(written(&disk), HEADER_ONLY);
    assert_refused(&disk, "the capture failed; the last stage it reached is `views`");
}

#[test]
fn a_header_without_magic_is_refused() {
    assert_header_refused(Class::Elf32, |header| header[0] = 0, "no ELF header at 0x");
}

/// `e_phnum`: at 44 of 52 bytes.
#[test]
fn a_header_with_absurd_counts_is_refused() {
    assert_header_refused(Class::Elf32, |header| header[44..46].fill(0xff), "e_phnum of the ELF");
    assert_header_refused(Class::Elf32, |header| header[44..46].fill(0), "e_phnum of the ELF");
    // The most there may be, and 32 bytes each: more than the block of 4096 bytes.
    let many = |header: &mut [u8]| header[44..46].copy_from_slice(&[128, 0]);
    assert_header_refused(Class::Elf32, many, "lie outside the core header's block");
}

/// The program headers of an ELF64 core header.
fn entries64(header: &mut [u8]) -> impl DoubleEndedIterator<Item = &mut [u8]> {
    let count = usize::from(header[56]);
    header[64..].chunks_exact_mut(56).take(count)
}

fn is_load(entry: &[u8]) -> bool {
    entry[..4] == [1, 0, 0, 0]
}

/// The last PT_LOAD of an ELF64 core header.
fn last_load(header: &mut [u8]) -> &mut [u8] {
    entries64(header).rfind(|entry| is_load(entry)).expect("a PT_LOAD")
}

/// Puts `address` into `p_offset` and `p_paddr` of an ELF64 program header.
fn move_to(entry: &mut [u8], address: u64) {
    put(entry, 8, address);
    put(entry, 24, address);
}

fn put(entry: &mut [u8], at: usize, value: u64) {
    entry[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

#[test]
fn segments_that_overlap_are_refused() {
    let change = |header: &mut [u8]| {
        let first = entries64(header).find(|entry| is_load(entry)).expect("a PT_LOAD").to_vec();
        last_load(header).copy_from_slice(&first);
    };
    assert_header_refused(Class::Elf64, change, "two PT_LOADs overlap");
}

#[test]
fn a_segment_that_wraps_is_refused() {
    let change = |header: &mut [u8]| move_to(last_load(header), u64::MAX - 0xfff);
    assert_header_refused(Class::Elf64, change, "run past 64 bits");
}

#[test]
fn a_segment_beyond_the_cpus_addresses_is_refused() {
    let change = |header: &mut [u8]| move_to(last_load(header), 1 << 52);
    assert_header_refused(Class::Elf64, change, "where this CPU's physical addresses end");
}

/// One more note area, the first 100 bytes of the first: that note is longer.
#[test]
fn notes_that_run_over_their_end_are_named_and_the_rest_is_kept() {
    let change = |header: &mut [u8]| {
        let count = usize::from(header[56]);
        let mut cut = header[64..120].to_vec();
        assert_eq!(cut[0], 4, "PT_NOTE comes first");
        put(&mut cut, 32, 100);
        put(&mut cut, 40, 100);
        header[64 + count * 56..][..56].copy_from_slice(&cut);
        header[56] += 1;
    };
    let fault = Fault::WrongSegment { name: "elfcorehdr", change };
    assert_captured(fault, "the note at offset 0x0 does not end within its area");
}

/// The guest with a fault that does not stop the capture, and `said` on the console.
#[track_caller]
fn assert_captured(fault: Fault, said: &str) {
    let (report, console) = cycle_and_console(guest(), |config| {
        config.fault = Some(fault);
        config.core_headers = Some(Class::Elf64);
    });
    assert_passes(&report);
    assert!(console.contains(said), "the console does not say {said:?}:\n{console}");
}

/// Puts `words` in the place of all `memmap=` on the capture kernel's command line.
fn with_memmap(line: &mut [u8], words: &str) {
    let text = std::str::from_utf8(line).expect("ASCII").trim_end_matches('\0').to_string();
    let others = text.split(' ').filter(|word| !word.starts_with("memmap="));
    let text = others.chain([words]).collect::<Vec<_>>().join(" ");
    line.fill(0);
    line[..text.len()].copy_from_slice(text.as_bytes());
}

fn wrong_line(change: fn(&mut [u8])) -> Fault {
    Fault::WrongSegment { name: "command-line", change }
}

#[test]
fn memmap_that_covers_old_memory_is_not_believed() {
    let fault = wrong_line(|line| with_memmap(line, "memmap=exactmap memmap=100M@1M"));
    assert_captured(fault, "kdump: memmap= covers old memory 0x");
}

#[test]
fn memmap_that_is_nothing_but_old_memory_is_not_used() {
    let change = |line: &mut [u8]| with_memmap(line, "memmap=exactmap memmap=32M@64M");
    let said = ["memmap= covers old memory 0x", "no free memory in the slot"];
    let disk = assert_capture_fails(wrong_line(change), Class::Elf64, "capture_entry", &said);
    assert_eq!(written(&disk), UNTOUCHED);
}

#[test]
fn memmap_of_no_bytes_is_named() {
    let fault = wrong_line(|line| with_memmap(line, "memmap=exactmap memmap=0@16M"));
    assert_captured(fault, "memmap=0@16M: not understood, ignored");
}

#[test]
fn memmap_that_is_not_aligned_is_cut_to_pages() {
    let fault = wrong_line(|line| with_memmap(line, "memmap=exactmap memmap=0x1000001@0x1000801"));
    assert_captured(fault, "does not cover our own image");
}

#[test]
fn without_memmap_the_e820_table_counts() {
    assert_captured(wrong_line(|line| with_memmap(line, "")), "kdump: dump complete");
}

#[test]
fn an_unknown_option_is_named_and_changes_nothing() {
    let report = cycle_and_console(guest(), |config| config.append = "kdump.colour=red".into());
    assert_passes(&report.0);
    assert!(report.1.contains("kdump.colour=red: no such option, ignored"), "{}", report.1);
}

#[test]
fn an_nmi_during_the_capture_is_counted() {
    assert_captured(Fault::Nmi, "kdump: 1 NMIs arrived during the capture");
}

#[test]
fn oldmem_is_memory_as_it_is() {
    assert_passes(&cycle(guest(), |config| {
        // The end of low memory, read where it is and not in the backup region; the hole behind it
        // is video memory and ROMs, where RAM as QEMU's file has it is not what a CPU would read.
        config.append = "kdump.view=oldmem:0x20000+0x7f000".into();
        config.oldmem = Some(0x2_0000..0x9_f000);
    }));
    assert_passes(&cycle(guest(), |config| {
        config.append = "kdump.view=oldmem:0x100000+15M".into();
        config.oldmem = Some(0x10_0000..0x100_0000);
    }));
}
