//! What the first kernel's own boot header says, from `/sys/kernel/boot_params/data`.
//!
//! Source: Linux, `Documentation/x86/boot.rst`.

use handoff::boot_params::HEADER_MAGIC;
use handoff::setup_header::{HEADER, PREF_ADDRESS, VERSION, VERSION_OF_PREF_ADDRESS};

/// How much of the file is read, in bytes: the whole page.
pub(crate) const LENGTH: u64 = 4096;
/// The physical address that the kernel is linked for (`LOAD_PHYSICAL_ADDR`); `None` when the boot
/// loader did not keep its header.
pub(crate) fn pref_address(boot_params: &[u8]) -> Option<u64> {
    let field = |at: usize| boot_params.get(at..);
    let version = u16::from_le_bytes(*field(VERSION)?.first_chunk()?);
    let is_header = field(HEADER)?.starts_with(&HEADER_MAGIC) && version >= VERSION_OF_PREF_ADDRESS;
    let address = u64::from_le_bytes(*field(PREF_ADDRESS)?.first_chunk()?);
    (is_header && address != 0).then_some(address)
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
        for (at, byte) in [(HEADER, b'X'), (VERSION, 9), (PREF_ADDRESS + 3, 0)] {
            let mut params = DEBIAN.to_vec();
            params[at] = byte;
            assert_eq!(pref_address(&params), None, "{at:#x}");
        }
        assert_eq!(pref_address(&DEBIAN[..PREF_ADDRESS + 7]), None);
        assert_eq!(pref_address(b""), None);
    }
}
