//! The parts of a view that are left out, each with its reason.

use alloc::vec::Vec;

use vmcore::PageClass;

/// Consecutive bytes of a view that are left out for one reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeftRange {
    /// Offset of the first byte in the raw view.
    pub start: u64,
    /// Offset of the first byte after them.
    pub end: u64,
    /// The reason.
    pub class: PageClass,
}

impl LeftRange {
    /// Length in bytes, not zero.
    #[expect(clippy::len_without_is_empty, reason = "a list has no empty ranges")]
    pub const fn len(&self) -> u64 {
        self.end - self.start
    }
}

/// Sorted ranges that do not overlap, each with a class. Neighbours of one class are one range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftRanges(Vec<LeftRange>);

impl LeftRanges {
    /// Most ranges that are kept: foreign bytes cannot make the list longer.
    pub const MOST: usize = 1 << 20;

    /// An empty list.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// The ranges, ascending.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = LeftRange> + '_ {
        self.0.iter().copied()
    }

    /// True if the list is empty.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Number of bytes in all ranges.
    pub fn total(&self) -> u64 {
        self.iter().map(|range| range.len()).sum()
    }

    /// Number of bytes of each class that occurs, in the order of the classes' codes.
    pub fn by_class(&self) -> impl Iterator<Item = (PageClass, u64)> {
        let mut sums = [0; PageClass::ALL.len() + 1];
        for range in self.iter() {
            sums[usize::from(range.class.code())] += range.len();
        }
        let sums = PageClass::ALL.map(|class| (class, sums[usize::from(class.code())]));
        sums.into_iter().filter(|(_, bytes)| *bytes > 0)
    }

    /// The class of the byte at `offset`; [`None`] if it is not in the list.
    pub fn class_at(&self, offset: u64) -> Option<PageClass> {
        let range = self.0.get(self.first_after(offset))?;
        (range.start <= offset).then_some(range.class)
    }

    /// Puts `start..end` into the list, in place of the parts of other ranges there. Returns false,
    /// and adds nothing, if the list would become longer than [`Self::MOST`] or memory has no room.
    #[must_use]
    pub fn insert(&mut self, start: u64, end: u64, class: PageClass) -> bool {
        if start >= end {
            return true;
        }
        // One more range, and one more where an older one is cut in two.
        if self.0.len() + 2 > Self::MOST || self.0.try_reserve(2).is_err() {
            return false;
        }
        self.remove(start, end);
        let mut new = LeftRange { start, end, class };
        let mut first = self.0.partition_point(|range| range.end < start);
        let mut last = first;
        if let Some(before) = self.0.get(first).filter(|range| range.end == start) {
            match before.class == class {
                true => new.start = before.start,
                false => first += 1,
            }
            last += 1;
        }
        if let Some(after) = self.0.get(last).filter(|range| range.start == end)
            && after.class == class
        {
            new.end = after.end;
            last += 1;
        }
        self.0.splice(first..last, [new]);
        true
    }

    /// Takes `start..end` out of the list, which becomes longer by one range at most. Without
    /// memory for that one the part after `end` is lost.
    pub fn remove(&mut self, start: u64, end: u64) {
        if start >= end {
            return;
        }
        let first = self.first_after(start);
        let last = self.0.partition_point(|range| range.start < end);
        let touched = &self.0[first..last];
        let before = touched.first().map(|range| LeftRange { end: start, ..*range });
        let after = touched.last().map(|range| LeftRange { start: end, ..*range });
        let rest = [before, after].map(|part| part.filter(|part| part.start < part.end));
        let room = last - first >= 2 || self.0.try_reserve(1).is_ok();
        let rest = rest.into_iter().flatten().take(if room { 2 } else { last - first });
        self.0.splice(first..last, rest);
    }

    /// Index of the first range that ends after `offset`.
    fn first_after(&self, offset: u64) -> usize {
        self.0.partition_point(|range| range.end <= offset)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    fn list(ranges: &LeftRanges) -> Vec<(u64, u64, PageClass)> {
        ranges.iter().map(|range| (range.start, range.end, range.class)).collect()
    }

    #[test]
    fn neighbours_of_one_class_become_one() {
        use PageClass::{Free, User};
        let mut ranges = LeftRanges::new();
        for (start, end, class) in
            [(10, 20, Free), (30, 40, Free), (20, 30, Free), (40, 50, User), (5, 5, User)]
        {
            assert!(ranges.insert(start, end, class));
        }
        assert_eq!(list(&ranges), [(10, 40, Free), (40, 50, User)]);
        assert!(ranges.insert(15, 20, User));
        let cut = [(10, 15, Free), (15, 20, User), (20, 40, Free), (40, 50, User)];
        assert_eq!(list(&ranges), cut);
        assert_eq!(ranges.by_class().collect::<Vec<_>>(), [(User, 15), (Free, 25)]);
        assert_eq!(
            (ranges.total(), ranges.class_at(40), ranges.class_at(50)),
            (40, Some(User), None)
        );
        ranges.remove(12, 45);
        assert_eq!(list(&ranges), [(10, 12, Free), (45, 50, User)]);
    }

    #[test]
    fn the_list_has_an_end() {
        let mut ranges = LeftRanges::new();
        let mut at = 0;
        while ranges.insert(at, at + 1, PageClass::User) {
            at += 2;
        }
        let count = ranges.iter().len();
        assert!((LeftRanges::MOST - 2..=LeftRanges::MOST).contains(&count), "{count}");
        assert_eq!(ranges.total(), count as u64);
    }

    proptest! {
        /// Compares with a class for each byte of a small view.
        #[test]
        fn behaves_like_a_class_for_each_byte(
            steps in prop::collection::vec((0_u8..5, 0_u64..64, 0_u64..64), 0..40),
        ) {
            let (mut ranges, mut bytes) = (LeftRanges::new(), [None; 64]);
            for (class, a, b) in steps {
                let (start, end) = (a.min(b), a.max(b));
                let class = PageClass::from_code(class);
                bytes[start as usize..end as usize].fill(class);
                match class {
                    Some(class) => prop_assert!(ranges.insert(start, end, class)),
                    None => ranges.remove(start, end),
                }
                for (at, class) in (0..).zip(bytes) {
                    prop_assert_eq!(ranges.class_at(at), class);
                }
                let all = list(&ranges);
                prop_assert!(all.iter().all(|range| range.0 < range.1));
                let apart = |pair: &[(u64, u64, PageClass)]| {
                    pair[0].1 < pair[1].0 || (pair[0].1 == pair[1].0 && pair[0].2 != pair[1].2)
                };
                prop_assert!(all.windows(2).all(apart), "{:?}", all);
                for (class, sum) in ranges.by_class() {
                    let expected = bytes.iter().filter(|byte| **byte == Some(class)).count();
                    prop_assert_eq!(sum, expected as u64);
                }
                let gone = bytes.iter().flatten().count() as u64;
                prop_assert_eq!(ranges.total(), gone);
                prop_assert_eq!(ranges.by_class().map(|(_, sum)| sum).sum::<u64>(), gone);
            }
        }
    }
}
