//! Sets of half-open ranges of physical addresses, in bytes.
//!
//! The harness has its own, written differently from `crates/vmcore`: the judge does not share the
//! product's arithmetic.

use std::fmt::Write as _;
use std::ops::Range;

/// Sorted, without empty ranges, touching and overlapping ones joined.
pub fn union(ranges: impl IntoIterator<Item = Range<u64>>) -> Vec<Range<u64>> {
    let mut sorted: Vec<_> = ranges.into_iter().filter(|range| !range.is_empty()).collect();
    sorted.sort_by_key(|range| range.start);
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in sorted {
        match joined.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    joined
}

/// Returns the parts of `from` that are in none of `holes`.
pub fn subtract(from: &[Range<u64>], holes: &[Range<u64>]) -> Vec<Range<u64>> {
    let holes = union(holes.iter().cloned());
    let mut left = Vec::new();
    for range in union(from.iter().cloned()) {
        let mut start = range.start;
        for hole in holes.iter().filter(|hole| hole.start < range.end && hole.end > range.start) {
            left.push(start..hole.start.max(start));
            start = start.max(hole.end);
        }
        left.push(start..range.end.max(start));
    }
    union(left)
}

/// The first two ranges that share a byte, if any do.
pub fn overlap(ranges: &[Range<u64>]) -> Option<(Range<u64>, Range<u64>)> {
    let mut sorted = ranges.to_vec();
    sorted.sort_by_key(|range| range.start);
    let mut pairs = sorted.windows(2);
    pairs.find(|pair| pair[1].start < pair[0].end).map(|pair| (pair[0].clone(), pair[1].clone()))
}

/// Bytes in all of `ranges`.
pub fn total(ranges: &[Range<u64>]) -> u64 {
    ranges.iter().map(|range| range.end - range.start).sum()
}

/// `0x1000-0x9fc00, …`: at most four of them, for a person.
pub fn show(ranges: &[Range<u64>]) -> String {
    let mut text = String::new();
    for range in ranges.iter().take(4) {
        let comma = if text.is_empty() { "" } else { ", " };
        let _ = write!(text, "{comma}{:#x}-{:#x}", range.start, range.end);
    }
    if ranges.len() > 4 {
        let _ = write!(text, " and {} more", ranges.len() - 4);
    }
    text
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "sets of one range are meant")]
mod tests {
    use super::*;

    #[test]
    fn union_sorts_and_joins() {
        assert_eq!(union([8..9, 0..2, 2..4, 3..5, 7..7]), [0..5, 8..9]);
    }

    #[test]
    fn subtract_cuts_at_both_ends_and_inside() {
        assert_eq!(subtract(&[10..20], &[12..14]), [10..12, 14..20]);
        assert_eq!(subtract(&[10..20], &[0..11, 19..30]), [11..19]);
        assert_eq!(subtract(&[10..20, 30..40], &[15..35]), [10..15, 35..40]);
        assert_eq!(subtract(&[10..20], &[5..25]), []);
        assert_eq!(subtract(&[10..20], &[]), [10..20]);
    }

    #[test]
    fn overlap_is_found_whatever_the_order() {
        assert_eq!(overlap(&[8..10, 0..4, 3..5]), Some((0..4, 3..5)));
        assert_eq!(overlap(&[4..8, 0..4]), None);
    }
}
