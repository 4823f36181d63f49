//! Sorted lists of memory ranges: of a fixed capacity without a heap, else of any length.

use alloc::vec::Vec;
use core::fmt;

use arrayvec::ArrayVec;

use crate::{Error, PhysAddr, PhysRange};

/// Sorted, disjoint, non-touching, non-empty ranges of physical memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges<S> {
    ranges: S,
}

/// At most `N` ranges. It works without a heap: the capture kernel uses it to find the memory for
/// its heap.
pub type MemoryRanges<const N: usize> = Ranges<ArrayVec<PhysRange, N>>;

/// As many ranges as the heap has room for.
pub type RangeSet = Ranges<Vec<PhysRange>>;

/// Storage for the ranges of a list.
pub trait Storage: Default + fmt::Debug {
    /// All of them.
    fn as_slice(&self) -> &[PhysRange];

    /// Replaces the ranges from `first` up to `past` with `new`, two at most.
    ///
    /// # Errors
    /// [`Error::Full`] or [`Error::NoMemory`]; the list is then unchanged.
    fn replace(&mut self, first: usize, past: usize, new: &[PhysRange]) -> Result<(), Error>;
}

impl<const N: usize> Storage for ArrayVec<PhysRange, N> {
    fn as_slice(&self) -> &[PhysRange] {
        self
    }

    fn replace(&mut self, first: usize, past: usize, new: &[PhysRange]) -> Result<(), Error> {
        if self.len() - (past - first) + new.len() > N {
            return Err(Error::Full { capacity: N });
        }
        self.drain(first..past);
        new.iter().enumerate().for_each(|(index, range)| self.insert(first + index, *range));
        Ok(())
    }
}

impl Storage for Vec<PhysRange> {
    fn as_slice(&self) -> &[PhysRange] {
        self
    }

    fn replace(&mut self, first: usize, past: usize, new: &[PhysRange]) -> Result<(), Error> {
        self.try_reserve(new.len()).map_err(|_| Error::NoMemory)?;
        self.drain(first..past);
        new.iter().enumerate().for_each(|(index, range)| self.insert(first + index, *range));
        Ok(())
    }
}

impl RangeSet {
    /// All memory of `ranges`, in any order. It takes `n log n` steps; [`Ranges::insert`] may take
    /// `n` for each of them.
    ///
    /// # Errors
    /// [`Error::NoMemory`].
    pub fn union(ranges: impl IntoIterator<Item = PhysRange>) -> Result<Self, Error> {
        let mut list = Vec::new();
        for range in ranges.into_iter().filter(|range| !range.is_empty()) {
            list.try_reserve(1).map_err(|_| Error::NoMemory)?;
            list.push(range);
        }
        list.sort_unstable_by_key(|range: &PhysRange| range.start());
        list.dedup_by(|next, last| {
            let end = last.end().max(next.end());
            let joined = PhysRange::from_bounds(last.start(), end);
            let joined = joined.ok().filter(|_| next.start() <= last.end());
            *last = joined.unwrap_or(*last);
            joined.is_some()
        });
        Ok(Self { ranges: list })
    }
}

impl<const N: usize> MemoryRanges<N> {
    /// Removes memory from a list of free memory. If there is no room for both halves of a range
    /// around `cut`, the shortest range is dropped as well: memory that is not in the list is not
    /// used.
    pub fn give_up(&mut self, cut: PhysRange) {
        while self.exclude(cut).is_err() {
            let shortest = self.iter().enumerate().min_by_key(|(_, range)| range.length());
            let Some((index, _)) = shortest else { return };
            self.ranges.remove(index);
        }
    }
}

impl<S: Storage> Ranges<S> {
    /// A list without a range.
    pub fn new() -> Self {
        Self { ranges: S::default() }
    }

