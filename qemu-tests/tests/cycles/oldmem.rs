//! The oldmem view.

use crate::common::*;

#[test]
fn oldmem_is_memory_as_it_is() {
    assert_passes(&cycle(guest(), |config| {
        // The end of low memory is read at its own place and not in the backup region. The hole
        // after it is video memory and ROMs: RAM in QEMU's file differs there from a CPU's reads.
        config.append = "kdump.view=oldmem:0x20000+0x7f000".into();
        config.oldmem = Some(0x2_0000..0x9_f000);
    }));
    assert_passes(&cycle(guest(), |config| {
        config.append = "kdump.view=oldmem:0x100000+15M".into();
        config.oldmem = Some(0x10_0000..0x100_0000);
    }));
}

/// Each page of the dump is read through the window, which has room for all blocks of 64 MiB: the
/// mappings at the end are all that ever existed. The first block has a hole below 1 MiB, the last
/// one ends in firmware's tables.
#[test]
fn each_block_of_ram_and_no_other_is_read_through_a_large_page() {
    let report = cycle(guest(), |config| {
        config.memory = 64 * MIB;
        config.delivery = over("virtio-console");
    });
    assert_passes(&report);
    let mappings = report.checks.iter().find(|check| check.name == "mappings");
    let said = &mappings.expect("there is a T2").detail;
    assert!(said.contains("large pages: 0x200000-0x1000000, 0x3000000-0x3e00000;"), "{said}");
}
