//! The files in which the kernel reports its reservations and the loaded kernel. They have moved:
//! new names are read first, then old ones.
//!
//! Source: Linux, `Documentation/ABI/testing/sysfs-kernel-kexec-kdump` (since 6.19) and
//! `Documentation/ABI/obsolete/sysfs-kernel-kexec-kdump` (the old names, to be removed after 2028);
//! `kernel/kexec_core.c`, `kernel/ksysfs.c`.

use std::io;
use std::thread::sleep;
use std::time::Duration;

use vmcore::{PhysAddr, PhysRange};

/// The names of one file under a folder that looks like `/`, the newest first.
pub(crate) type Names = [&'static str; 2];

/// `1` if a capture kernel is loaded, else `0`.
pub(crate) const CRASH_LOADED: Names =
    ["sys/kernel/kexec/crash_loaded", "sys/kernel/kexec_crash_loaded"];
/// Size of the reservation in bytes.
pub(crate) const CRASH_SIZE: Names = ["sys/kernel/kexec/crash_size", "sys/kernel/kexec_crash_size"];
/// Memory that `crashkernel=SIZE,cma` has reserved.
pub(crate) const CMA_RANGES: Names =
    ["sys/kernel/kexec/crash_cma_ranges", "sys/kernel/kexec_crash_cma_ranges"];
/// A file that every kernel has beside them, with kexec and without.
pub(crate) const ALWAYS_THERE: &str = "sys/kernel/fscaps";

/// Number of reads of a file that the kernel has locked, and the pause in between. A load
/// takes milliseconds.
const RETRIES: (u32, Duration) = (50, Duration::from_millis(20));

/// `0` or `1`.
pub(crate) fn flag(text: &str) -> Option<bool> {
    match text {
        "0" => Some(false),
        "1" => Some(true),
        _ => None,
    }
}

/// The ranges of CMA memory, one `START-LAST` a line in hexadecimal; lines of another form are
/// passed over. The first kernel uses this memory until it dies, so it is part of the dump and
/// never a slot.
pub(crate) fn cma_ranges(text: &str) -> Vec<PhysRange> {
    let range = |line: &str| {
        let (start, last) = line.trim().split_once('-')?;
        let [start, last] = [start, last].map(|number| u64::from_str_radix(number, 16).ok());
        PhysRange::from_bounds(PhysAddr::new(start?), PhysAddr::new(last?.checked_add(1)?)).ok()
    };
    text.lines().filter_map(range).filter(|range| !range.is_empty()).collect()
}

/// Reads a file that the kernel may have locked: the size of the reservation is hidden while
/// another program loads (EBUSY; `kernel/kexec_core.c`, `crash_get_memory_size`).
pub(crate) fn retry_while_busy<T>(mut read: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    for _ in 0..RETRIES.0 {
        match read() {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => sleep(RETRIES.1),
            other => return other,
        }
    }
    read()
}

#[cfg(test)]
mod tests {
    use super::*;
    use vmcore::fake::range;

    /// The form of the kernel's own example: `100000000-10c7fffff`.
    #[test]
    fn ranges_of_cma_memory_name_their_last_byte() {
        let text = "02000000-02ffffff\n100000000-10c7fffff\n";
        let expected = [range(0x200_0000, 0x300_0000), range(0x1_0000_0000, 0x1_0c80_0000)];
        assert_eq!(cma_ranges(text), expected);
        for odd in ["", "\n", "none", "2-1", "0-ffffffffffffffff", "-", "1000", "x-y"] {
            assert_eq!(cma_ranges(odd), [], "{odd}");
        }
    }

    #[test]
    fn a_file_that_is_locked_for_a_moment_is_read_again() {
        let busy = || Err::<u32, _>(io::Error::from_raw_os_error(libc::EBUSY));
        let mut reads = 0;
        let read = retry_while_busy(|| {
            reads += 1;
            if reads < 3 { busy() } else { Ok(reads) }
        });
        assert_eq!(read.expect("read in the end"), 3);
        let mut reads = 0;
        let read = retry_while_busy(|| {
            reads += 1;
            busy()
        });
        assert_eq!(read.expect_err("busy for ever").raw_os_error(), Some(libc::EBUSY));
        assert_eq!(reads, RETRIES.0 + 1, "there is an end");
    }
}
