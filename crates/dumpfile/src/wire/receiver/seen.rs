//! Which counted frames came, and when to say so.

/// Acknowledge after so many counted frames.
pub(super) const ACK_EVERY: u32 = 8;
/// A bulk of so many bytes is acknowledged at once.
const LARGE: u64 = 256 << 10;

/// Which counted frames came.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    pub(super) highest: u32,
    pub(super) before: u64,
    /// Number of frames since the last acknowledgement, and the time since which one is due.
    pub(super) unsaid: u32,
    pub(super) since: u64,
}

impl Seen {
    /// Notes a counted frame; `bulk` is the length in bytes if it is one.
    pub(super) fn note(&mut self, seq: u32, bulk: u64, now: u64) {
        let weight = if bulk >= LARGE { ACK_EVERY } else { 1 };
        let first = self.unsaid == 0;
        if let Some(ahead) = seq.checked_sub(self.highest).filter(|ahead| *ahead > 0) {
            let shifted = self.before.checked_shl(ahead).unwrap_or(0);
            let last = if self.highest == 0 { 0 } else { 1u64.checked_shl(ahead - 1).unwrap_or(0) };
            self.before = shifted | last;
            self.highest = seq;
            // A loss is reported at once.
            self.unsaid += if ahead > 1 { ACK_EVERY } else { weight };
        } else {
            let age = self.highest - seq;
            let bit = age.checked_sub(1).and_then(|age| 1u64.checked_shl(age));
            self.before |= bit.unwrap_or(0);
            self.unsaid += weight;
        }
        if first {
            self.since = now;
        }
    }
}