    /// Adds memory. What overlaps or touches it becomes one range with it.
    ///
    /// # Errors
    /// [`Error::Full`] or [`Error::NoMemory`] if there is no room; the list is then unchanged.
    pub fn insert(&mut self, new: PhysRange) -> Result<(), Error> {
        if new.is_empty() {
            return Ok(());
        }
        let ranges = self.ranges.as_slice();
        let first = ranges.partition_point(|range| range.end() < new.start());
        let past = ranges.partition_point(|range| range.start() <= new.end());
        let merged = ranges[first..past].iter().try_fold(new, |sum, range| {
            PhysRange::from_bounds(sum.start().min(range.start()), sum.end().max(range.end()))
        })?;
        self.ranges.replace(first, past, &[merged])
    }

    /// Takes memory away. A range that lies around it becomes two.
    ///
    /// # Errors
    /// [`Error::Full`] or [`Error::NoMemory`] if there is no room for the second half; the list is
    /// then unchanged.
    pub fn exclude(&mut self, cut: PhysRange) -> Result<(), Error> {
        let ranges = self.ranges.as_slice();
        let first = ranges.partition_point(|range| range.end() <= cut.start());
        let past = ranges.partition_point(|range| range.start() < cut.end());
        let (Some(left), Some(right)) =
            (ranges.get(first), past.checked_sub(1).and_then(|last| ranges.get(last)))
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
        self.ranges.replace(first, past, &rest)
    }

    /// The ranges, lowest first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = PhysRange> + '_ {
        self.ranges.as_slice().iter().copied()
    }

    /// Whether there is no memory in the list.
    pub fn is_empty(&self) -> bool {
        self.ranges.as_slice().is_empty()
    }

    /// How much memory it is, in bytes.
    pub fn total(&self) -> u64 {
        self.iter().map(PhysRange::length).sum()
    }

    /// Whether every byte of `wanted` is in the list.
    pub fn contains(&self, wanted: PhysRange) -> bool {
        let around = self.find(wanted.start());
        wanted.is_empty() || around.is_some_and(|range| range.contains_range(wanted))
    }

    /// The longest range, the lowest of these if there are several.
    pub fn largest(&self) -> Option<PhysRange> {
        self.iter().reduce(|best, range| if range.length() > best.length() { range } else { best })
    }

    /// The range that the byte at `at` belongs to.
    pub fn find(&self, at: PhysAddr) -> Option<PhysRange> {
        let ranges = self.ranges.as_slice();
        let next = ranges.partition_point(|range| range.end() <= at);
        ranges.get(next).copied().filter(|range| range.contains(at))
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

    fn bounds<S: Storage>(list: &Ranges<S>) -> Vec<(u64, u64)> {
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

    #[test]
    fn of_what_is_free_to_be_used_the_shortest_range_is_given_up() {
        let mut free = list::<2>(&[(0, 10), (20, 30)]);
        free.give_up(range(4, 6));
        assert_eq!(bounds(&free), [(20, 30)], "no room for both halves");
        free.give_up(range(24, 25));
        assert_eq!(bounds(&free), [(20, 24), (25, 30)]);
        free.give_up(range(0, 100));
        assert!(free.is_empty());
        let mut one = list::<1>(&[(0, 10)]);
        one.give_up(range(4, 6));
        assert!(one.is_empty());
    }

    /// Each insertion at the front would move all other ranges: 50,000 of these take a while.
    #[test]
    fn thousands_of_ranges_in_any_order() {
        let page = |n: u64| range(n * 0x2000, n * 0x2000 + 0x1000);
        let down = RangeSet::union((0..50_000).rev().map(page)).expect("room");
        assert!(down.iter().eq((0..50_000).map(page)));
        assert_eq!(down.find(PhysAddr::new(49_999 * 0x2000)), Some(page(49_999)));
        assert!(!down.contains(range(0x2000, 0x3001)));
    }

    proptest! {
        #[test]
        fn a_union_is_what_insertion_makes(ranges in prop::collection::vec((0u64..64, 0u64..20), 0..40)) {
            let ranges: Vec<_> = ranges.into_iter().map(|(start, length)| range(start, start + length)).collect();
            let mut list = RangeSet::new();
            ranges.iter().try_for_each(|range| list.insert(*range)).expect("room");
            prop_assert_eq!(RangeSet::union(ranges), Ok(list));
        }

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
