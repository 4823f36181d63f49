//! Command lines of the capture kernel that lie.

use crate::common::*;
use qemu_tests::Fault;
use vmcore::Class;

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
