//! Parts of a dump that the other end of a line has left out, from the map beside the file.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::Serialize;

use crate::range_map;

/// The parts that are left out of a received dump, and the reasons.
#[derive(Debug, Serialize)]
pub struct LeftByClass {
    /// Bytes and ranges by the name of their class. They are zero in the file.
    pub left: BTreeMap<&'static str, Left>,
    /// Pages by the name of their class, `kept` for those in the dump, as the sender has selected
    /// them.
    pub pages: Option<BTreeMap<&'static str, u64>>,
    /// The dump level that the sender has selected by.
    pub level: u8,
}

/// The parts that are left out for one reason.
#[derive(Debug, Default, Serialize)]
pub struct Left {
    /// Number of bytes.
    pub bytes: u64,
    /// Number of ranges.
    pub ranges: u64,
}

impl LeftByClass {
    /// Of the received dump at `path`, which has `length` bytes. Of other files, nothing is known.
    pub(crate) fn of(path: &Path, length: u64) -> Option<Self> {
        let view = range_map::beside(path, length).filter(|view| !view.left.is_empty())?;
        let mut left = BTreeMap::<_, Left>::new();
        for range in view.left.iter() {
            let sum = left.entry(range.class.name()).or_default();
            (sum.bytes, sum.ranges) = (sum.bytes + range.len(), sum.ranges + 1);
        }
        let pages = view.totals.map(|totals| range_map::by_class(&totals).collect());
        Some(Self { left, pages, level: view.level })
    }
}

impl fmt::Display for LeftByClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.level > 0 {
            writeln!(f, "dump level   {}", self.level)?;
        }
        for (class, Left { bytes, ranges }) in &self.left {
            writeln!(f, "left out     {class}: {bytes} bytes in {ranges} ranges")?;
        }
        let pages = self.pages.iter().flatten();
        let pages: Vec<_> = pages.map(|(class, pages)| format!("{pages} {class}")).collect();
        if pages.is_empty() { Ok(()) } else { writeln!(f, "pages        {}", pages.join(", ")) }
    }
}
