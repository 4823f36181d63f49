//! Ranges of memory in JSON.

use serde::{Deserialize, Serialize};
use vmcore::PhysRange;

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
