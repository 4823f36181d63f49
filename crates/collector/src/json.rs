//! Fields of the JSON that the commands print.

use std::path::PathBuf;

use dumpfile::LeftRanges;
use dumpfile::disk::PageCounts;
use serde::{Serialize, Serializer};

use crate::info::page_counts;
use crate::range_map::by_class;
use crate::stored_bulk::Range;

/// Ranges as pairs of start and length.
pub(crate) fn pairs<S: Serializer>(ranges: &[Range], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(ranges.iter().map(|(start, end)| (start, end - start)))
}

/// Start, length and class of each range.
pub(crate) fn left<S: Serializer>(left: &LeftRanges, to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(left.iter().map(|range| (range.start, range.len(), range.class.name())))
}

/// Pages by the name of their class.
pub(crate) fn counts<S: Serializer>(pages: &PageCounts, to: S) -> Result<S::Ok, S::Error> {
    page_counts(pages).serialize(to)
}

/// As [`counts`], where they are known.
pub(crate) fn totals<S: Serializer>(
    pages: &Option<[u64; dumpfile::wire::CLASSES]>,
    to: S,
) -> Result<S::Ok, S::Error> {
    match pages {
        Some(pages) => to.collect_map(by_class(pages)),
        None => to.serialize_none(),
    }
}

/// A path, with a replacement for what is no UTF-8.
pub(crate) fn path<S: Serializer>(path: &Option<PathBuf>, to: S) -> Result<S::Ok, S::Error> {
    path.as_ref().map(|path| path.display().to_string()).serialize(to)
}

/// A digest in hexadecimal digits, where it is known.
pub(crate) fn digest<S: Serializer>(digest: &Option<[u8; 32]>, to: S) -> Result<S::Ok, S::Error> {
    digest.map(|digest| hex(&digest)).serialize(to)
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
