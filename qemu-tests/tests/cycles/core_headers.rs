//! ELF core headers that were wrong when they were loaded.

use crate::common::*;
use qemu_tests::Fault;
use vmcore::Class;

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
fn a_header_that_is_refused_does_not_stop_oldmem() {
    let fault = Fault::WrongSegment { name: "elfcorehdr", change: |header| header[0] = 0 };
    assert_oldmem(fault, "elfcorehdr refused: no ELF header at 0x");
}

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

/// As of a guest that has given pages back to its host all over: each range is a PT_LOAD of its
/// own, and gdb reads the dump.
#[test]
fn memory_in_thousands_of_pieces() {
    let (report, console) = cycle_and_console(guest(), |config| {
        config.memory = 256 * MIB;
        config.fault = Some(Fault::Holes(2500));
    });
    assert_passes(&report);
    let compared = report.checks.iter().find(|check| check.name == "vmcore_equals_memory");
    let detail = &compared.expect("the check").detail;
    assert!(detail.contains(" in 2503 PT_LOADs"), "{detail}\n{console}");
}

/// A slot without room for all headers: the capture kernel takes those that the loader leaves in.
#[test]
fn more_pieces_than_a_small_slot_has_room_for() {
    let (report, _) = cycle_and_console(guest(), |config| {
        config.memory = 256 * MIB;
        config.slot = "3M@16M".into();
        config.fault = Some(Fault::Holes(10_000));
    });
    assert_only_fails(&report, &["coverage"]);
    let coverage = report.checks.iter().find(|check| check.name == "coverage");
    let detail = &coverage.expect("the check").detail;
    assert!(detail.contains("is RAM and not in the vmcore"), "{detail}");
}
