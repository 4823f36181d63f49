//! State of the byte flow on the links.

use std::time::{Duration, Instant};

/// Time in which a line moves bytes does not count, but no cycle takes longer than this.
pub(crate) const LINES: Duration = Duration::from_secs(1800);

/// Bytes that had moved, and when.
pub(crate) struct Flow {
    bytes: u64,
    at: Instant,
    /// Rest of the time that may be given.
    left: Duration,
}

impl Default for Flow {
    fn default() -> Self {
        Self { bytes: 0, at: Instant::now(), left: LINES }
    }
}

impl Flow {
    /// The time since the last call, when bytes have moved in it: there are `bytes` now.
    pub(crate) fn since_last(&mut self, bytes: u64) -> Duration {
        let now = Instant::now();
        let passed = now.saturating_duration_since(self.at).min(self.left);
        let moved = bytes > self.bytes;
        (self.bytes, self.at) = (bytes, now);
        if !moved {
            return Duration::ZERO;
        }
        self.left -= passed;
        passed
    }
}
