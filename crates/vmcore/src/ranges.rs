//! Sorted lists of ranges: of a fixed capacity without a heap, else with a bound or of any length.

use alloc::vec::Vec;
use core::fmt;

use arrayvec::ArrayVec;

use crate::{Error, PhysRange, Span};

/// Sorted, disjoint, non-touching, non-empty ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges<S> {
    ranges: S,
}

/// At most `N` ranges of physical memory. It works without a heap: the capture kernel uses it to
/// find the memory for its heap.
pub type MemoryRanges<const N: usize> = Ranges<ArrayVec<PhysRange, N>>;

/// As many ranges of physical memory as the heap has room for.
pub type RangeSet = Ranges<Bounded<PhysRange, { usize::MAX }>>;

/// Ranges on the heap, at most `MOST`: foreign bytes cannot make the list longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounded<R, const MOST: usize>(Vec<R>);

impl<R, const MOST: usize> Default for Bounded<R, MOST> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// Storage for the ranges of a list.
pub trait Storage: Default + fmt::Debug {
    /// A range of it.
    type Range: Span;

    /// All of them.
    fn as_slice(&self) -> &[Self::Range];

    /// Replaces the ranges from `first` up to `past` with `new`, two at most.
    ///
    /// # Errors
    /// [`Error::Full`] or [`Error::NoMemory`]; the list is then unchanged.
    fn replace(&mut self, first: usize, past: usize, new: &[Self::Range]) -> Result<(), Error>;
}

impl<R: Span, const N: usize> Storage for ArrayVec<R, N> {
    type Range = R;

    fn as_slice(&self) -> &[R] {
        self
    }

    fn replace(&mut self, first: usize, past: usize, new: &[R]) -> Result<(), Error> {
        if self.len() - (past - first) + new.len() > N {
            return Err(Error::Full { capacity: N });
        }
        self.drain(first..past);
        new.iter().enumerate().for_each(|(index, range)| self.insert(first + index, *range));
        Ok(())
    }
}

impl<R: Span, const MOST: usize> Storage for Bounded<R, MOST> {
    type Range = R;

    fn as_slice(&self) -> &[R] {
        &self.0
    }

    fn replace(&mut self, first: usize, past: usize, new: &[R]) -> Result<(), Error> {
        if self.0.len() - (past - first) + new.len() > MOST {
            return Err(Error::Full { capacity: MOST });
        }
        self.0.try_reserve(new.len()).map_err(|_| Error::NoMemory)?;
        self.0.splice(first..past, new.iter().copied());
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
            let joins = next.start() <= last.end();
            if joins {
                *last = Span::between(last.start(), last.end().max(next.end()));
            }
            joins
        });
        Ok(Self { ranges: Bounded(list) })
    }
}

impl<S: Storage> Ranges<S> {
    /// A list without a range.
    pub fn new() -> Self {
        Self { ranges: S::default() }
    }

    /// Adds a range. Ranges that overlap or touch it become one range with it.
    ///
    /// # Errors
    /// [`Error::Full`] or [`Error::NoMemory`] if there is no room; the list is then unchanged.
    pub fn insert(&mut self, new: S::Range) -> Result<(), Error> {
        let (start, end) = new.bounds();
        if start >= end {
            return Ok(());
        }
        let ranges = self.ranges.as_slice();
        let first = ranges.partition_point(|range| range.bounds().1 < start);
        let past = ranges.partition_point(|range| range.bounds().0 <= end);
        let merged = ranges[first..past].iter().fold((start, end), |sum, range| {
            let (start, end) = range.bounds();
            (sum.0.min(start), sum.1.max(end))
        });
        self.ranges.replace(first, past, &[Span::between(merged.0, merged.1)])
    }

    /// Takes a range away. One that lies around it becomes two.
    ///
    /// # Errors
    /// [`Error::Full`] or [`Error::NoMemory`] if there is no room for the second half; the list is
    /// then unchanged.
    pub fn exclude(&mut self, cut: S::Range) -> Result<(), Error> {
        let (start, end) = cut.bounds();
        let ranges = self.ranges.as_slice();
        let first = ranges.partition_point(|range| range.bounds().1 <= start);
        let past = ranges.partition_point(|range| range.bounds().0 < end);
        if start >= end || first >= past {
            return Ok(());
        }
        let left = S::Range::between(ranges[first].bounds().0, start);
        let right = S::Range::between(end, ranges[past - 1].bounds().1);
        let rest = [left, right].into_iter().filter(|range| range.length() > 0);
        self.ranges.replace(first, past, &rest.collect::<ArrayVec<_, 2>>())
    }

