//! The first kernel's own boot header, from `/sys/kernel/boot_params/data`.
//!
//! Source: Linux, `Documentation/x86/boot.rst`.

use handoff::SetupHeader;
use handoff::setup_header::VERSION_OF_PREF_ADDRESS;

/// Length of the part of the file that is read, in bytes: the whole page.
pub(crate) const LENGTH: u64 = 4096;

/// The physical address that the kernel is linked for (`LOAD_PHYSICAL_ADDR`); `None` when the boot
/// loader did not keep its header.
pub(crate) fn pref_address(boot_params: &[u8]) -> Option<u64> {
    let header = SetupHeader::find(boot_params)?;
    let address = header.pref_address.get();
    (header.version.get() >= VERSION_OF_PREF_ADDRESS && address != 0).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From a running Debian 6.1 kernel.
    const DEBIAN: &[u8] =
        include_bytes!("../../tests/fixtures/i386-512m/sys/kernel/boot_params/data");

    #[test]
    fn debian_is_linked_for_16_mib() {
        assert_eq!(pref_address(DEBIAN), Some(0x100_0000));
    }

    #[test]
    fn other_boots_are_unknown() {
        for (at, byte) in [(0x202, b'X'), (0x206, 9), (0x258 + 3, 0)] {
            let mut params = DEBIAN.to_vec();
            params[at] = byte;
            assert_eq!(pref_address(&params), None, "{at:#x}");
        }
        assert_eq!(pref_address(&DEBIAN[..0x258 + 7]), None);
        assert_eq!(pref_address(b""), None);
    }
}
