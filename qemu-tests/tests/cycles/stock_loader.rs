//! Stock kexec-tools load our capture kernel, with their own purgatory, and our loader loads a
//! stock Linux, with ours.

use crate::common::*;
use qemu_tests::KexecTools;

fn assert_stock_loader_passes(memmap: bool, slot: &str) {
    let root = file("KDUMP_TEST_TOOLS_I386");
    assert_passes(&cycle(debian(), |config| {
        config.memory = 256 * MIB;
        config.cpus = 2;
        config.slot = slot.into();
        config.kexec_tools = Some(KexecTools { root, memmap });
    }));
}

#[test]
fn kexec_tools_with_the_map_on_the_command_line() {
    assert_stock_loader_passes(true, "32M@16M");
}

#[test]
fn kexec_tools_with_the_map_in_boot_params() {
    assert_stock_loader_passes(false, "32M@16M");
}

/// The stack that others use, under the same checks as ours: they are fair.
#[test]
fn kexec_tools_and_a_stock_linux() {
    let root = file("KDUMP_TEST_TOOLS_I386");
    assert_passes(&cycle(debian(), |config| {
        config.memory = 256 * MIB;
        config.kexec_tools = Some(KexecTools { root, memmap: false });
        config.stock_capture = Some(stock_capture());
    }));
}

#[test]
fn our_loader_and_a_stock_linux() {
    assert_passes(&cycle(debian(), |config| {
        config.memory = 256 * MIB;
        config.stock_capture = Some(stock_capture());
    }));
}

/// It adds "Kernel text" as a PT_LOAD of its own, which is within another.
#[test]
fn kexec_tools_under_an_x86_64_kernel() {
    let root = file("KDUMP_TEST_TOOLS_AMD64");
    assert_passes(&cycle(debian_amd64(), |config| {
        config.memory = 256 * MIB;
        config.cpus = 2;
        config.kexec_tools = Some(KexecTools { root, memmap: true });
    }));
}

/// A dump of a 64-bit kernel by a 32-bit one.
#[test]
fn our_loader_and_a_stock_i386_linux_under_an_x86_64_kernel() {
    assert_passes(&cycle(debian_amd64(), |config| {
        config.memory = 256 * MIB;
        config.stock_capture = Some(stock_capture());
    }));
}
