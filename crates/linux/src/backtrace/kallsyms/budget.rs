//! Bounds of the time and of the bytes that names take.

/// The most bytes that a pass reads. Linux 7.2 of Debian has 2.9 MB of names.
const MOST_BYTES: u64 = 4 << 20;

/// Bounds of passes over symbol tables.
pub struct Budget<'g> {
    /// Bytes that the pass may still read.
    bytes: u64,
    /// False if the time is over.
    go_on: &'g mut dyn FnMut() -> bool,
}

impl<'g> Budget<'g> {
    /// 4 MiB for each pass. `go_on` is asked every 4 KiB or more often, and ends a pass with false.
    pub const fn new(go_on: &'g mut dyn FnMut() -> bool) -> Self {
        Self { bytes: MOST_BYTES, go_on }
    }

    /// Begins a pass.
    pub(crate) const fn begin(&mut self) {
        self.bytes = MOST_BYTES;
    }

    /// True if there is time left.
    pub fn has_time(&mut self) -> bool {
        (self.go_on)()
    }

    /// True if another `count` bytes may be read.
    pub(crate) fn allows(&mut self, count: usize) -> bool {
        let left = self.bytes.checked_sub(count as u64);
        self.bytes = left.unwrap_or(0);
        left.is_some() && self.has_time()
    }
}
