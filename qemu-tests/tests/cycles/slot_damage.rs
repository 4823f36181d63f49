//! The slot was written to after it was loaded: purgatory must say where.

use crate::common::*;
use handoff::purgatory::PARAMS_SYMBOL;
use qemu_tests::Fault;
use qemu_tests::image::Image;

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