    /// Takes a range away where a part that is missing does no harm. If there is no room for both
    /// halves of a range around `cut`, the shortest range is taken away as well.
    pub fn give_up(&mut self, cut: S::Range) {
        while self.exclude(cut).is_err() {
            let shortest = self.iter().enumerate().min_by_key(|(_, range)| range.length());
            // Nothing is added, so there is room.
            let Some(Ok(())) = shortest.map(|(at, _)| self.ranges.replace(at, at + 1, &[])) else {
                return;
            };
        }
    }

    /// The ranges, lowest first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = S::Range> + '_ {
        self.ranges.as_slice().iter().copied()
    }

    /// True if the list is empty.
    pub fn is_empty(&self) -> bool {
        self.ranges.as_slice().is_empty()
    }

    /// Length of all ranges, in bytes.
    pub fn total(&self) -> u64 {
        self.iter().map(|range| range.length()).sum()
    }

    /// True if every byte of `wanted` is in the list.
    pub fn contains(&self, wanted: S::Range) -> bool {
        let (start, end) = wanted.bounds();
        start >= end || self.find(start).is_some_and(|range| end <= range.bounds().1)
    }

    /// The longest range, the lowest of these if there are several.
    pub fn largest(&self) -> Option<S::Range> {
        self.iter().reduce(|best, range| if range.length() > best.length() { range } else { best })
    }

    /// The range that the byte at `at` belongs to.
    pub fn find(&self, at: <S::Range as Span>::At) -> Option<S::Range> {
        let ranges = self.ranges.as_slice();
        let next = ranges.partition_point(|range| range.bounds().1 <= at);
        ranges.get(next).copied().filter(|range| range.bounds().0 <= at)
    }

    /// The parts of `within` that are not in the list, lowest first.
    pub fn gaps(&self, within: S::Range) -> impl Iterator<Item = S::Range> + '_ {
        let (start, end) = within.bounds();
        let ranges = self.ranges.as_slice();
        let first = ranges.partition_point(|range| range.bounds().1 <= start);
        let inside =
            ranges[first..].iter().map(Span::bounds).take_while(move |range| range.0 < end);
        let starts = core::iter::once(start).chain(inside.clone().map(|range| range.1));
        let ends = inside.map(|range| range.0).chain(core::iter::once(end));
        let gaps = starts.zip(ends).map(|(start, end)| S::Range::between(start, end));
        gaps.filter(|gap| gap.length() > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PhysAddr;
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

    fn bounds<S: Storage<Range = PhysRange>>(list: &Ranges<S>) -> Vec<(u64, u64)> {
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
        let gaps = |start, end| list.gaps(range(start, end)).collect::<Vec<_>>();
        assert_eq!(gaps(0, 100), [range(10, 20), range(40, 50), range(70, 100)]);
        assert_eq!(gaps(12, 45), [range(12, 20), range(40, 45)]);
        assert_eq!(gaps(22, 23), []);
    }

    #[test]
    fn a_list_on_the_heap_has_an_end() {
        let mut list = Ranges::<Bounded<(u64, u64), 1000>>::new();
        (0..1000).try_for_each(|n| list.insert((2 * n, 2 * n + 1))).expect("room");
        assert_eq!(list.insert((2000, 2001)), Err(Error::Full { capacity: 1000 }));
        assert_eq!(list.insert((1, 2)), Ok(()), "it closes a gap");
        assert_eq!(list.insert((2000, 2001)), Ok(()));
        list.give_up((1, 2));
        assert!(list.contains((0, 1)) && list.contains((2, 3)), "both halves");
        assert_eq!((list.contains((4, 5)), list.total()), (false, 1000), "the first short range");
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
                    prop_assert_eq!(list.contains(crate::fake::range(at as u64, at as u64 + 1)), *bit);
                    prop_assert_eq!(list.find(PhysAddr::new(at as u64)).is_some(), *bit);
                }
                prop_assert_eq!(list.total(), model.iter().filter(|bit| **bit).count() as u64);
                let missing: u64 = list.gaps(crate::fake::range(0, 96)).map(PhysRange::length).sum();
                prop_assert_eq!(missing, model.iter().filter(|bit| !**bit).count() as u64);
                prop_assert!(list.gaps(range).all(|gap| range.contains_range(gap) && !gap.is_empty()));
                prop_assert!(list.iter().zip(list.iter().skip(1)).all(|(a, b)| a.end() < b.start()));
            }
        }
    }

    fn runs(model: &[bool]) -> usize {
        model.split(|bit| !bit).filter(|run| !run.is_empty()).count()
    }
}
