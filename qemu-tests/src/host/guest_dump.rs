//! QEMU's own dump of a guest's memory: the reference for a capture kernel's speed.

use std::fs::File;
use std::io::Seek;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use crate::host::qmp::Qmp;

/// Timeout of QEMU: this, and …
const TIMEOUT: Duration = Duration::from_secs(60);
/// … this for each GiB.
const TIMEOUT_PER_GIB: Duration = Duration::from_secs(60);
/// The beginning of an ELF file, and `e_type` of a core (ELF specification, chapter 4).
const MAGIC: &[u8] = b"\x7fELF";
const ET_CORE: u16 = 4;

/// Length of the file that `dump-guest-memory` wrote, and the time that it took.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct GuestDump {
    /// Length of the ELF core in bytes.
    pub bytes: u64,
    /// From the command to QEMU's answer, in milliseconds.
    pub ms: f64,
}

/// Has QEMU write all of a guest's `memory` (bytes) into the file `path`, from its beginning. The
/// VM stands still meanwhile. The file is passed open: one that QEMU opens by its name would lose
/// its room first.
///
/// # Errors
/// Fails if the file cannot be opened, QEMU refuses, or QEMU's file is no core of that size.
pub(crate) fn take(qmp: &mut Qmp, memory: u64, path: &Path) -> Result<GuestDump> {
    let file = File::options().read(true).write(true).open(path);
    let file = file.with_context(|| format!("opening {}", path.display()))?;
    let gib = memory.div_ceil(1 << 30) as u32;
    let start = Instant::now();
    qmp.dump_guest_memory(&file, TIMEOUT + TIMEOUT_PER_GIB * gib)?;
    let took = start.elapsed();
    let bytes = length(file, memory)?;
    Ok(GuestDump { bytes, ms: took.as_micros() as f64 / 1000.0 })
}

/// Returns the number of bytes written. QEMU and we share the position in the file.
fn length(mut file: File, memory: u64) -> Result<u64> {
    let mut head = [0; 18];
    file.read_exact_at(&mut head, 0).context("reading QEMU's dump")?;
    let kind = u16::from_le_bytes([head[16], head[17]]);
    ensure!(head.starts_with(MAGIC) && kind == ET_CORE, "QEMU's dump is no ELF core: {head:x?}");
    let bytes = file.stream_position()?;
    ensure!(bytes >= memory, "QEMU's dump has {bytes} bytes, and the guest {memory}");
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// A file with this beginning, written up to `length`.
    fn file(head: &[u8], length: usize) -> File {
        let mut file = tempfile::tempfile().unwrap();
        let mut bytes = head.to_vec();
        bytes.resize(length, 0);
        file.write_all(&bytes).unwrap();
        file.set_len(1 << 20).unwrap();
        file
    }

    #[test]
    fn only_a_core_with_all_of_memory_counts() {
        let core = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x04\0";
        assert_eq!(length(file(core, 9000), 8192).unwrap(), 9000);
        assert!(length(file(core, 8000), 8192).is_err());
        assert!(length(file(&core[..16], 9000), 8192).is_err());
        assert!(length(file(b"", 9000), 8192).is_err());
    }
}
