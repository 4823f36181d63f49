//! Finds the PT_LOADs that are parts of others, and refuses all other overlaps.
//!
//! There may be thousands, so they are not compared pairwise. They are sorted by start. Each must
//! be contained in the last earlier one that has not ended, if there is one. That one is contained
//! in its predecessor in the same way, and so on.

use alloc::vec::Vec;
use core::cmp::Reverse;

use crate::{Error, PhysRange, Segment};

/// For each load, the index of the longest one that it is a part of, or its own if there is none.
///
/// # Errors
/// [`Error::Overlap`] if two of them overlap, in their source or in the memory they stand for,
/// unless one is a part of the other and smaller. [`Error::NoMemory`].
pub(crate) fn wholes(loads: &[Segment]) -> Result<Vec<u32>, Error> {
    let mut order = Vec::new();
    order.try_reserve_exact(loads.len()).map_err(|_| Error::NoMemory)?;
    order.extend(0..loads.len() as u32);
    let mut wholes = Vec::new();
    wholes.try_reserve_exact(loads.len()).map_err(|_| Error::NoMemory)?;
    wholes.extend_from_slice(&order);
    let mut open = Vec::new();
    walk(loads, &mut order, &mut open, By::Memory, &mut |_, _| ())?;
    walk(loads, &mut order, &mut open, By::Source, &mut |load, whole| {
        if let Some(entry) = wholes.get_mut(load as usize) {
            *entry = whole;
        }
    })?;
    Ok(wholes)
}

/// Ranges to compare.
#[derive(Clone, Copy)]
enum By {
    /// Place of the bytes.
    Source,
    /// Memory that the bytes stand for.
    Memory,
}

impl By {
    fn range(self, load: &Segment) -> Result<PhysRange, Error> {
        match self {
            Self::Source => load.source_range(),
            Self::Memory => load.memory_range(),
        }
    }
}

/// Walks the loads from the lowest on. `outermost` gets the index of each load that is not empty,
/// and the index of the outermost load that contains it.
fn walk(
    loads: &[Segment],
    order: &mut [u32],
    open: &mut Vec<u32>,
    by: By,
    outermost: &mut dyn FnMut(u32, u32),
) -> Result<(), Error> {
    // Of loads with the same start, the longest comes first. Of those that also have the same end,
    // the one with the most memory comes first: it may contain the others.
    order.sort_unstable_by_key(|index| {
        let load = &loads[*index as usize];
        let (start, first, second) = match by {
            By::Source => (load.source, load.filesz, load.memsz),
            By::Memory => (load.paddr, load.memsz, load.filesz),
        };
        (start, Reverse((first, second)), *index)
    });
    open.clear();
    for index in &*order {
        let load = &loads[*index as usize];
        let range = by.range(load)?;
        if range.is_empty() {
            continue;
        }
        while let Some(last) = open.last().map(|last| &loads[*last as usize]) {
            let around = by.range(last)?;
            if around.end() <= range.start() {
                open.pop();
                continue;
            }
            if !is_part(load, last)? {
                return Err(overlap(loads, [open[open.len() - 1], *index], by)?);
            }
            break;
        }
        open.try_reserve(1).map_err(|_| Error::NoMemory)?;
        open.push(*index);
        outermost(*index, open[0]);
    }
    Ok(())
}

/// The error, with the two ranges in the order of the table.
fn overlap(loads: &[Segment], mut pair: [u32; 2], by: By) -> Result<Error, Error> {
    pair.sort_unstable();
    let [first, second] = pair.map(|index| by.range(&loads[index as usize]));
    Ok(Error::Overlap { first: first?, second: second? })
}

/// True if `part` is smaller than `whole`, and each of its bytes is the same byte of `whole`, for
/// the same memory.
fn is_part(part: &Segment, whole: &Segment) -> Result<bool, Error> {
    let distance = |load: &Segment| load.source.get().wrapping_sub(load.paddr.get());
    let (inner, outer) = (part.source_range()?, whole.source_range()?);
    let (inner_memory, outer_memory) = (part.memory_range()?, whole.memory_range()?);
    Ok(distance(part) == distance(whole)
        && outer.contains_range(inner)
        && outer_memory.contains_range(inner_memory)
        && (inner, inner_memory) != (outer, outer_memory))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PhysAddr, SegmentKind};
    use proptest::prelude::*;

    fn load(source: u64, paddr: u64, filesz: u64, memsz: u64) -> Segment {
        Segment {
            kind: SegmentKind::Load,
            source: PhysAddr::new(source),
            vaddr: 0,
            paddr: PhysAddr::new(paddr),
            filesz,
            memsz,
            flags: 7,
        }
    }

    /// The rule as written: every pair is compared.
    fn is_sound(loads: &[Segment]) -> bool {
        let part = |part, whole| is_part(part, whole).expect("no wrap");
        let apart = |a: &Segment, b: &Segment| {
            !a.source_range().expect("no wrap").overlaps(b.source_range().expect("no wrap"))
                && !a.memory_range().expect("no wrap").overlaps(b.memory_range().expect("no wrap"))
        };
        loads.iter().enumerate().all(|(index, a)| {
            loads[..index].iter().all(|b| part(a, b) || part(b, a) || apart(a, b))
        })
    }

    /// 20,000 loads of one page each, and the image of a kernel in one of them. 10^8 comparisons
    /// would be noticed in the run time.
    #[test]
    fn thousands_of_loads() {
        let page = |n: u64| load(0x2000 * n, 0x2000 * n, 0x1000, 0x1000);
        let mut loads: Vec<_> = (0..20_000).rev().map(page).collect();
        loads.push(load(0x2000 * 7 + 0x100, 0x2000 * 7 + 0x100, 0x100, 0x100));
        let wholes = wholes(&loads).expect("they do not overlap");
        assert_eq!(wholes[20_000], 20_000 - 1 - 7);
        assert!(wholes[..20_000].iter().enumerate().all(|(index, whole)| index == *whole as usize));
        loads[5].filesz += 0x1001;
        loads[5].memsz += 0x1001;
        assert!(matches!(super::wholes(&loads), Err(Error::Overlap { .. })));
    }

    /// A small range of addresses, so loads often touch, overlap and nest. Most have their bytes at
    /// their own address.
    fn any_load() -> impl Strategy<Value = Segment> {
        let moved = prop_oneof![4 => Just(0u64), 1 => 0u64..24];
        (0u64..24, moved, 0u64..12, prop_oneof![2 => Just(0u64), 1 => 0u64..6]).prop_map(
            |(paddr, moved, filesz, more)| load(paddr + moved, paddr, filesz, filesz + more),
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn refused_is_what_overlaps_and_is_no_part(loads in prop::collection::vec(any_load(), 0..6)) {
            let found = wholes(&loads);
            prop_assert_eq!(found.is_ok(), is_sound(&loads), "{:?}", found);
            for (index, whole) in found.into_iter().flatten().enumerate() {
                let (part, whole) = (&loads[index], &loads[whole as usize]);
                prop_assert!(core::ptr::eq(part, whole) || is_part(part, whole).expect("no wrap"));
                // No other load is longer.
                let mut others = loads.iter().filter(|other| is_part(whole, other).expect("no wrap"));
                prop_assert!(others.next().is_none() || part.filesz == 0);
            }
        }
    }
}
