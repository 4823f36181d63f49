//! Ranges of memory and segments in JSON.

use serde::{Deserialize, Serialize};
use vmcore::{PhysAddr, PhysRange};

/// A range of physical memory, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct RangeJson {
    /// Its first byte.
    pub start: u64,
    /// Its length.
    pub length: u64,
}

impl From<PhysRange> for RangeJson {
    fn from(range: PhysRange) -> Self {
        Self { start: range.start().get(), length: range.length() }
    }
}

impl RangeJson {
    /// The range; [`None`] if it runs past 64 bits.
    pub(crate) fn range(self) -> Option<PhysRange> {
        PhysRange::new(PhysAddr::new(self.start), self.length).ok()
    }
}

/// A segment of a plan, without its bytes.
#[derive(Deserialize, Serialize)]
pub(crate) struct SegmentJson {
    pub(crate) name: String,
    #[serde(flatten)]
    pub(crate) place: RangeJson,
    /// Number of bytes that are given; zeros follow.
    pub(crate) bytes: usize,
}
