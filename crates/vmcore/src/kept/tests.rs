use alloc::collections::BTreeSet;
use core::cell::RefCell;

use alloc::vec;
use alloc::vec::Vec;
use proptest::prelude::*;

use super::*;
use crate::fake::range;
use crate::{Extent, Extents};

/// A view that has copies of some memory.
#[derive(Debug)]
struct Moved(Extents);

/// Copies are here and above.
const COPIES: u64 = 1 << 40;
/// Their distance from the originals, which are nowhere else in the view.
const MOVED: u64 = COPIES - (1 << 36);

impl View for Moved {
    fn len(&self) -> u64 {
        self.0.len()
    }

    fn piece(&self, at: DumpOffset, most: u64) -> Option<Piece<'_>> {
        self.0.piece(at, most)
    }

    fn in_first_kernel(&self, at: PhysAddr) -> PhysAddr {
        PhysAddr::new(if at.get() >= COPIES { at.get() - MOVED } else { at.get() })
    }
}

/// A number that depends on each bit of another.
fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^= mixed >> 29;
    mixed = mixed.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed ^ mixed >> 32
}

/// Verdicts in short runs, that depend on the address alone.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn verdict(&self, page: u64) -> Verdict {
        match mix((page / 3) ^ self.0) % 12 {
            0..3 => Verdict::Kept,
            number @ 3..11 => Verdict::Excluded(PageClass::ALL[number as usize - 2]),
            _ => Verdict::Doubt,
        }
    }
}

impl PageFilter for Random {
    fn classify(&self, window: PhysAddr, into: &mut [Verdict; WINDOW_PAGES]) {
        assert!(window.is_aligned(WINDOW));
        for (page, verdict) in (window.get() / PAGE_SIZE..).zip(into) {
            *verdict = self.verdict(page);
        }
    }
}

/// Memory of which some pages are zero and some cannot be read. It knows the pages that were read.
#[derive(Default)]
struct Pages {
    seed: u64,
    read: RefCell<BTreeSet<u64>>,
}

impl Pages {
    fn is_zero_at(&self, page: u64) -> bool {
        mix((page / 2) ^ self.seed) % 5 < 2
    }
}

impl ReadPhys for Pages {
    fn read_phys(&self, at: PhysAddr, into: &mut [u8]) -> Result<(), Error> {
        let page = at.get() / PAGE_SIZE;
        self.read.borrow_mut().insert(page);
        if mix(page ^ !self.seed).is_multiple_of(7) {
            return Err(Error::Unreadable { at });
        }
        into.fill(u8::from(!self.is_zero_at(page)));
        Ok(())
    }
}

/// The class of the byte at `at`, found byte by byte; [`None`] for one that is kept or no memory.
fn model(
    view: &Moved,
    filter: &Random,
    level: Level,
    memory: &Pages,
    at: u64,
) -> Option<PageClass> {
    let here = |at: u64| match view.piece(DumpOffset::new(at), 1)?.what {
        What::Phys(range) => Some(range.start().get()),
        _ => None,
    };
    let source = here(at)?;
    let first = view.in_first_kernel(PhysAddr::new(source)).get();
    let start = at.checked_sub(first % PAGE_SIZE)?;
    let whole =
        (0..PAGE_SIZE).step_by(15).all(|n| here(start + n) == Some(source - first % PAGE_SIZE + n));
    if !whole || extent_of(view, start) != extent_of(view, start + PAGE_SIZE - 1) {
        return None;
    }
    match filter.verdict(first / PAGE_SIZE) {
        Verdict::Excluded(class) if level.excludes(class) => return Some(class),
        _ => {}
    }
    let page = source / PAGE_SIZE;
    let is_zero = memory.is_zero_at(page) && !mix(page ^ !memory.seed).is_multiple_of(7);
    (level.excludes(PageClass::Zero) && is_zero).then_some(PageClass::Zero)
}

fn extent_of(view: &Moved, at: u64) -> usize {
    let mut end = 0;
    view.0
        .extents()
        .iter()
        .take_while(|extent| {
            end += extent.len();
            end <= at
        })
        .count()
}

