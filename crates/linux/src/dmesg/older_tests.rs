//! Logs as kernels before Linux 5.10 leave them, built by hand.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::SegmentMap;
use vmcore::fake::FakeMemory;
use vmcore::{PhysAddr, Segment, SegmentKind};

/// Address of the page with the log (physical, virtual of i386 and of x86_64).
const PADDR: u64 = 0x500_0000;
const VADDR: [u64; 2] = [0xc500_0000, 0xffff_ffff_8150_0000];
const PAGE: usize = 0x1000;

// Offsets in the page: the pointer, the numbers, the buffer.
const LOG_BUF: usize = 0x10;
const LOG_BUF_LEN: usize = 0x20;
const FIRST: usize = 0x30;
const NEXT: usize = 0x40;
const DATA: usize = 0x100;
const LENGTH: usize = 256;

/// A machine's page, and the text of its VMCOREINFO.
#[derive(Clone)]
struct Page {
    is_64_bit: bool,
    text: String,
    bytes: Vec<u8>,
}

impl Page {
    /// VMCOREINFO's symbols, then `more`.
    fn new(is_64_bit: bool, symbols: &[(&str, usize)], more: &str) -> Self {
        let vaddr = VADDR[usize::from(is_64_bit)];
        let list_head = if is_64_bit { 16 } else { 8 };
        let mut text = format!("OSRELEASE=4.19.0-27\nPAGESIZE=4096\nSIZE(list_head)={list_head}\n");
        for (name, at) in symbols {
            text += &format!("SYMBOL({name})={:x}\n", vaddr + *at as u64);
        }
        let mut page = Self { is_64_bit, text: text + more, bytes: vec![0; PAGE] };
        let data = (vaddr + DATA as u64).to_le_bytes();
        page.put(LOG_BUF, if is_64_bit { &data } else { &data[..4] });
        page.put(LOG_BUF_LEN, &(LENGTH as u32).to_le_bytes());
        page
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn number(&mut self, at: usize, value: u32) {
        self.put(at, &value.to_le_bytes());
    }

    fn log<T>(&self, use_log: impl FnOnce(Dmesg<'_, FakeMemory>) -> T) -> Result<T, Error> {
        self.log_of(FakeMemory::with(PADDR, self.bytes.clone()), use_log)
    }

    fn log_of<T>(
        &self,
        mem: FakeMemory,
        use_log: impl FnOnce(Dmesg<'_, FakeMemory>) -> T,
    ) -> Result<T, Error> {
        let (source, filesz) = (PhysAddr::new(PADDR), PAGE as u64);
        let vaddr = VADDR[usize::from(self.is_64_bit)];
        let kind = SegmentKind::Load;
        let load = Segment { kind, source, vaddr, paddr: source, filesz, memsz: filesz, flags: 7 };
        let map = SegmentMap::new([Ok(load)]).expect("room");
        Dmesg::open(KernelMemory::new(&mem, &map), self.text.as_bytes()).map(use_log)
    }

    /// Each record as it is shown, and the number of damaged ones.
    fn shown(&self) -> (Vec<String>, u64) {
        self.log(read).expect("a log")
    }
}

fn read(mut log: Dmesg<'_, FakeMemory>) -> (Vec<String>, u64) {
    let mut shown = Vec::new();
    while let Some(record) = log.next_record() {
        assert_eq!(record.seq, None);
        shown.push(record.to_string());
    }
    assert!(log.next_record().is_none(), "an end stays one");
    assert_eq!(log.skipped().unfinished, 0);
    (shown, log.skipped().damaged)
}

fn strings(lines: &[&str]) -> Vec<String> {
    lines.iter().map(ToString::to_string).collect()
}

/// Names that a kernel uses for its records, and the length of their headers.
#[derive(Clone, Copy)]
enum Kernel {
    /// Linux 3.5 to 3.10.
    Log,
    /// Linux 3.11 to 5.9.
    PrintkLog,
    /// Since 5.1, with `CONFIG_PRINTK_CALLER`.
    WithCaller,
}

const KERNELS: [Kernel; 3] = [Kernel::Log, Kernel::PrintkLog, Kernel::WithCaller];

impl Kernel {
    fn header(self) -> usize {
        if matches!(self, Self::WithCaller) { 20 } else { 16 }
    }

    /// Lines that `log_buf_vmcoreinfo_setup` adds to the symbols.
    fn lines(self) -> String {
        let name = if matches!(self, Self::Log) { "log" } else { "printk_log" };
        let field = |field: &str, at: usize| format!("OFFSET({name}.{field})={at}\n");
        let mut lines = format!("SIZE({name})={}\n", self.header());
        lines += &(field("ts_nsec", 0) + &field("len", 8));
        lines += &(field("text_len", 10) + &field("dict_len", 12));
        if matches!(self, Self::WithCaller) {
            lines += &field("caller_id", 16);
        }
        lines
    }

    /// The bytes of a record (`log_store`): header, text, dictionary, up to a multiple of four.
    fn record(self, ts_nsec: u64, text: &[u8], dictionary: &[u8]) -> Vec<u8> {
        let length = (self.header() + text.len() + dictionary.len()).next_multiple_of(4);
        let mut bytes = ts_nsec.to_le_bytes().to_vec();
        bytes.extend((length as u16).to_le_bytes());
        bytes.extend((text.len() as u16).to_le_bytes());
        bytes.extend((dictionary.len() as u16).to_le_bytes());
        bytes.extend([0, 0xc6]);
        if matches!(self, Self::WithCaller) {
            bytes.extend(0x8000_0002_u32.to_le_bytes());
        }
        bytes.extend(text);
        bytes.extend(dictionary);
        bytes.resize(length, 0);
        bytes
    }

    fn page(self, is_64_bit: bool) -> Page {
        let symbols = [
            ("log_buf", LOG_BUF),
            ("log_buf_len", LOG_BUF_LEN),
            ("log_first_idx", FIRST),
            ("log_next_idx", NEXT),
        ];
        Page::new(is_64_bit, &symbols, &self.lines())
    }

    /// `line`, with the caller if this kernel shows it.
    fn line(self, time: &str, text: &str) -> String {
        let caller = if matches!(self, Self::WithCaller) { "[    C2]" } else { "" };
        format!("[{time}]{caller} {text}")
    }
}

/// Writes records one after the other, starting at `at`. Returns the end of the last one.
fn put_records(page: &mut Page, at: usize, records: &[Vec<u8>]) -> usize {
    records.iter().fold(at, |at, record| {
        page.put(DATA + at, record);
        at + record.len()
    })
}

/// Three records from the front of the buffer on.
fn young(kernel: Kernel, is_64_bit: bool) -> Page {
    let mut page = kernel.page(is_64_bit);
    let records = [
        kernel.record(0, b"Linux version 4.19", b""),
        kernel.record(1_234_567_890, b"pci 0000:00:01.0: x", b"SUBSYSTEM=pci\0DEVICE=+pci:1"),
        kernel.record(2_000_000_000, b"a\nb\x1b[m", b""),
    ];
    let end = put_records(&mut page, 0, &records);
    page.number(NEXT, end as u32);
    page
}

/// A log that has wrapped: the last record before the end of the buffer leaves room for a header of
/// zeros, and the newest two records are at the start.
fn old(kernel: Kernel, is_64_bit: bool) -> Page {
    let mut page = kernel.page(is_64_bit);
    let front = [
        kernel.record(7_000_000_000, b"Kernel panic", b""),
        kernel.record(8_000_000_000, b"end", b""),
    ];
    let end = put_records(&mut page, 0, &front);
    let back = [
        kernel.record(5_000_000_000, b"older", b""),
        kernel.record(6_000_000_000, &[b'x'; 40], b""),
    ];
    let length: usize = back.iter().map(Vec::len).sum();
    let start = LENGTH - kernel.header() - length;
    // Remains of older records there are not part of the log.
    page.put(DATA + end, &vec![0xff; start - end]);
    put_records(&mut page, start, &back);
    page.number(FIRST, start as u32);
    page.number(NEXT, end as u32);
    page
}

fn each(mut check: impl FnMut(Kernel, bool)) {
    for kernel in KERNELS {
        check(kernel, false);
        check(kernel, true);
    }
}

fn old_lines(kernel: Kernel) -> [String; 4] {
    [
        kernel.line("    5.000000", "older"),
        kernel.line("    6.000000", &"x".repeat(40)),
        kernel.line("    7.000000", "Kernel panic"),
        kernel.line("    8.000000", "end"),
    ]
}

#[test]
fn the_log_of_a_kernel_before_5_10() {
    each(|kernel, is_64_bit| {
        let two = [kernel.line("    2.000000", "a"), kernel.line("    2.000000", "b\\x1b[m")];
        let lines = vec![
            kernel.line("    0.000000", "Linux version 4.19"),
            kernel.line("    1.234567", "pci 0000:00:01.0: x"),
            two.join("\n"),
        ];
        assert_eq!(young(kernel, is_64_bit).shown(), (lines, 0));
    });
}

#[test]
fn a_log_that_has_gone_round() {
    each(|kernel, is_64_bit| {
        assert_eq!(old(kernel, is_64_bit).shown(), (old_lines(kernel).to_vec(), 0));
    });
}

/// The oldest record may be at the start of the buffer while the index still has its end.
#[test]
fn the_index_of_the_oldest_record_may_be_where_the_buffer_ends() {
    each(|kernel, is_64_bit| {
        let mut page = old(kernel, is_64_bit);
        page.number(FIRST, (LENGTH - kernel.header()) as u32);
        assert_eq!(page.shown(), (old_lines(kernel)[2..].to_vec(), 0));
    });
}

#[test]
fn a_log_without_a_record() {
    each(|kernel, is_64_bit| assert_eq!(kernel.page(is_64_bit).shown(), (vec![], 0)));
}

/// An impossible length: all records from there on are lost, and counted once.
#[test]
fn a_length_that_cannot_be_ends_the_log() {
    each(|kernel, is_64_bit| {
        let page = young(kernel, is_64_bit);
        let second = kernel.record(0, b"Linux version 4.19", b"").len();
        let behind_the_end = (LENGTH + 4) as u16;
        for length in [0, 1, 15, behind_the_end, u16::MAX] {
            let mut page = page.clone();
            page.put(DATA + second + 8, &length.to_le_bytes());
            let first = kernel.line("    0.000000", "Linux version 4.19");
            assert_eq!(page.shown(), (vec![first], 1), "{length}");
        }
        let mut page = old(kernel, is_64_bit);
        // Records that reach into the place of the last header, or past the end of the buffer.
        let start = LENGTH - kernel.header() - kernel.record(0, &[b'x'; 40], b"").len();
        for more in [4, kernel.header() as u16 + 4] {
            let length = (LENGTH - kernel.header() - start) as u16 + more;
            page.put(DATA + start + 8, &length.to_le_bytes());
            assert_eq!(page.shown(), (old_lines(kernel)[..1].to_vec(), 1), "{length}");
        }
        // Two wraps at the end of the buffer: the start has the length zero, too.
        let mut page = old(kernel, is_64_bit);
        page.put(DATA + 8, &[0, 0]);
        assert_eq!(page.shown(), (old_lines(kernel)[..2].to_vec(), 1));
    });
}

#[test]
fn a_text_that_is_longer_than_its_record_is_skipped() {
    each(|kernel, is_64_bit| {
        let mut page = old(kernel, is_64_bit);
        let length = kernel.record(0, b"Kernel panic", b"").len() - kernel.header();
        page.put(DATA + 10, &(length as u16 + 1).to_le_bytes());
        let [one, two, _, four] = old_lines(kernel);
        assert_eq!(page.shown(), (vec![one, two, four], 1));
    });
}

/// A dump that is cut within the log.
#[test]
fn what_is_not_there_of_the_buffer_is_counted() {
    each(|kernel, is_64_bit| {
        let page = young(kernel, is_64_bit);
        let second = kernel.record(0, b"Linux version 4.19", b"").len();
        let cut = page.bytes[..DATA + second + 4].to_vec();
        let seen = page.log_of(FakeMemory::with(PADDR, cut), read).expect("a log");
        assert_eq!(seen, (vec![kernel.line("    0.000000", "Linux version 4.19")], 1));
    });
}

#[test]
fn the_newest_can_be_kept_alone() {
    each(|kernel, is_64_bit| {
        let lines = old_lines(kernel);
        let kept = |keep: &dyn Fn(&mut Dmesg<'_, FakeMemory>)| {
            let log = old(kernel, is_64_bit).log(|mut log| {
                keep(&mut log);
                read(log).0
            });
            log.expect("a log")
        };
        for count in 0..6 {
            let from = 4 - count.min(4);
            assert_eq!(kept(&|log| log.keep_last_records(count as u64)), lines[from..]);
            assert_eq!(kept(&|log| log.look_at_last(count as u64)), lines[from..]);
        }
        let last = lines[3].len() as u64 + 1;
        let two = last + lines[2].len() as u64 + 1;
        for (bytes, count) in
            [(0, 0), (last - 1, 0), (last, 1), (two - 1, 1), (two, 2), (u64::MAX, 4)]
        {
            assert_eq!(kept(&|log| log.keep_last_bytes(bytes)), lines[4 - count..], "{bytes}");
        }
    });
}

/// A capture kernel does not follow a log forever.
#[test]
fn what_is_looked_at_has_an_end() {
    let kernel = Kernel::PrintkLog;
    let mut page = kernel.page(false);
    let records: Vec<_> = (0..200).map(|index| kernel.record(index, b"", b"")).collect();
    let end = put_records(&mut page, 0, &records);
    page.number(LOG_BUF_LEN, (PAGE - DATA) as u32);
    page.number(NEXT, end as u32);
    assert_eq!(page.shown().0.len(), 200);
    let last = |count| {
        let seen = page.log(|mut log| {
            log.look_at_last(count);
            read(log)
        });
        seen.map(|(shown, damaged)| (shown.len(), damaged))
    };
    assert_eq!(last(10), Ok((10, 0)), "400 of 640");
    assert_eq!(last(1), Ok((0, 1)), "64 are passed over, and that there are more is counted");
}

#[test]
fn numbers_that_cannot_be_are_refused() {
    each(|kernel, is_64_bit| {
        let refused = |at, value| {
            let mut page = young(kernel, is_64_bit);
            page.number(at, value);
            page.log(|_| ()).expect_err("a number that cannot be")
        };
        let bad = |field, value: u32| Error::BadLog { field, value: value.into() };
        assert_eq!(refused(LOG_BUF_LEN, 15), bad("log_buf_len", 15));
        assert_eq!(refused(LOG_BUF_LEN, 0x8000_0001), bad("log_buf_len", 0x8000_0001));
        assert_eq!(refused(FIRST, 256), bad("log_first_idx", 256));
        assert_eq!(refused(NEXT, u32::MAX), bad("log_next_idx", u32::MAX));
        let mut page = young(kernel, is_64_bit);
        page.number(LOG_BUF, 0x10);
        assert_eq!(page.shown(), (vec![], 1), "a buffer that is nowhere");
    });
}

#[test]
fn vmcoreinfo_is_asked_for_everything() {
    let page = young(Kernel::PrintkLog, false);
    let open = |text: String| Page { text, ..page.clone() }.log(|_| ());
    let used = page.text.lines().filter(|line| {
        open(page.text.replace(line, "")).is_err_and(|error| matches!(error, Error::NoKey { .. }))
    });
    assert_eq!(used.count(), 9);
    let with = |from: &str, to: &str| open(page.text.replace(from, to));
    let size = Err(Error::BadKey { key: "SIZE(printk_log)" });
    assert_eq!(with("SIZE(printk_log)=16", "SIZE(printk_log)=15"), size);
    let pointer = Err(Error::BadKey { key: "SIZE(list_head)" });
    assert_eq!(with("SIZE(list_head)=8", "SIZE(list_head)=9"), pointer);
}

/// `log_end` counts all bytes ever written to the ring.
fn plain(is_64_bit: bool, text: &[u8]) -> Page {
    let symbols = [("log_buf", LOG_BUF), ("log_buf_len", LOG_BUF_LEN), ("log_end", NEXT)];
    let mut page = Page::new(is_64_bit, &symbols, "");
    for (index, byte) in text.iter().enumerate() {
        page.put(DATA + index % LENGTH, &[*byte]);
    }
    page.number(NEXT, text.len() as u32);
    page
}

#[test]
fn the_log_of_a_kernel_before_3_5() {
    let text =
        b"<5>[    0.000000] Linux version 2.6.32\n<6>a\x1b\n\n<x>b\n<0>[    9.000000] Kernel panic";
    let lines = [
        "[    0.000000] Linux version 2.6.32",
        "a\\x1b",
        "",
        "<x>b",
        "[    9.000000] Kernel panic",
    ];
    for is_64_bit in [false, true] {
        let page = plain(is_64_bit, text);
        assert_eq!(page.shown(), (strings(&lines), 0));
        let last = page.log(|mut log| {
            log.keep_last_records(2);
            read(log)
        });
        assert_eq!(last, Ok((strings(&lines[3..]), 0)));
        let last = page.log(|mut log| {
            log.look_at_last(4);
            // 27 + 1 and 4 + 1 bytes.
            log.keep_last_bytes(33);
            read(log)
        });
        assert_eq!(last, Ok((strings(&lines[3..]), 0)));
        assert_eq!(plain(is_64_bit, b"").shown(), (vec![], 0));
        // The ring has wrapped: the oldest line has lost its start.
        let long: Vec<u8> =
            (0..30).flat_map(|line| format!("<6>line {line:03}.\n").into_bytes()).collect();
        let (shown, damaged) = plain(is_64_bit, &long).shown();
        assert_eq!((shown.len(), damaged), (20, 0), "256 bytes are 19 lines of 13, and 9 of one");
        assert_eq!((shown[0].as_str(), shown[1].as_str()), ("ine 010.", "line 011."));
        assert_eq!(shown[19], "line 029.");
        let mut bad = page.clone();
        bad.number(LOG_BUF_LEN, 255);
        let error = Error::BadLog { field: "log_buf_len", value: 255 };
        assert_eq!(bad.log(|_| ()), Err(error));
    }
}

proptest! {
    /// Any bytes there: no panic, no endless loop, no flood.
    #[test]
    fn any_memory(
        kind in 0..4_usize,
        is_64_bit: bool,
        changes in prop::collection::vec((0..DATA + LENGTH, prop_oneof![0..40_u8, any::<u8>()]), 0..24),
        last in prop::option::of(0..6_u64),
    ) {
        let mut page = match KERNELS.get(kind) {
            Some(kernel) => old(*kernel, is_64_bit),
            None => plain(is_64_bit, &b"<6>[    0.000000] a line\n".repeat(12)),
        };
        for (at, byte) in changes {
            page.put(at, &[byte]);
        }
        let seen = page.log(|mut log| {
            if let Some(records) = last {
                log.look_at_last(records);
                log.keep_last_bytes(10 * records);
            }
            let mut bytes = 0;
            while let Some(record) = log.next_record() {
                bytes += record.text.len();
            }
            (bytes, log.skipped().damaged)
        });
        if let Ok((bytes, damaged)) = seen {
            prop_assert!(bytes + 16 * damaged as usize <= PAGE, "{} bytes, {}", bytes, damaged);
        }
    }
}
