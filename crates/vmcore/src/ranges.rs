//! A sorted list of memory ranges with a fixed capacity.

use arrayvec::ArrayVec;

use crate::{Error, PhysAddr, PhysRange};

/// Sorted, disjoint, non-touching, non-empty ranges of physical memory, at most `N` of them.
///
/// Works before there is a heap: the capture kernel finds the memory for its heap with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryRanges<const N: usize> {
    ranges: ArrayVec<PhysRange, N>,
}

impl<const N: usize> MemoryRanges<N> {
    /// A list without a range.
    pub const fn new() -> Self {
        Self { ranges: ArrayVec::new_const() }
    }

    /// Adds memory. What overlaps or touches it becomes one range with it.
    ///
    /// # Errors
    /// [`Error::Full`] when the list has no room; it is then unchanged.
    pub fn insert(&mut self, new: PhysRange) -> Result<(), Error> {
        if new.is_empty() {
            return Ok(());
        }
        let first = self.ranges.partition_point(|range| range.end() < new.start());
        let past = self.ranges.partition_point(|range| range.start() <= new.end());
        let merged = self.ranges[first..past].iter().try_fold(new, |sum, range| {
            PhysRange::from_bounds(sum.start().min(range.start()), sum.end().max(range.end()))
        })?;
        self.replace(first, past, &[merged])
    }

    /// Takes memory away. A range that lies around it becomes two.
    ///
    /// # Errors
    /// [`Error::Full`] when the list has no room for the second half; it is then unchanged.
    pub fn exclude(&mut self, cut: PhysRange) -> Result<(), Error> {
        let first = self.ranges.partition_point(|range| range.end() <= cut.start());
        let past = self.ranges.partition_point(|range| range.start() < cut.end());
        let (Some(left), Some(right)) =
            (self.ranges.get(first), past.checked_sub(1).and_then(|last| self.ranges.get(last)))
        else {
            return Ok(());
        };
        if cut.is_empty() || first >= past {
            return Ok(());
        }
        let mut rest = ArrayVec::<PhysRange, 2>::new();
        rest.extend(PhysRange::from_bounds(left.start(), cut.start()).ok());
        rest.extend(PhysRange::from_bounds(cut.end(), right.end()).ok());
        rest.retain(|range| !range.is_empty());
        self.replace(first, past, &rest)
    }

    /// Puts `new` in the place of the ranges from `first` up to `past`.
    fn replace(&mut self, first: usize, past: usize, new: &[PhysRange]) -> Result<(), Error> {
        if self.ranges.len() - (past - first) + new.len() > N {
            return Err(Error::Full { capacity: N });
        }
        self.ranges.drain(first..past);
        for (index, range) in new.iter().enumerate() {
            self.ranges.insert(first + index, *range);
        }
        Ok(())
    }

