//! Place of guest memory and the dump disk while a cycle runs.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use tempfile::TempDir;

/// Shared memory: files there never meet a disk.
const SHARED: &str = "/dev/shm";
/// Least free memory beyond the requested amount, in bytes: everything else on the host needs
/// memory as well.
const SPARE: u64 = 256 << 20;

/// A folder with room for `bytes` that is removed when it is dropped. It is in shared memory if
/// that has room, with half as much again if a dump will be extracted; otherwise in `out`. Guest
/// memory and a dump of the same size are written within seconds. On a disk the host would make the
/// writers wait, and the times would measure the disk.
///
/// # Errors
/// Fails if no folder can be made.
pub fn folder(bytes: u64, extracts: bool, out: &Path) -> Result<TempDir> {
    let more = if extracts { bytes / 2 } else { 0 };
    let needed = bytes.saturating_add(more.max(SPARE));
    let shared = Path::new(SHARED);
    let is_roomy = free_space(shared).min(free_memory()) >= needed;
    let place = if is_roomy { shared } else { out };
    tempfile::Builder::new()
        .prefix("kdump-cycle-")
        .tempdir_in(place)
        .with_context(|| format!("creating a folder in {}", place.display()))
}

/// Bytes that may still be written to the file system of `folder`.
fn free_space(folder: &Path) -> u64 {
    let found = rustix::fs::statvfs(folder);
    found.map_or(0, |found| found.f_bavail.saturating_mul(found.f_frsize))
}

/// Bytes of the host's memory that are available.
fn free_memory() -> u64 {
    fs::read_to_string("/proc/meminfo").ok().and_then(|text| available(&text)).unwrap_or(0)
}

fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_shared_memory_goes_to_the_out_folder() {
        let out = tempfile::tempdir().unwrap();
        let folder = folder(u64::MAX, true, out.path()).unwrap();
        assert_eq!(folder.path().parent(), Some(out.path()));
    }

    #[test]
    fn available_memory_is_read() {
        let text = "MemTotal:       24638044 kB\nMemAvailable:   23871616 kB\n";
        assert_eq!(available(text), Some(23_871_616 * 1024));
        assert_eq!(available("MemTotal: 1 kB\n"), None);
    }
}
