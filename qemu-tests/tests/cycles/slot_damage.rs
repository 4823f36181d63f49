//! The slot was written to after it was loaded: purgatory must say where.

use crate::common::*;
use goblin::elf::program_header::PT_LOAD;
use handoff::purgatory::{CONSTANT_SYMBOLS, PARAMS_SYMBOL};
use qemu_tests::Fault;
use qemu_tests::host::image::Image;

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

/// The middle of each PT_LOAD, as goblin sees them.
#[test]
fn damage_in_any_part_of_the_kernel_is_named() {
    let kernel = std::fs::read(file("KDUMP_TEST_CAPTURE_KERNEL")).expect("the capture kernel");
    let elf = goblin::elf::Elf::parse(&kernel).expect("an ELF file");
    let loads = elf.program_headers.iter().filter(|part| part.p_type == PT_LOAD);
    let names = ["kernel-0", "kernel-1", "kernel-2", "kernel-3"];
    let loads: Vec<_> = loads.collect();
    assert!((1..=names.len()).contains(&loads.len()), "{loads:#?}");
    for (name, load) in names.into_iter().zip(loads).filter(|(_, load)| load.p_filesz > 0) {
        let offset = load.p_paddr % 4096 + load.p_filesz / 2;
        let said = format!("region 'kernel' {:#x}+{:#x}", load.p_paddr, load.p_filesz);
        assert_damage_is_named(name, offset as usize, &said);
    }
}

/// In a text that purgatory does not need to say so.
#[test]
fn damage_in_purgatorys_constants_is_named() {
    let purgatory = Image::open(&file("KDUMP_TEST_PURGATORY")).expect("an ELF file");
    let [start, end] = [CONSTANT_SYMBOLS.0, CONSTANT_SYMBOLS.1]
        .map(|name| purgatory.symbol(name).expect("a symbol of the linker script").start);
    let constants = purgatory.bytes_at(&(start..end)).expect("text and rodata");
    let text = b"parameter block is damaged";
    let found = constants.windows(text.len()).position(|window| window == text);
    let offset = start as usize + found.expect("what it says of a damaged block");
    assert_damage_is_named("purgatory", offset, "region 'purgatory'");
}

#[test]
fn a_damaged_parameter_block_is_not_followed() {
    let purgatory = Image::open(&file("KDUMP_TEST_PURGATORY")).expect("an ELF file");
    let params = purgatory.symbol(PARAMS_SYMBOL).expect("the block has a symbol");
    assert_damage_is_named("purgatory", params.start as usize + 48, "parameter block is damaged");
}
