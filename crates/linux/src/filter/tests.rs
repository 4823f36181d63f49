use super::fake::{Guest, KERNELS, PAGES};
use Verdict::{Doubt, Excluded, Kept};
use vmcore::PageClass::{Cache, CachePrivate, Free, HwPoison, Offline, User};
use vmcore::Verdict;

/// Classes of pages as Linux makes them. Each page or compound page is in a place of its own; all
/// other pages belong to the kernel.
#[test]
fn each_class_of_each_kernel() {
    for (name, text) in KERNELS {
        let mut guest = Guest::new(text);
        let [lru, private] = ["lru", "private"].map(|name| guest.flag(name));
        let swap = guest.flag("swapcache");
        let backed = guest.flag("swapbacked");
        let (pointer, anonymous) = (guest.pointer(), guest.pointer() | 1);
        let mut expected = [Kept; PAGES as usize];
        let mut page = 0;
        // Field by field: the page, and the verdict on it.
        let single = [
            (Excluded(Cache), &[("flags", lru), ("mapping", pointer)][..]),
            (Excluded(CachePrivate), &[("flags", lru | private), ("mapping", pointer)]),
            (Excluded(Cache), &[("flags", lru)]),
            (Excluded(Cache), &[("flags", swap | backed)]),
            (Kept, &[("flags", swap), ("mapping", pointer)]),
            (Kept, &[("flags", backed), ("mapping", pointer)]),
            (Excluded(User), &[("mapping", anonymous), ("_mapcount", 2)]),
            (Excluded(User), &[("flags", lru | backed), ("mapping", anonymous)]),
            (Excluded(User), &[("mapping", anonymous | 2)]),
            (Excluded(HwPoison), &[("flags", guest.flag("hwpoison"))]),
            (Kept, &[("mapping", pointer)]),
            (Kept, &[("flags", private)]),
            (Kept, &[("_refcount", 0)]),
            (Kept, &[("flags", u64::MAX), ("_mapcount", u64::MAX), ("mapping", u64::MAX)]),
            (Doubt, &[("mapping", 1)]),
            (Doubt, &[("mapping", anonymous), ("_mapcount", u64::MAX - 1)]),
            (Doubt, &[("flags", lru), ("mapping", 0x1234)]),
        ];
        for (verdict, fields) in single {
            guest.set(page, fields);
            expected[page as usize] = verdict;
            page += 1;
        }
        for (name, verdict) in [("OFFLINE", Excluded(Offline)), ("SLAB", Kept)] {
            if let Some(value) = guest.page_type(name) {
                guest.set(page, &[("_mapcount", value), ("mapping", anonymous)]);
                expected[page as usize] = verdict;
                page += 1;
            }
        }
        // A type that is not in VMCOREINFO: a page table.
        let table = if guest.has("NUMBER(PG_slab)") { -513_i64 } else { -(0xe << 24) };
        guest.set(page, &[("_mapcount", table.cast_unsigned()), ("mapping", anonymous)]);
        page += 1;
        guest.slab(page, 0);
        guest.set(page, &[("mapping", anonymous)]);
        let mut range = |first: usize, order: u64, verdict: Verdict| {
            expected[first..first + (1 << order)].fill(verdict);
        };
        for (first, order) in [(64, 0), (65, 0), (66, 1), (128, 6), (1024, 10)] {
            guest.free(first as u64, order);
            range(first, order, Excluded(Free));
        }
        guest.compound(256, 3, 0);
        guest.compound(264, 2, lru);
        guest.set(264, &[("mapping", anonymous)]);
        range(264, 2, Excluded(User));
        guest.compound(268, 1, 0);
        guest.slab(268, guest.head());
        guest.compound(512, 9, 0);
        guest.huge(512);
        range(512, 9, Excluded(User));
        guest.set(519, &[("flags", guest.flag("hwpoison"))]);
        // Over two windows.
        guest.compound(2048, 11, lru);
        guest.set(2048, &[("mapping", pointer)]);
        range(2048, 11, Excluded(Cache));
        expected[519] = Excluded(HwPoison);
        let found = guest.verdicts();
        for (page, (found, expected)) in found.iter().zip(expected).enumerate() {
            assert_eq!(*found, expected, "{name}: page {page}");
        }
    }
}
