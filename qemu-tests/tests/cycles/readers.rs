//! The collector beside the programs of others: makedumpfile, vmcore-dmesg (kexec-tools), QEMU.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use collector::{Callers, Conversion, Error, FileKind, Format, LogFormat, LogPart, VmcoreFile};
use dumpfile::kdump_file::PageCodec;

use crate::common::*;

fn log(path: &Path) -> String {
    let vmcore = VmcoreFile::open(path).expect("a vmcore");
    let mut text = Vec::new();
    let format = LogFormat::Text(Callers::Auto);
    collector::dmesg(&vmcore, LogPart::All, format, &mut text).expect("a log");
    String::from_utf8(text).expect("escaped")
}

fn kind(path: &Path) -> FileKind {
    match VmcoreFile::open(path) {
        Err(Error::OtherKind { kind, .. }) => kind,
        other => panic!("{}: {other:?}", path.display()),
    }
}

/// makedumpfile shows the same log of this i386 vmcore, and the kinds of its own files are
/// recognized.
pub(crate) fn assert_makedumpfile_agrees(vmcore: &Path, ours: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let makedumpfile = || tool(false, "usr/bin/makedumpfile");
    output(makedumpfile().arg("--dump-dmesg").args([vmcore, &path("log")]));
    let theirs = fs::read(path("log")).expect("a log");
    let theirs = String::from_utf8(theirs).expect("escaped");
    // In the second line of a record makedumpfile has spaces for the time.
    let text = |line: &str| line.split_once("] ").map_or(line, |(_, text)| text).trim().to_owned();
    let lines = |log: &str| log.lines().map(text).collect::<Vec<_>>();
    assert_eq!(lines(ours), lines(&theirs));
    let same = ours.lines().zip(theirs.lines()).filter(|(ours, theirs)| ours == theirs).count();
    assert!(same + 10 > ours.lines().count(), "the times are others:\n{theirs}");

    // The same log is in makedumpfile's own files.
    output(makedumpfile().args(["-d", "31", "-l"]).args([vmcore, &path("kdump")]));
    let flat = output(makedumpfile().args(["-F", "-d", "31", "-c"]).arg(vmcore));
    fs::write(path("flat"), flat).expect("a file");
    for file in ["kdump", "flat"] {
        assert_eq!(log(&path(file)), ours, "{file}");
    }
}

#[test]
fn what_qemu_writes_is_opened_or_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    output(Command::new("qemu-img").args(["create", "-qf", "qcow2"]).arg(path("disk")).arg("1M"));
    assert_eq!(kind(&path("disk")), FileKind::DiskImage("qcow2", 0));
    let mut qemu = Command::new("qemu-system-i386");
    qemu.args(["-S", "-nodefaults", "-display", "none", "-m", "16", "-monitor", "stdio"]);
    qemu.arg("-drive").arg(format!("file={},format=qcow2,if=none", path("disk").display()));
    qemu.stdin(Stdio::piped()).stdout(Stdio::null());
    let mut qemu = qemu.spawn().expect("QEMU is there");
    let monitor = format!(
        "dump-guest-memory {0}/core\ndump-guest-memory -z {0}/kdump\nsavevm one\n\
         migrate \"exec:cat > {0}/stream\"\nquit\n",
        folder.path().display()
    );
    let mut input = qemu.stdin.take().expect("the monitor");
    input.write_all(monitor.as_bytes()).expect("QEMU listens");
    drop(input);
    assert!(qemu.wait().expect("QEMU ends").success());
    // Both of QEMU's dumps have the same memory, byte for byte. The kdump-compressed one is
    // flattened.
    let memory = |file: &str| {
        let (format, codec) = (Format::Elf, PageCodec::Raw);
        let conversion = Conversion { number: None, level: None, format, codec };
        let out = path(&format!("{file}.again"));
        let converted = collector::convert(&path(file), &conversion, Some(&out), &mut |_, _| {});
        let bytes = fs::read(out).expect("a file");
        let pages = converted.expect("a dump").pages;
        // The headers differ: 16 MiB of memory, and the firmware, are after them.
        (pages.kept, bytes[bytes.len() - 16 * MIB as usize..].to_vec())
    };
    assert!(memory("core") == memory("kdump"));
    let kdump = collector::info(&path("kdump"), None).expect("a dump").vmcore.expect("headers");
    assert!(kdump.flattened && kdump.kdump.is_some_and(|kdump| kdump.codecs == ["zlib"]));
    assert_eq!(kind(&path("disk")), FileKind::DiskImage("qcow2", 1));
    assert_eq!(kind(&path("stream")), FileKind::Machine("a migration stream of QEMU"));

    let info = collector::info(&path("core"), None).expect("a core").vmcore.expect("headers");
    assert_eq!((info.origin, info.vmcoreinfo, info.machine), (Some("qemu"), false, "i386"));
    // First instruction of an x86 CPU (Intel's manual, volume 3, 9.1.4).
    let register = |name| info.cpus[0].registers.iter().find(|(other, _)| *other == name);
    assert_eq!(register("eip").map(|(_, value)| value.0), Some(0xfff0));
    assert_eq!(register("cs").map(|(_, value)| value.0), Some(0xf000));
    let memory: u64 = info.loads.iter().map(|load| load.filesz.0).sum();
    assert!(memory >= 16 * MIB, "{memory}");
    let vmcore = VmcoreFile::open(&path("core")).expect("a core");
    let error = vmcore.vmcoreinfo().expect_err("no such device");
    assert!(error.to_string().contains("-device vmcoreinfo"), "{error}");
}

