//! The dead kernel's log out of the vmcore, against what the kernel itself had put on the console.

use collector::{LogFormat, LogPart, VmcoreFile};
use qemu_tests::FirstKernel;
use vmcore::Skipped;

use crate::common::*;

/// What the kernel says at its start and at its end.
const SAID: [&str; 3] = [
    "] Linux version 6.1.0-",
    "] sysrq: Trigger a crash",
    "] Kernel panic - not syncing: sysrq triggered crash",
];

/// The kernel's lines on the console: those that begin with its clock, as in `[    1.234567] `. The
/// host's own clock in front of each line of the log goes off first.
fn kernel_lines(console: &str) -> String {
    let text = console.lines().filter_map(|line| Some(line.split_once("] ")?.1));
    text.filter(|line| clock(line).is_some()).flat_map(|line| [line, "\n"]).collect()
}

fn clock(line: &str) -> Option<f64> {
    let (clock, _) = line.strip_prefix('[')?.split_once("] ")?;
    let (_, fraction) = clock.split_once('.')?;
    clock.trim_start().parse().ok().filter(|_| fraction.len() == 6)
}

/// The bytes of `part` that are left when each byte of `whole`, in turn, may take off one: none if
/// `part` is `whole` with some bytes left out.
fn not_in<'a>(part: &'a str, whole: &str) -> &'a str {
    let rest = whole.bytes().fold(part.as_bytes(), |rest, byte| match rest {
        [first, rest @ ..] if *first == byte => rest,
        _ => rest,
    });
    &part[part.len() - rest.len()..]
}

fn log(vmcore: &VmcoreFile, part: LogPart) -> (String, Skipped) {
    let mut text = Vec::new();
    let skipped = collector::dmesg(vmcore, part, LogFormat::Text, &mut text).expect("a log");
    (String::from_utf8(text).expect("escaped"), skipped)
}

/// What the kernel put on the console is the vmcore's log, but for a few bytes that are in the log
/// only: QEMU's serial port drops one now and then on a busy host, and while `/init` runs the console
/// shows emergencies only. `debug` makes it show all the rest.
fn assert_log_is_the_consoles(first_kernel: FirstKernel, first_append: &str) {
    let out = tempfile::tempdir().expect("a folder for the results");
    let mut config = config(first_kernel, &out);
    config.memory = 256 * MIB;
    config.truth = false;
    config.first_append = format!("debug {first_append}");
    assert_passes(&qemu_tests::run(&config, &mut |_| ()).expect("the host has what it needs"));
    let console = std::fs::read(out.path().join("console.log")).expect("the console");
    let console = String::from_utf8_lossy(&console);
    let vmcore = VmcoreFile::open(&out.path().join("vmcore")).expect("a vmcore");

    let (log, skipped) = log(&vmcore, LogPart::All);
    for said in SAID {
        assert!(log.lines().any(|line| line.contains(said)), "{said:?} is not in:\n{log}");
    }
    let seen = kernel_lines(&console);
    assert_eq!(not_in(&seen, &log), "", "the console had that, but not the log:\n{log}");
    let more = log.len() - seen.len();
    assert!(more < log.len() / 50, "{more} bytes of the log were not on the console:\n{console}");
    assert_eq!(skipped, Skipped { unfinished: 0, damaged: 0 });
    assert_its_end(&vmcore, &log);
}

/// The last records alone are the end of the whole log.
fn assert_its_end(vmcore: &VmcoreFile, whole: &str) {
    let (records, _) = log(vmcore, LogPart::LastRecords(20));
    assert!(whole.ends_with(&records) && records.lines().count() >= 20, "{records}");
    let (bytes, _) = log(vmcore, LogPart::LastBytes(2048));
    let (before, _) = whole.split_at(whole.len() - bytes.len());
    let next = before.lines().next_back().expect("a longer log");
    assert!(whole.ends_with(&bytes) && bytes.len() <= 2048, "{bytes}");
    assert!(bytes.len() + next.len() + 1 > 2048, "{next:?} had room as well");
}

#[test]
fn debian_i386_leaves_its_log() {
    assert_log_is_the_consoles(debian(), "");
}

/// With a log of its own size the kernel takes it from the direct map; what points to it stays in the
/// kernel's image.
#[test]
fn debian_amd64_leaves_its_log() {
    assert_log_is_the_consoles(debian_amd64(), "log_buf_len=1M");
}
