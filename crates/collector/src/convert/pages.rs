//! The kept pages of a range, read into the buffer of a thread.

use dumpfile::kdump_file::PageBitmap;
use vmcore::WINDOW;

use crate::memory::{Memory, PAGE};
use crate::page_codec::PageCodecs;

/// The tools of a thread.
pub(super) struct Tools {
    pub(super) codecs: PageCodecs,
    /// Room for a window.
    pub(super) buffer: Vec<u8>,
    /// Compressed pages.
    pub(super) packed: Vec<u8>,
}

impl Tools {
    pub(super) fn new() -> std::io::Result<Self> {
        let buffer = vec![0; WINDOW as usize];
        Ok(Self { codecs: PageCodecs::new()?, buffer, packed: Vec::new() })
    }
}

/// Reads the kept pages of `first..end`, one after the other. Returns the page frames; the flag is
/// false for those that cannot be read, which are zero.
pub(super) fn read_kept(
    memory: &Memory<'_>,
    kept: &PageBitmap,
    (first, end): (u64, u64),
    buffer: &mut [u8],
) -> Vec<(u64, bool)> {
    let mut pages = Vec::new();
    for (start, end, is_kept) in kept.runs(first, end) {
        if !is_kept {
            continue;
        }
        let from = pages.len() * PAGE as usize;
        let run = &mut buffer[from..from + ((end - start) * PAGE) as usize];
        let is_read = memory.read(start * PAGE, run).is_ok();
        for (page, bytes) in (start..end).zip(run.chunks_mut(PAGE as usize)) {
            let is_good = is_read || memory.read(page * PAGE, bytes).is_ok();
            if !is_good {
                bytes.fill(0);
            }
            pages.push((page, is_good));
        }
    }
    pages
}

/// True if all bytes are zero. It looks at a cache line at a time, which the compiler makes fast.
pub(super) fn is_zero(bytes: &[u8]) -> bool {
    let none = |line: &[u8]| line.iter().fold(0, |all, byte| all | byte) == 0;
    let (lines, rest) = bytes.as_chunks::<64>();
    lines.iter().all(|line| none(line)) && none(rest)
}
