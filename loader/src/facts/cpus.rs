//! Note areas: one for each CPU (`crash_notes`), one for VMCOREINFO.

use vmcore::{PhysAddr, PhysRange};

/// Linux' `NR_CPUS` is at most this on x86.
const MAX_CPUS: u32 = 8192;

/// The numbers in a list such as `0-3,5`.
pub(crate) fn parse_list(text: &str) -> Option<Vec<u32>> {
    let mut cpus = Vec::new();
    for item in text.split(',') {
        let (first, last) = item.split_once('-').unwrap_or((item, item));
        let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if last >= MAX_CPUS || first > last {
            return None;
        }
        cpus.extend(first..=last);
    }
    cpus.sort_unstable();
    cpus.dedup();
    Some(cpus)
}

/// The physical address in `crash_notes`: hexadecimal without 0x.
pub(crate) fn hex_address(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16).ok()
}

/// `/sys/kernel/vmcoreinfo`: the address with 0x, the size hexadecimal without.
pub(crate) fn vmcoreinfo_area(text: &str) -> Option<PhysRange> {
    let mut words = text.split_whitespace().map(hex_address);
    note_area(words.next()??, words.next()??)
}

/// The area, unless it is empty, at zero or no range at all.
pub(crate) fn note_area(start: u64, length: u64) -> Option<PhysRange> {
    (start != 0 && length != 0).then_some(())?;
    PhysRange::new(PhysAddr::new(start), length).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus() {
        assert_eq!(parse_list("0"), Some(vec![0]));
        assert_eq!(parse_list("0-3,5"), Some(vec![0, 1, 2, 3, 5]));
        assert_eq!(parse_list("0-2,1-3"), Some(vec![0, 1, 2, 3]));
        for nonsense in ["", "a", "3-1", "0-4294967295", "0-8192", "-1"] {
            assert_eq!(parse_list(nonsense), None, "{nonsense}");
        }
    }

    /// The samples are from a running Debian 6.1 kernel; 1024 is hexadecimal there.
    #[test]
    fn areas_as_linux_writes_them() {
        assert_eq!(hex_address("35acae00"), Some(0x35ac_ae00));
        let area = vmcoreinfo_area("0x0000000001182000 1024").expect("an area");
        assert_eq!((area.start().get(), area.length()), (0x118_2000, 0x1024));
        assert_eq!(vmcoreinfo_area("0x0 0"), None);
        assert_eq!(vmcoreinfo_area("0x1182000"), None);
        assert_eq!(note_area(u64::MAX, 2), None);
    }
}
