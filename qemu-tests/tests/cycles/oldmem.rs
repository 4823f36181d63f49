//! The oldmem view.

use crate::common::*;

#[test]
fn oldmem_is_memory_as_it_is() {
    assert_passes(&cycle(guest(), |config| {
        // The end of low memory, read where it is and not in the backup region; the hole behind it
        // is video memory and ROMs, where RAM as QEMU's file has it is not what a CPU would read.
        config.append = "kdump.view=oldmem:0x20000+0x7f000".into();
        config.oldmem = Some(0x2_0000..0x9_f000);
    }));
    assert_passes(&cycle(guest(), |config| {
        config.append = "kdump.view=oldmem:0x100000+15M".into();
        config.oldmem = Some(0x10_0000..0x100_0000);
    }));
}
