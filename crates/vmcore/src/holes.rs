//! Memory that is RAM by its address and must not be touched, for example unplugged blocks of a
//! virtio-mem device. A dump has zeros in its place, and names it.

use alloc::vec::Vec;
use core::fmt::Write;

use crate::text::Text;
use crate::{Error, LeftOut, MAX_ADDED, PhysAddr, PhysRange};

/// Room for the line that counts the unnamed ranges, in bytes.
const COUNT_LINE: usize = 80;

/// Ranges that must not be touched, each with its reason: sorted, disjoint, none of them empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holes {
    list: Vec<LeftOut<'static>>,
}

impl Holes {
    /// An empty list.
    pub const fn new() -> Self {
        Self { list: Vec::new() }
    }

    /// Adds the parts of `range` that are not in the list yet. A part that directly follows a range
    /// with the same reason is merged with it.
    ///
    /// # Errors
    /// [`Error::NoMemory`]. [`RangeError::Backwards`] cannot occur.
    pub fn add(&mut self, range: PhysRange, reason: &'static str) -> Result<(), Error> {
        let mut at = range.start();
        while at < range.end() {
            let index = self.index_after(at);
            let next = self.list.get(index).map(|hole| hole.range);
            let until = next.map_or(range.end(), |next| next.start().min(range.end()));
            if at < until {
                self.insert(index, PhysRange::from_bounds(at, until)?, reason)?;
            }
            at = next.map_or(until, |next| until.max(next.end()));
        }
        Ok(())
    }

    /// Inserts a range at its place, which is free.
    fn insert(&mut self, at: usize, range: PhysRange, reason: &'static str) -> Result<(), Error> {
        let before = at.checked_sub(1).and_then(|before| self.list.get_mut(before));
        if let Some(LeftOut { range: before, reason: same }) = before
            && before.end() == range.start()
            && *same == reason
        {
            *before = PhysRange::from_bounds(before.start(), range.end())?;
            return Ok(());
        }
        self.list.try_reserve(1).map_err(|_| Error::NoMemory)?;
        self.list.insert(at, LeftOut { range, reason });
        Ok(())
    }

    /// Index of the first range that ends after `at`.
    fn index_after(&self, at: PhysAddr) -> usize {
        self.list.partition_point(|hole| hole.range.end() <= at)
    }

    /// The ranges, lowest first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = LeftOut<'static>> + '_ {
        self.list.iter().copied()
    }

    /// True if the list is empty.
    pub const fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Amount of memory in bytes.
    pub fn total(&self) -> u64 {
        self.iter().map(|hole| hole.range.length()).sum()
    }

    /// The parts of `range` that are in the list, lowest first.
    pub fn within(&self, range: PhysRange) -> impl Iterator<Item = LeftOut<'static>> + '_ {
        let rest = self.list.get(self.index_after(range.start())..).unwrap_or_default();
        rest.iter().map_while(move |hole| {
            hole.range.intersect(range).map(|range| LeftOut { range, reason: hole.reason })
        })
    }

    /// `LEFTOUT(START-END)=REASON` for each range, for VMCOREINFO. A last line counts the ranges
    /// that do not fit.
    ///
    /// # Errors
    /// [`Error::NoMemory`].
    pub(crate) fn lines(&self) -> Result<Vec<u8>, Error> {
        let mut text = Text::new(MAX_ADDED);
        let (mut count, mut bytes) = (0_u64, 0);
        for hole in self.iter() {
            if text.bytes.len() + COUNT_LINE + hole.reason.len() > MAX_ADDED {
                (count, bytes) = (count + 1, bytes + hole.range.length());
            } else {
                writeln!(text, "{hole}").map_err(|_| Error::NoMemory)?;
            }
        }
        if count > 0 {
            let line = format_args!("LEFTOUT(more-at-crash)={count} ranges, {bytes} bytes\n");
            text.write_fmt(line).map_err(|_| Error::NoMemory)?;
        }
        Ok(text.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::range;
    use alloc::string::{String, ToString};
    use proptest::prelude::*;

    fn shown(holes: impl Iterator<Item = LeftOut<'static>>) -> Vec<String> {
        holes.map(|hole| hole.to_string()).collect()
    }

    #[test]
    fn ranges_are_sorted_and_the_first_reason_counts() {
        let mut holes = Holes::new();
        for (start, end, reason) in
            [(40, 50, "a"), (10, 20, "a"), (15, 45, "b"), (50, 60, "a"), (5, 5, "a")]
        {
            holes.add(range(start, end), reason).expect("room");
        }
        let expected = ["LEFTOUT(a-14)=a", "LEFTOUT(14-28)=b", "LEFTOUT(28-3c)=a"];
        assert_eq!(shown(holes.iter()), expected);
        assert_eq!(holes.total(), 50);
        let part = ["LEFTOUT(13-14)=a", "LEFTOUT(14-28)=b", "LEFTOUT(28-29)=a"];
        assert_eq!(shown(holes.within(range(19, 41))), part);
        assert_eq!(holes.within(range(60, 100)).count(), 0);
        assert_eq!(holes.within(range(0, 10)).count(), 0);
    }

    #[test]
    fn what_has_no_room_for_a_line_is_counted() {
        let mut holes = Holes::new();
        for page in 1..1000 {
            holes.add(range(page << 13, (page << 13) + 4096), "unplugged").expect("room");
        }
        let text = holes.lines().expect("room");
        assert!(text.len() <= MAX_ADDED);
        let named = crate::left_out(&text).count();
        assert!(named > 200, "{named}");
        let last = alloc::format!(
            "LEFTOUT(more-at-crash)={} ranges, {} bytes\n",
            999 - named,
            (999 - named) << 12
        );
        assert!(text.ends_with(last.as_bytes()), "{last}");
    }

    proptest! {
        /// Compares with a model that has one reason for each byte of a small memory.
        #[test]
        fn behaves_like_a_map(steps in prop::collection::vec((0u64..64, 0u64..20, any::<bool>()), 0..30)) {
            let (mut holes, mut model) = (Holes::new(), [None; 96]);
            for (start, length, which) in steps {
                let reason = if which { "a" } else { "b" };
                holes.add(range(start, start + length), reason).expect("room");
                for place in &mut model[start as usize..(start + length) as usize] {
                    place.get_or_insert(reason);
                }
            }
            for (at, reason) in (0_u64..).zip(&model) {
                let found: Vec<_> = holes.within(range(at, at + 1)).map(|hole| hole.reason).collect();
                prop_assert_eq!(found.first().copied(), *reason);
                prop_assert!(found.len() <= 1);
            }
            let sorted = holes.list.windows(2).all(|pair| pair[0].range.end() <= pair[1].range.start());
            prop_assert!(sorted && holes.iter().all(|hole| !hole.range.is_empty()));
        }
    }
}
