//! Guests with any pages, of which some structs are damaged then.

use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::fake::{Guest, KERNELS, PAGES, TABLES_PAGE};
use Verdict::{Doubt, Excluded, Kept};
use vmcore::PageClass::{Cache, Free, User};
use vmcore::Verdict;

/// Pages that have contents: three windows.
const FILLED: u64 = 3072;
/// The most reads for a window: a struct of each page, two of the head of each, and the tables on
/// the way to those.
const MOST_READS: u64 = 1024 * 40;

#[derive(Clone, Copy, Debug)]
enum Kind {
    Kernel,
    KernelCompound,
    Slab,
    Anonymous,
    Cached,
    Huge,
    Free,
}

impl Kind {
    const fn verdict(self) -> Verdict {
        match self {
            Self::Kernel | Self::KernelCompound | Self::Slab => Kept,
            Self::Anonymous | Self::Huge => Excluded(User),
            Self::Cached => Excluded(Cache),
            Self::Free => Excluded(Free),
        }
    }
}

fn kinds() -> impl Strategy<Value = Vec<(Kind, u64)>> {
    let kind = prop::sample::select(vec![
        Kind::Kernel,
        Kind::KernelCompound,
        Kind::Slab,
        Kind::Anonymous,
        Kind::Cached,
        Kind::Huge,
        Kind::Free,
    ]);
    prop::collection::vec((kind, 0..=10_u64), 20..60)
}

/// Fills the guest. Returns for each page its kind, its head, and one past the last page of it.
fn fill(guest: &mut Guest, kinds: &[(Kind, u64)]) -> Vec<(Kind, u64, u64)> {
    let mut pages = vec![];
    let pointer = guest.pointer();
    for (kind, order) in kinds {
        let page = pages.len() as u64;
        // A block is aligned to its length.
        let most = if page == 0 { 10 } else { u64::from(page.trailing_zeros()).min(10) };
        let order = match kind {
            Kind::Kernel => 0,
            _ => *order.min(&most),
        };
        if page + (1 << order) > FILLED {
            break;
        }
        let fields: &[(&str, u64)] = match kind {
            Kind::Anonymous => &[("mapping", pointer | 1), ("_mapcount", 3)],
            Kind::Cached => &[("mapping", pointer)],
            _ => &[],
        };
        let flags = if matches!(kind, Kind::Cached) { guest.flag("lru") } else { 0 };
        match (kind, order) {
            (Kind::Free, _) => guest.free(page, order),
            (_, 0) => guest.set(page, &[("flags", flags)]),
            _ => guest.compound(page, order, flags),
        }
        match kind {
            Kind::Slab => guest.slab(page, if order > 0 { guest.head() } else { 0 }),
            Kind::Huge if order > 0 => guest.huge(page),
            _ => (),
        }
        guest.set(page, fields);
        // A huge page has more than one page.
        let kind = if matches!((kind, order), (Kind::Huge, 0)) { Kind::Kernel } else { *kind };
        let end = page + (1 << order);
        pages.extend((page..end).map(|_| (kind, page, end)));
    }
    pages
}

/// Damage to a struct.
#[derive(Clone, Debug)]
enum Damage {
    /// A byte is another one.
    Byte(u64, u64, u8),
    /// A struct is that of another page.
    Copy(u64, u64),
    /// A field has a value that it may have elsewhere.
    Field(u64, &'static str, u64),
}

fn damages() -> impl Strategy<Value = Vec<Damage>> {
    let page = || 0..FILLED;
    let field = prop::sample::select(vec!["flags", "mapping", "private", "_mapcount", "_refcount"]);
    let value = prop_oneof![
        any::<u64>(),
        0..12_u64,
        prop::sample::select(vec![-129_i64, -257, -513, -(0x10 << 24), -(0xf << 24), -1])
            .prop_map(i64::cast_unsigned),
        (0..64_u32).prop_map(|bit| 1 << bit),
    ];
    prop::collection::vec(
        prop_oneof![
            (page(), 0..64_u64, any::<u8>())
                .prop_map(|(page, at, byte)| Damage::Byte(page, at, byte)),
            (page(), page()).prop_map(|(from, to)| Damage::Copy(from, to)),
            (page(), field, value)
                .prop_map(|(page, field, value)| Damage::Field(page, field, value)),
        ],
        0..40,
    )
}

/// Damages the guest. Returns the pages whose structs are changed.
fn damage(guest: &mut Guest, damages: &[Damage]) -> Vec<u64> {
    let change = |damage: &Damage| match *damage {
        Damage::Byte(page, at, byte) => {
            let at = guest.place(page) + at.min(guest.size - 1);
            guest.memory.write(at, &[byte]);
            page
        }
        Damage::Copy(from, to) => {
            let bytes = guest.memory.bytes(guest.place(from), guest.size as usize);
            guest.memory.write(guest.place(to), &bytes);
            to
        }
        Damage::Field(page, field, value) => {
            guest.set(page, &[(field, value)]);
            page
        }
    };
    damages.iter().map(change).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Without damage each page has its class. With damage, a page whose own structs are whole is
    /// never taken for another one's: those of the kernel stay in the dump.
    #[test]
    fn no_page_of_the_kernel_is_lost(
        kernel in 0..KERNELS.len(),
        kinds in kinds(),
        damages in damages(),
    ) {
        let mut guest = Guest::new(KERNELS[kernel].1);
        let pages = fill(&mut guest, &kinds);
        let found = guest.verdicts();
        for (page, (kind, ..)) in pages.iter().enumerate() {
            prop_assert_eq!(found[page], kind.verdict(), "page {} {:?}", page, kind);
        }
        let changed = damage(&mut guest, &damages);
        guest.memory.reads.set(0);
        let found = guest.verdicts();
        prop_assert!(guest.memory.reads.get() < PAGES / 1024 * MOST_READS);
        prop_assert_eq!(&found, &guest.verdicts());
        for (page, (kind, head, end)) in pages.iter().enumerate() {
            // The structs that say what the page is.
            let own = [page as u64, *head, *head + 1];
            let count = if end - head > 1 { 3 } else { 1 };
            if own[..count].iter().any(|page| changed.contains(page)) {
                continue;
            }
            let found = found[page];
            let is_right = match kind.verdict() {
                Kept => matches!(found, Kept | Doubt),
                // The rest of a block whose head is damaged is no one's.
                Excluded(Free) => true,
                excluded => found == excluded || found == Doubt,
            };
            prop_assert!(is_right, "page {} {:?}: {:?}", page, kind, found);
        }
    }

    /// Damaged tables: no panic, and an end.
    #[test]
    fn damaged_tables_have_an_end(
        kernel in 0..KERNELS.len(),
        bytes in prop::collection::vec((0..0x10_5000_u64, any::<u8>()), 1..60),
        broken in prop::collection::vec(TABLES_PAGE..PAGES, 0..4),
    ) {
        let mut guest = Guest::new(KERNELS[kernel].1);
        for (at, byte) in bytes {
            // Tables are in few of these pages.
            let at = if at < 0x10_0000 { at & 0x3fff } else { at };
            guest.memory.write((TABLES_PAGE << 12) + at, &[byte]);
        }
        guest.memory.broken = broken;
        if guest.filter().is_ok() {
            guest.memory.reads.set(0);
            let found = guest.verdicts();
            prop_assert!(guest.memory.reads.get() < PAGES / 1024 * MOST_READS + 100_000);
            prop_assert_eq!(found, guest.verdicts());
        }
    }
}