/// Memory around the ends of windows, whole pages and parts of pages, copies, and other extents.
fn views() -> impl Strategy<Value = Moved> {
    let near = (0u64..6, 0u64..8).prop_map(|(window, page)| window * WINDOW + page * PAGE_SIZE);
    let part = prop_oneof![4 => Just(0u64), 1 => 1u64..PAGE_SIZE];
    let memory = (near, part.clone(), 0u64..12, part, prop_oneof![3 => Just(0), 1 => Just(COPIES)]);
    let extent = prop_oneof![
        6 => memory.prop_map(|(at, skip, pages, more, base)| {
            let start = base + at + skip;
            Extent::Phys(range(start, start + pages * PAGE_SIZE + more))
        }),
        1 => (1u64..9000).prop_map(Extent::Zero),
        1 => (1u64..9000).prop_map(|length| Extent::Left(PageClass::Offline, length)),
        1 => (1usize..9000).prop_map(|length| Extent::Bytes(vec![1; length])),
    ];
    prop::collection::vec(extent, 1..6)
        .prop_map(|extents| Moved(Extents::new(extents).expect("small")))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Any calls in any order: each byte has the source that the model finds, and no page that the
    /// level leaves out is read.
    #[test]
    fn every_piece_is_that_of_the_model(
        view in views(),
        seed in any::<u64>(),
        level in 1u8..32,
        asked in prop::collection::vec((any::<u64>(), 1u64..40_000), 0..12),
    ) {
        let level = Level::new(level).expect("a level");
        let (filter, memory) = (Random(seed), Pages { seed, ..Pages::default() });
        let (length, fresh) = (view.len(), Pages { seed, ..Pages::default() });
        let kept = KeptView::new(&view, &filter, level, Some(&memory)).expect("room");
        for (at, most) in asked.into_iter().map(|(at, most)| (at % (length + 10), most)) {
            let piece = kept.piece(DumpOffset::new(at), most);
            prop_assert_eq!(piece.is_some(), at < length);
            let Some(piece) = piece else { continue };
            prop_assert_eq!(Some(piece), kept.piece(DumpOffset::new(at), most));
            prop_assert!(piece.at.get() == at && (1..=most).contains(&piece.len));
            for at in [at, at + piece.len / 2, at + piece.len - 1] {
                let class = model(&view, &filter, level, &fresh, at);
                let raw = view.piece(DumpOffset::new(at), 1).expect("inside").what;
                match piece.what {
                    What::Left(left) if class.is_some() => prop_assert_eq!(Some(left), class),
                    What::Phys(range) => {
                        let here = range.start().get() + (at - piece.at.get());
                        prop_assert_eq!(raw, What::Phys(crate::fake::range(here, here + 1)));
                        prop_assert_eq!(class, None);
                    }
                    What::Bytes(_) => prop_assert!(matches!(raw, What::Bytes(_))),
                    other => prop_assert_eq!(other, raw),
                }
            }
        }
        for page in &*memory.read.borrow() {
            let first = view.in_first_kernel(PhysAddr::new(page * PAGE_SIZE)).get() / PAGE_SIZE;
            let verdict = filter.verdict(first);
            prop_assert!(!matches!(verdict, Verdict::Excluded(class) if level.excludes(class)));
        }
    }

    /// From the start to the end: nothing twice, nothing missing, and the pages in doubt are
    /// counted once.
    #[test]
    fn the_pieces_cover_the_view(view in views(), seed in any::<u64>(), level in 1u8..32) {
        let level = Level::new(level).expect("a level");
        let (filter, memory) = (Random(seed), Pages { seed, ..Pages::default() });
        let kept = KeptView::new(&view, &filter, level, Some(&memory)).expect("room");
        let in_doubt = |extent: &Extent| {
            let Extent::Phys(range) = extent else { return 0 };
            let start = view.in_first_kernel(range.start()).get();
            let pages = start.div_ceil(PAGE_SIZE)..(start + range.length()) / PAGE_SIZE;
            pages.filter(|page| filter.verdict(*page) == Verdict::Doubt).count() as u64
        };
        let expected: u64 = view.0.extents().iter().map(in_doubt).sum();
        for _ in 0..2 {
            let mut end = 0;
            while let Some(piece) = kept.piece(DumpOffset::new(end), u64::MAX) {
                prop_assert_eq!(piece.at.get(), end);
                end = piece.end().get();
            }
            prop_assert_eq!((end, kept.in_doubt()), (view.len(), expected));
        }
    }
}

fn at(view: &dyn View, at: u64) -> Piece<'_> {
    view.piece(DumpOffset::new(at), u64::MAX).expect("a piece")
}

/// One class everywhere.
#[derive(Debug)]
struct All(Verdict);

impl PageFilter for All {
    fn classify(&self, _: PhysAddr, into: &mut [Verdict; WINDOW_PAGES]) {
        into.fill(self.0);
    }
}

#[test]
fn a_run_is_long_and_a_call_is_not() {
    let memory = Extents::new(vec![Extent::Phys(range(0x1000, 1 << 46))]).expect("small");
    let none = None::<&Pages>;
    let free = KeptView::new(&memory, All(Verdict::Excluded(PageClass::Free)), Level::KERNEL, none);
    let free = free.expect("room");
    let piece = at(&free, 0);
    assert_eq!((piece.what, piece.len), (What::Left(PageClass::Free), (64 << 20) - 0x1000));
    // 64 TiB: the last window.
    let last = (1 << 46) - 0x1000 - 5;
    let piece = at(&free, last);
    assert_eq!((piece.what, piece.len), (What::Left(PageClass::Free), 5));
    let doubted =
        KeptView::new(&memory, All(Verdict::Doubt), Level::KERNEL, Some(Pages::default()));
    let doubted = doubted.expect("room");
    let mut pieces = Vec::new();
    let mut next = 0;
    while next < 1 << 20 {
        let piece = at(&doubted, next);
        pieces.push(piece.what);
        next = piece.end().get();
    }
    assert!(pieces.contains(&What::Left(PageClass::Zero)) && pieces.len() > 2);
}
