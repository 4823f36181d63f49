//! Wrong command lines of the capture kernel.

use crate::common::*;
use qemu_tests::Fault;
use vmcore::Class;

/// Puts `words` in the place of all `memmap=` on the capture kernel's command line.
fn with_memmap(line: &mut [u8], words: &str) {
    replace(line, "memmap=", |_| words.to_string());
}

/// Replaces all words that begin with `key` by the result of `new` for the last of them.
fn replace(line: &mut [u8], key: &str, new: impl Fn(&str) -> String) {
    let text = std::str::from_utf8(line).expect("ASCII").trim_end_matches('\0').to_string();
    let (these, others): (Vec<_>, Vec<_>) = text.split(' ').partition(|word| word.starts_with(key));
    let new = new(these.last().expect("there is one"));
    let text = [others, vec![new.as_str()]].concat().join(" ");
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
    let fault = wrong_line(|line| with_memmap(line, "memmap=exactmap memmap=0x1000001@0x1800801"));
    assert_captured(fault, "does not cover our own image");
}

/// There is no memory, only the claim of the command line: nothing there is used.
#[test]
fn memmap_without_ram_behind_it_is_not_believed() {
    let fault = wrong_line(|line| with_memmap(line, "memmap=exactmap memmap=8M@16M memmap=64M@3G"));
    assert_captured(fault, "kdump: memmap= covers 0xc0000000..0xc4000000, no RAM in e820");
}

#[test]
fn without_elfcorehdr_the_vmcore_has_length_zero() {
    let fault = wrong_line(|line| replace(line, "elfcorehdr=", |_| String::new()));
    let said = ["no elfcorehdr= on the command line", "kdump: no dump: vmcore has length zero"];
    let disk = assert_capture_fails(fault, Class::Elf64, "views", &said);
    assert_eq!(written(&disk), HEADER_ONLY);
}

#[test]
fn an_elfcorehdr_that_ends_within_its_table_is_refused() {
    fn shorten(word: &str) -> String {
        let (_, address) = word.split_once('@').expect("the loader gives a size");
        format!("elfcorehdr=100@{address}")
    }
    let fault = wrong_line(|line| replace(line, "elfcorehdr=", shorten));
    let said = ["elfcorehdr refused: ", "lie outside the core header's block"];
    let disk = assert_capture_fails(fault, Class::Elf64, "views", &said);
    assert_eq!(written(&disk), HEADER_ONLY);
}

/// Neither `memmap=` nor an ELF core header: nothing says how far the slot reaches.
#[test]
fn with_the_e820_table_alone_oldmem_goes_out_and_nothing_outside_the_slot_is_written() {
    let fault = wrong_line(|line| {
        with_memmap(line, "");
        replace(line, "elfcorehdr=", |_| String::new());
    });
    assert_oldmem(fault, "no elfcorehdr= on the command line");
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