/// Virtual address of the page of the old logs.
const VADDR: u32 = 0xc010_0000;

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// An ELF32 core of i386 with VMCOREINFO and one page at 1 MiB.
fn core(vmcoreinfo: &str, page: &[u8]) -> Vec<u8> {
    let mut notes = words(&[5, 144, 1]);
    notes.extend(b"CORE\0\0\0\0");
    notes.extend([0; 144]);
    notes.extend(words(&[11, vmcoreinfo.len() as u32, 0]));
    notes.extend(b"VMCOREINFO\0\0");
    notes.extend(vmcoreinfo.as_bytes());
    notes.resize(notes.len().next_multiple_of(4), 0);
    let length = notes.len() as u32;
    let mut file = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    file.extend(words(&[3 << 16 | 4, 1, 0, 52, 0, 0, 32 << 16 | 52, 2, 0]));
    file.extend(words(&[4, 116, 0, 0, length, length, 0, 0]));
    file.extend(words(&[1, 0x1000, VADDR, 0x10_0000, 0x1000, 0x1000, 7, 0]));
    file.extend(notes);
    file.resize(0x1000, 0);
    file.extend(page);
    file.resize(0x2000, 0);
    file
}

/// The variables of a log with a buffer of 512 bytes at 0x100: the pointer, the length, two
/// numbers.
fn page(first: u32, next: u32) -> Vec<u8> {
    let mut page = vec![0; 0x1000];
    for (at, value) in [(0x10, VADDR + 0x100), (0x20, 512), (0x30, first), (0x40, next)] {
        page[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
    page
}

fn symbols(names: [&str; 4]) -> String {
    let places = [0x10, 0x20, 0x30, 0x40].map(|at| VADDR + at);
    let lines = names.iter().zip(places).map(|(name, at)| format!("SYMBOL({name})={at:x}\n"));
    "OSRELEASE=4.19.0-27-686\nPAGESIZE=4096\nSIZE(list_head)=8\n".to_owned()
        + &lines.collect::<String>()
}

/// A record of Linux 3.5 to 5.9 (`struct printk_log`).
fn record(seconds: u64, text: &str, dictionary: &str) -> Vec<u8> {
    let length = (16 + text.len() + dictionary.len()).next_multiple_of(4);
    let mut bytes = (seconds * 1_000_000_000).to_le_bytes().to_vec();
    for field in [length, text.len(), dictionary.len()] {
        bytes.extend((field as u16).to_le_bytes());
    }
    bytes.extend([0, 0xc6]);
    bytes.extend((text.to_owned() + dictionary).as_bytes());
    bytes.resize(length, 0);
    bytes
}

fn vmcore_dmesg(path: &Path) -> String {
    String::from_utf8(output(tool(false, "sbin/vmcore-dmesg").arg(path))).expect("escaped")
}

/// Kernels that Debian has no more: their logs by hand, read by kexec-tools' vmcore-dmesg as well.
#[test]
fn old_logs_are_those_that_vmcore_dmesg_shows() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("vmcore");
    let front = [record(7, "Kernel panic - not syncing", ""), record(8, "end\x1b", "")].concat();
    let back = [record(5, "older", "SUBSYSTEM=pci\0DEVICE=+pci:1"), record(6, &"x".repeat(99), "")];
    let back = back.concat();
    let first = 512 - 16 - back.len();
    let mut page_of_records = page(first as u32, front.len() as u32);
    page_of_records[0x100..][..front.len()].copy_from_slice(&front);
    page_of_records[0x100 + first..][..back.len()].copy_from_slice(&back);
    let names = symbols(["log_buf", "log_buf_len", "log_first_idx", "log_next_idx"]);
    for name in ["log", "printk_log"] {
        let fields = [("ts_nsec", 0), ("len", 8), ("text_len", 10), ("dict_len", 12)];
        let fields = fields.map(|(field, at)| format!("OFFSET({name}.{field})={at}\n")).concat();
        let text = format!("{names}SIZE({name})=16\n{fields}");
        fs::write(&path, core(&text, &page_of_records)).expect("a file");
        let theirs = vmcore_dmesg(&path);
        // It shows the header at the end of the buffer as a record.
        let theirs: String =
            theirs.split_inclusive('\n').filter(|line| *line != "[    0.000000] \n").collect();
        assert_eq!(log(&path), theirs, "{name}");
        assert_eq!(theirs.lines().count(), 4);
    }
    let lines: String = (0..40).map(|line| format!("<6>[    1.000000] line {line:03}\n")).collect();
    let mut page_of_text = page(lines.len() as u32, 512);
    for (index, byte) in lines.bytes().enumerate() {
        page_of_text[0x100 + index % 512] = byte;
    }
    let text = symbols(["log_buf", "log_buf_len", "log_end", "logged_chars"]);
    fs::write(&path, core(&text, &page_of_text)).expect("a file");
    // It shows the levels as well.
    assert_eq!(log(&path), vmcore_dmesg(&path).replace("<6>", ""));
}
