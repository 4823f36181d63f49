//! Memory models and keys of VMCOREINFO that other kernels have, or do not have.

use alloc::format;

use super::fake::{Guest, KERNELS, TABLES_PAGE};
use crate::Error;
use Verdict::{Excluded, Kept};
use vmcore::PageClass::{Cache, CachePrivate, Free, User};
use vmcore::Verdict;

/// Keys without which there is no filter.
const NEEDED: [&str; 9] = [
    "SIZE(page)",
    "OFFSET(page.flags)",
    "OFFSET(page._refcount)",
    "OFFSET(page.mapping)",
    "OFFSET(page._mapcount)",
    "OFFSET(page.private)",
    "LENGTH(zone.free_area)",
    "NUMBER(PG_lru)",
    "NUMBER(PG_head_mask)",
];

#[test]
fn a_key_that_is_missing() {
    for (name, text) in KERNELS {
        let whole = Guest::new(text);
        let without = |key: &str| {
            let mut guest = whole.clone();
            assert!(guest.text.contains(&format!("{key}=")), "{name}: {key}");
            guest.remove(key);
            guest.filter().map(|_| ())
        };
        for key in NEEDED {
            assert_eq!(without(key), Err(Error::NotFiltered { key }), "{name}");
        }
        let slab = "NUMBER(PAGE_SLAB_MAPCOUNT_VALUE)";
        let (slab, head) = if whole.text.contains("compound_info") {
            (slab, "OFFSET(page.compound_info)")
        } else if whole.has(slab) {
            (slab, "OFFSET(page.compound_head)")
        } else {
            ("NUMBER(PG_slab)", "OFFSET(page.compound_head)")
        };
        assert!(matches!(without(slab), Err(Error::NotFiltered { .. })), "{name}");
        assert!(matches!(without(head), Err(Error::NotFiltered { .. })), "{name}");
        let map = if whole.word == 8 { "SYMBOL(mem_section)" } else { "SYMBOL(mem_map)" };
        assert_eq!(without(map), Err(Error::NotFiltered { key: "SYMBOL(mem_map)" }), "{name}");
    }
}

/// A value that cannot be is no reason to read somewhere.
#[test]
fn a_value_that_cannot_be() {
    let values = [
        ("SIZE(page)", "8"),
        ("SIZE(page)", "4000"),
        ("SIZE(list_head)", "12"),
        ("OFFSET(page.flags)", "60"),
        ("OFFSET(page.compound_order)", "64"),
        ("NUMBER(PG_lru)", "64"),
        ("NUMBER(PG_private)", "-1"),
        ("NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)", "7"),
        ("NUMBER(SECTION_SIZE_BITS)", "21"),
        ("NUMBER(MAX_PHYSMEM_BITS)", "64"),
        ("LENGTH(mem_section)", "99999999999"),
        ("LENGTH(zone.free_area)", "20"),
        ("SIZE(mem_section)", "7"),
        ("SYMBOL(mem_section)", "x"),
        ("PAGESIZE", "16384"),
    ];
    let whole = Guest::new(KERNELS[1].1);
    for (key, value) in values {
        let mut guest = whole.clone();
        guest.line(key, value);
        let found = guest.filter().map(|_| ());
        assert!(matches!(found, Err(Error::BadKey { .. })), "{key}={value}: {found:?}");
    }
}

/// Pages that a kernel does not describe are kept; those of the page cache may have private data.
#[test]
fn pages_that_are_not_described() {
    let mut whole = Guest::new(KERNELS[1].1);
    whole.set(0, &[("flags", whole.flag("lru"))]);
    whole.set(1, &[("flags", whole.flag("swapcache") | whole.flag("swapbacked"))]);
    whole.free(4, 2);
    whole.compound(8, 2, 0);
    whole.huge(8);
    let verdicts = |key: &str| {
        let mut guest = whole.clone();
        guest.remove(key);
        let verdicts = guest.verdicts();
        [0, 1, 5, 9].map(|page: usize| verdicts[page])
    };
    let all = [Excluded(Cache), Excluded(Cache), Excluded(Free), Excluded(User)];
    assert_eq!(verdicts("NUMBER(PG_hwpoison)"), all);
    let private = Excluded(CachePrivate);
    assert_eq!(verdicts("NUMBER(PG_private)"), [private, private, all[2], all[3]]);
    for key in ["NUMBER(PG_swapcache)", "NUMBER(PG_swapbacked)"] {
        assert_eq!(verdicts(key), [all[0], Kept, all[2], all[3]]);
    }
    let buddy = "NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)";
    assert_eq!(verdicts(buddy), [all[0], all[1], Kept, all[3]]);
    for key in ["NUMBER(HUGETLB_PAGE_DTOR)", "OFFSET(page.compound_dtor)"] {
        assert_eq!(verdicts(key), [all[0], all[1], all[2], Kept]);
    }
}

/// Marks of huge pages as Linux 6.3 and Linux 6.6 have them.
#[test]
fn huge_pages_of_kernels_in_between() {
    let mut guest = Guest::new(KERNELS[1].1);
    guest.compound(512, 9, 0);
    guest.huge(512);
    for key in ["OFFSET(page.compound_dtor)", "OFFSET(page.compound_order)"] {
        guest.remove(key);
    }
    assert_eq!(guest.verdicts()[512..1025], [Kept; 513]);
    let mut folio = guest.clone();
    folio.line("OFFSET(folio._folio_dtor)", "80");
    folio.line("OFFSET(folio._folio_order)", "81");
    assert_eq!(folio.verdicts()[512..1024], [Excluded(User); 512]);
    guest.line("NUMBER(PG_hugetlb)", "8");
    guest.set(513, &[("flags", 1 << 8 | 9)]);
    assert_eq!(
        guest.verdicts()[511..1025],
        [[Kept].as_slice(), &[Excluded(User); 512], &[Kept]].concat()
    );
}

/// SPARSEMEM of i386: a table of sections without a table of tables, and an array for each section.
#[test]
fn sections_of_i386() {
    for kernel in [5, 6] {
        let mut guest = Guest::new(KERNELS[kernel].1);
        let (length, size) = (1024 * guest.size, 8);
        let table = (TABLES_PAGE << 12) + 0x4000;
        for (key, value) in [
            ("SYMBOL(mem_section)", format!("{:x}", 0xc000_0000 + table)),
            ("LENGTH(mem_section)", "1024".into()),
            ("SIZE(mem_section)", format!("{size}")),
            ("OFFSET(mem_section.section_mem_map)", "4".into()),
            ("NUMBER(SECTION_SIZE_BITS)", "22".into()),
            ("NUMBER(MAX_PHYSMEM_BITS)", "32".into()),
        ] {
            guest.line(key, &value);
        }
        // The pages of section 3 have the first array, those of section 4 the second.
        for (section, array) in [(3, 0), (4, 1)] {
            let map = (guest.structs + array * length - section * length) | 0b111;
            guest.memory.write(table + section * size + 4, &(map as u32).to_le_bytes());
        }
        guest.free(0, 9);
        guest.compound(1024, 1, guest.flag("lru"));
        let verdicts = guest.verdicts();
        assert_eq!(verdicts[..3072], [Kept; 3072]);
        assert_eq!(verdicts[3072..3584], [Excluded(Free); 512]);
        assert_eq!(verdicts[3584..4096], [Kept; 512]);
        assert_eq!(verdicts[4096..4099], [Excluded(Cache), Excluded(Cache), Kept]);
    }
}
