//! The dead kernel's log from the vmcore, compared with the kernel's own console output.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use collector::{Callers, LogFormat, LogPart, VmcoreFile};
use linux::{MOST_WHOLE, Skipped, SmallView, first_views};
use qemu_tests::FirstKernel;
use vmcore::{CoreHeader, EM_386, ElfCoreHdr, PhysAddr, ReadPhys, vmcoreinfo_get};

use crate::common::*;
use crate::readers::assert_makedumpfile_agrees;

/// Lines of the kernel at its start and at its end.
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
    let skipped =
        collector::dmesg(vmcore, part, LogFormat::Text(Callers::Auto), &mut text).expect("a log");
    (String::from_utf8(text).expect("escaped"), skipped)
}

/// Checks that the kernel's lines on the console are the vmcore's log, but for a few bytes that are
/// in the log only: QEMU's serial port drops one now and then on a busy host, and while `/init`
/// runs the console shows emergencies only. `debug` makes it show all the rest.
fn assert_log_is_the_consoles(first_kernel: FirstKernel, first_append: &str) {
    let out = tempfile::tempdir().expect("a folder for the results");
    let mut config = config(first_kernel, &out);
    config.memory = 256 * MIB;
    config.truth = false;
    config.first_append = format!("debug {first_append}");
    assert_passes(&qemu_tests::run(&config).expect("the host has what it needs"));
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
    assert_small_views(&out.path().join("vmcore"), &log);
    if vmcore.machine == EM_386 {
        assert_makedumpfile_agrees(&out.path().join("vmcore"), &log);
    }
}

/// A file, which a vmcore's offsets lead into as those of an ELF core header lead into memory.
struct FileMemory(File);

impl ReadPhys for FileMemory {
    fn read_phys(&self, at: PhysAddr, into: &mut [u8]) -> Result<(), vmcore::Error> {
        self.0.read_exact_at(into, at.get()).map_err(|_| vmcore::Error::Unreadable { at })
    }
}

/// The capture kernel would have sent these before the bulk.
fn assert_small_views(path: &Path, log: &str) {
    let mem = FileMemory(File::open(path).expect("a vmcore"));
    let start = ElfCoreHdr { addr: PhysAddr::new(0), size: None };
    let header = CoreHeader::read(&mem, start).expect("a header");
    let vmcore = vmcore::vmcore(&header, &mem, 1 << 52, &vmcore::Holes::new(), &mut |_| {})
        .expect("a vmcore of it");
    let (views, complaints) = vmcore::fake::logged(|| {
        let (mut views, later) = first_views(&header, &vmcore, &mem);
        let backtraces = later.backtraces(&mem, &mut || true).expect("memory");
        views.extend(later.read(&mem, backtraces.whole(MOST_WHOLE)));
        views
    });
    // An i386 kernel does not describe its modules: it has no BTF.
    let is_known = |line: &&String| vmcore.machine != EM_386 || !line.starts_with("modules: ");
    let complaints: Vec<_> = complaints.iter().filter(is_known).collect();
    assert_eq!(complaints, [""; 0]);
    let names: Vec<_> = views.iter().map(|view| view.name).collect();
    assert_eq!(names, ["dmesg-tail", "notes", "vmcoreinfo", "backtrace", "stack", "dmesg"]);
    let backtrace = String::from_utf8_lossy(&views[3].view);
    assert!(backtrace.contains("\n sysrq_handle_crash+0x"), "{backtrace}");
    assert!(views[5].view == log.as_bytes(), "another log");
    let tail = &views[0].view;
    assert!(log.as_bytes().ends_with(tail) && (4000..=8192).contains(&tail.len()));
    assert_is_stack(&views[4], &views[2].view);
}

/// Checks that it has return addresses: words that point to the start of the kernel's text, or the
/// 16 MiB after it.
fn assert_is_stack(stack: &SmallView, vmcoreinfo: &[u8]) {
    let word = vmcoreinfo_get(vmcoreinfo, "SIZE(atomic_long_t)").expect("a size");
    let word: usize = word.parse().expect("a size");
    let text = vmcoreinfo_get(vmcoreinfo, "SYMBOL(_stext)").expect("an address");
    let text = u64::from_str_radix(text, 16).expect("an address");
    let words = stack
        .view
        .chunks_exact(word)
        .map(|bytes| bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)));
    let returns = words.filter(|value| (text..text + (16 << 20)).contains(value)).count();
    assert!(returns >= 5, "{returns} return addresses from {:#x} on", stack.start);
    assert!(stack.view.len() >= 256 && stack.start.is_multiple_of(16));
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

/// With a log of its own size the kernel takes it from the direct map; the pointer to it stays in
/// the kernel's image.
#[test]
fn debian_amd64_leaves_its_log() {
    assert_log_is_the_consoles(debian_amd64(), "log_buf_len=1M");
}