    /// The ranges, lowest first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = PhysRange> + '_ {
        self.ranges.iter().copied()
    }

    /// Whether there is no memory in the list.
    pub const fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// How much memory it is, in bytes.
    pub fn total(&self) -> u64 {
        self.iter().map(PhysRange::length).sum()
    }

    /// Whether every byte of `wanted` is in the list.
    pub fn contains(&self, wanted: PhysRange) -> bool {
        wanted.is_empty() || self.iter().any(|range| range.contains_range(wanted))
    }

    /// The longest range, the lowest of these if there are several.
    pub fn largest(&self) -> Option<PhysRange> {
        self.iter().reduce(|best, range| if range.length() > best.length() { range } else { best })
    }

    /// The range that the byte at `at` belongs to.
    pub fn find(&self, at: PhysAddr) -> Option<PhysRange> {
        self.iter().find(|range| range.contains(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::range;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn list<const N: usize>(ranges: &[(u64, u64)]) -> MemoryRanges<N> {
        let mut list = MemoryRanges::new();
        for (start, end) in ranges {
            list.insert(range(*start, *end)).expect("room for the test's ranges");
        }
        list
    }

    fn bounds<const N: usize>(list: &MemoryRanges<N>) -> Vec<(u64, u64)> {
        list.iter().map(|range| (range.start().get(), range.end().get())).collect()
    }

    #[test]
    fn touching_and_overlapping_ranges_become_one() {
        assert_eq!(bounds(&list::<4>(&[(20, 30), (0, 10), (10, 20)])), [(0, 30)]);
        assert_eq!(bounds(&list::<4>(&[(0, 10), (20, 30), (40, 50), (5, 41)])), [(0, 50)]);
        assert_eq!(bounds(&list::<4>(&[(0, 10), (5, 5), (12, 20)])), [(0, 10), (12, 20)]);
    }

    #[test]
    fn excluding_splits_cuts_and_removes() {
        let mut list = list::<4>(&[(0, 100), (200, 300)]);
        list.exclude(range(40, 60)).expect("room for a split");
        assert_eq!(bounds(&list), [(0, 40), (60, 100), (200, 300)]);
        list.exclude(range(90, 210)).expect("nothing to add");
        assert_eq!(bounds(&list), [(0, 40), (60, 90), (210, 300)]);
        list.exclude(range(0, 40)).expect("nothing to add");
        list.exclude(range(1000, 2000)).expect("nothing to do");
        list.exclude(range(70, 70)).expect("nothing to do");
        assert_eq!(bounds(&list), [(60, 90), (210, 300)]);
    }

    #[test]
    fn a_full_list_says_so_and_stays_as_it_was() {
        let mut list = list::<2>(&[(0, 10), (20, 30)]);
        let before = list.clone();
        assert_eq!(list.insert(range(40, 50)), Err(Error::Full { capacity: 2 }));
        assert_eq!(list.exclude(range(4, 6)), Err(Error::Full { capacity: 2 }));
        assert_eq!(list, before);
        list.insert(range(10, 20)).expect("it joins two");
        assert_eq!(bounds(&list), [(0, 30)]);
    }

    #[test]
    fn questions() {
        let list = list::<4>(&[(0, 10), (20, 40), (50, 70)]);
        assert_eq!(list.total(), 50);
        assert_eq!(list.largest(), Some(range(20, 40)));
        assert!(list.contains(range(20, 40)) && !list.contains(range(9, 11)));
        assert_eq!(list.find(PhysAddr::new(55)), Some(range(50, 70)));
        assert_eq!(list.find(PhysAddr::new(10)), None);
    }

    proptest! {
        /// Against the simplest model there is: one bit for each byte of a small memory.
        #[test]
        fn behaves_like_a_bitmap(steps in prop::collection::vec((any::<bool>(), 0u64..64, 0u64..20), 0..40)) {
            let mut list = MemoryRanges::<8>::new();
            let mut model = [false; 96];
            for (insert, start, length) in steps {
                let range = range(start, start + length);
                let before = list.clone();
                let result = if insert { list.insert(range) } else { list.exclude(range) };
                let mut next = model;
                next[start as usize..(start + length) as usize].fill(insert);
                if runs(&next) > 8 {
                    prop_assert_eq!(result, Err(Error::Full { capacity: 8 }));
                    prop_assert_eq!(&list, &before);
                } else {
                    prop_assert_eq!(result, Ok(()));
                    model = next;
                }
                prop_assert_eq!(list.iter().len(), runs(&model));
                for (at, bit) in model.iter().enumerate() {
                    prop_assert_eq!(list.find(PhysAddr::new(at as u64)).is_some(), *bit);
                }
                prop_assert_eq!(list.total(), model.iter().filter(|bit| **bit).count() as u64);
                prop_assert!(list.iter().zip(list.iter().skip(1)).all(|(a, b)| a.end() < b.start()));
            }
        }
    }

    fn runs(model: &[bool]) -> usize {
        model.split(|bit| !bit).filter(|run| !run.is_empty()).count()
    }
}
