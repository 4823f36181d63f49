//! Which parts of a view are there.

use alloc::vec::Vec;

/// Sorted ranges that neither overlap nor touch, as (start, end), end exclusive, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges(Vec<(u64, u64)>);

impl Ranges {
    /// Most ranges that are kept: what is foreign cannot make the list longer.
    pub const MOST: usize = 1 << 16;

    /// No range.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// The ranges as (start, end), ascending.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.0.iter().copied()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes in all ranges.
    pub fn total(&self) -> u64 {
        self.0.iter().map(|(start, end)| end - start).sum()
    }

    /// Whether all of `start..end` is in.
    pub fn contains(&self, start: u64, end: u64) -> bool {
        let first = self.0.partition_point(|range| range.1 <= start);
        start >= end || self.0.get(first).is_some_and(|range| range.0 <= start && end <= range.1)
    }

    /// Adds `start..end`. False, and nothing is added, when that would be one range too many.
    #[must_use]
    pub fn insert(&mut self, start: u64, end: u64) -> bool {
        if start >= end {
            return true;
        }
        let first = self.0.partition_point(|range| range.1 < start);
        let behind = self.0.partition_point(|range| range.0 <= end);
        if first == behind && self.0.len() >= Self::MOST {
            return false;
        }
        let merged = self.0[first..behind]
            .iter()
            .fold((start, end), |all, range| (all.0.min(range.0), all.1.max(range.1)));
        self.0.splice(first..behind, [merged]);
        true
    }

    /// Takes out `start..end`. Each call makes the list longer by one at most.
    pub fn remove(&mut self, start: u64, end: u64) {
        if start >= end {
            return;
        }
        let first = self.0.partition_point(|range| range.1 <= start);
        let behind = self.0.partition_point(|range| range.0 < end);
        let touched = &self.0[first..behind];
        let before = touched.first().map(|range| (range.0, start));
        let after = touched.last().map(|range| (end, range.1));
        let left: Vec<_> = before.into_iter().chain(after).filter(|(a, b)| a < b).collect();
        self.0.splice(first..behind, left);
    }

    /// What of `start..end` is not in, ascending.
    pub fn gaps(&self, start: u64, end: u64) -> impl Iterator<Item = (u64, u64)> + '_ {
        let first = self.0.partition_point(|range| range.1 <= start);
        let behind = move |range: &&(u64, u64)| range.0 < end;
        let within = self.0[first..].iter().take_while(behind);
        let starts = core::iter::once(start).chain(within.clone().map(|range| range.1));
        let ends = within.map(|range| range.0).chain(core::iter::once(end));
        starts.zip(ends).filter(|(from, to)| from < to)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use proptest::prelude::*;

    fn list(ranges: &Ranges) -> Vec<(u64, u64)> {
        ranges.iter().collect()
    }

    #[test]
    fn neighbours_become_one() {
        let mut ranges = Ranges::new();
        for (start, end) in [(10, 20), (30, 40), (20, 30), (5, 5), (50, 60), (0, 1)] {
            assert!(ranges.insert(start, end));
        }
        assert_eq!(list(&ranges), [(0, 1), (10, 40), (50, 60)]);
        ranges.remove(15, 55);
        assert_eq!(list(&ranges), [(0, 1), (10, 15), (55, 60)]);
        assert_eq!(ranges.gaps(0, 100).collect::<Vec<_>>(), [(1, 10), (15, 55), (60, 100)]);
        assert_eq!(ranges.gaps(12, 13).count(), 0);
        assert_eq!(ranges.total(), 11);
    }

    #[test]
    fn the_list_has_an_end() {
        let mut ranges = Ranges::new();
        for index in 0..Ranges::MOST as u64 {
            assert!(ranges.insert(index * 2, index * 2 + 1));
        }
        let behind = Ranges::MOST as u64 * 2;
        assert!(!ranges.insert(behind, behind + 1));
        assert!(ranges.insert(1, 2), "what closes a gap has room");
        assert!(ranges.insert(behind, behind + 1));
    }

    proptest! {
        /// Against a list of booleans.
        #[test]
        fn as_a_set_of_bytes(steps in prop::collection::vec((any::<bool>(), 0u64..64, 0u64..64), 0..40)) {
            let (mut ranges, mut bytes) = (Ranges::new(), [false; 64]);
            for (add, a, b) in steps {
                let (start, end) = (a.min(b), a.max(b));
                bytes[start as usize..end as usize].fill(add);
                if add {
                    prop_assert!(ranges.insert(start, end));
                } else {
                    ranges.remove(start, end);
                }
                for at in 0..64 {
                    prop_assert_eq!(ranges.contains(at, at + 1), bytes[at as usize]);
                }
                prop_assert!(list(&ranges).windows(2).all(|pair| pair[0].1 < pair[1].0));
                let missing: u64 = ranges.gaps(0, 64).map(|(from, to)| to - from).sum();
                prop_assert_eq!(missing, bytes.iter().filter(|there| !**there).count() as u64);
                prop_assert!(ranges.gaps(start, end).all(|(from, to)| start <= from && to <= end));
            }
        }
    }
}
