//! Structs that are damaged: the pages are kept.

use alloc::vec::Vec;
use core::ops::Range;

use super::fake::{Guest, KERNELS, PAGES};
use Verdict::{Doubt, Excluded, Kept};
use vmcore::PageClass::{Cache, Free, HwPoison, User};
use vmcore::Verdict;

/// Page 64 to 67 are a compound page of a user, 128 to 131 a free block.
fn guest(text: &str) -> Guest {
    let mut guest = Guest::new(text);
    guest.compound(64, 2, 0);
    guest.set(64, &[("mapping", guest.pointer() | 1)]);
    guest.free(128, 2);
    guest
}

fn tail(guest: &mut Guest, page: u64, head: u64) {
    let is_mask = guest.text.contains("compound_info");
    let field = if is_mask { "compound_info" } else { "compound_head" };
    guest.set(page, &[(field, head | 1)]);
}

/// A change to a guest, and the pages that are in doubt then.
type Damage = (fn(&mut Guest), Range<usize>);

const DAMAGES: [Damage; 18] = [
    // The head of a tail is a tail, is none, comes later, is nowhere, or begins inside of a struct.
    (|guest| tail(guest, 66, guest.address(65)), 66..67),
    (|guest| tail(guest, 66, guest.address(62)), 66..67),
    (|guest| tail(guest, 66, guest.address(68)), 66..67),
    (|guest| tail(guest, 66, 0x1000), 66..67),
    (|guest| tail(guest, 66, guest.address(64) + 8), 66..67),
    // A tail outside of its compound page.
    (|guest| tail(guest, 68, guest.address(64)), 68..69),
    // A head without a tail after it.
    (|guest| tail(guest, 65, guest.address(60)), 64..68),
    // A head without its flag: the page itself may be a user's, then.
    (|guest| guest.set(64, &[("flags", 0)]), 65..68),
    (|guest| guest.order(64, 0), 64..68),
    (|guest| guest.order(64, 7), 64..68),
    (|guest| guest.order(64, 200), 64..68),
    // An order that cannot be, also for the place of the block, and a block that is in use.
    (|guest| guest.set(128, &[("private", 11)]), 128..129),
    (|guest| guest.set(128, &[("private", u64::MAX)]), 128..129),
    (|guest| guest.free(133, 1), 133..134),
    (|guest| guest.set(128, &[("_refcount", 1)]), 128..129),
    // A page in a free block that is in use, has a type, or is a tail.
    (|guest| guest.set(130, &[("_refcount", 1)]), 128..132),
    (|guest| guest.set(130, &[("_mapcount", (-513_i64).cast_unsigned())]), 128..132),
    (|guest| tail(guest, 130, guest.address(128)), 128..132),
];

#[test]
fn damage_leaves_pages_in_doubt() {
    for (name, text) in KERNELS {
        let whole = guest(text);
        for (number, (damage, doubt)) in DAMAGES.into_iter().enumerate() {
            let mut guest = whole.clone();
            damage(&mut guest);
            for (page, verdict) in guest.verdicts().into_iter().enumerate() {
                let wrong = doubt.contains(&page) != (verdict == Doubt);
                assert!(!wrong, "{name}: damage {number}: page {page}: {verdict:?}");
            }
        }
    }
}

/// A head that is in no PT_LOAD.
#[test]
fn a_head_outside_of_memory() {
    for (name, text) in KERNELS {
        let mut guest = guest(text);
        guest.compound(2048, 11, guest.flag("lru"));
        guest.hole = Some(2048);
        let verdicts = guest.verdicts();
        assert!(verdicts[2048..4096].iter().all(|found| *found == Doubt), "{name}");
        assert_eq!([verdicts[2047], verdicts[4096]], [Kept, Kept]);
    }
}

/// Page structs that cannot be read leave their pages in doubt; pages without a struct are kept.
#[test]
fn structs_that_are_not_there() {
    let mut guest = guest(KERNELS[1].1);
    // The second page of structs, of the pages 64 to 127.
    guest.remap(1, None);
    let verdicts = guest.verdicts();
    assert!(verdicts[..128].iter().all(|verdict| *verdict == Kept));
    assert_eq!(verdicts[128..133], [[Excluded(Free); 4].as_slice(), &[Kept]].concat());
    let mut guest = self::guest(KERNELS[1].1);
    guest.memory.broken.push(Guest::structs_page() + 1);
    let verdicts = guest.verdicts();
    for (page, verdict) in verdicts.iter().enumerate().take(256) {
        assert_eq!(*verdict == Doubt, (64..128).contains(&page), "page {page}");
    }
    // A free block of which some structs cannot be read.
    let mut guest = Guest::new(KERNELS[1].1);
    guest.free(0, 10);
    guest.remap(3, None);
    assert_eq!(guest.verdicts()[..1024].iter().filter(|verdict| **verdict == Kept).count(), 64);
    assert_eq!(guest.verdicts()[0], Doubt);
}

#[test]
fn sections_that_are_not_there() {
    let verdicts = |kernel: usize, damage: fn(&mut Guest)| {
        let mut guest = guest(KERNELS[kernel].1);
        damage(&mut guest);
        let verdicts = guest.verdicts();
        assert!(verdicts.iter().all(|verdict| *verdict == verdicts[0]), "{:?}", verdicts[0]);
        verdicts[0]
    };
    // No page structs, or not online.
    assert_eq!(verdicts(1, |guest| guest.section(guest.structs | 0b1101)), Kept);
    assert_eq!(verdicts(1, |guest| guest.section(guest.structs | 0b1011)), Kept);
    // Another place than that of all page structs, which 6.12 tells.
    assert_eq!(verdicts(2, |guest| guest.section((guest.structs + 0x1000) | 0b1111)), Doubt);
    // The table of sections cannot be read.
    let table = |guest: &mut Guest| guest.memory.broken.push((PAGES - 1024) + 1);
    assert_eq!(verdicts(1, table), Doubt);
}

/// The structs of a huge page but the first ones are mapped repeatedly: those of Linux 6.1 look
/// like a head then, those of 7.2 are tails.
#[test]
fn huge_pages_whose_structs_are_mapped_repeatedly() {
    for (kernel, other) in [(0, 0), (1, 0), (2, 0), (3, 1)] {
        let mut guest = Guest::new(KERNELS[kernel].1);
        guest.compound(512, 9, 0);
        guest.huge(512);
        for number in 9..16 {
            guest.remap(number, Some(8 + other));
        }
        let verdicts = guest.verdicts();
        assert!(verdicts[512..1024].iter().all(|found| *found == Excluded(User)), "{kernel}");
        assert_eq!([verdicts[511], verdicts[1024]], [Kept, Kept]);
        // All of it is broken if its head is.
        let flags = guest.head() | guest.flag("hwpoison");
        guest.set(512, &[("flags", flags)]);
        let verdicts: Vec<_> = guest.verdicts().into_iter().skip(512).take(512).collect();
        assert!(verdicts.iter().all(|found| *found == Excluded(HwPoison)), "{kernel}");
    }
}

/// Blocks above the order of a window: no kernel of x86 has them, others can.
#[test]
fn a_free_block_over_windows() {
    let mut guest = Guest::new(KERNELS[1].1);
    guest.line("LENGTH(zone.free_area)", "13");
    guest.free(0, 12);
    guest.compound(4096, 2, guest.flag("lru"));
    let verdicts = guest.verdicts();
    assert!(verdicts[..4096].iter().all(|verdict| *verdict == Excluded(Free)));
    assert_eq!(verdicts[4096..4101], [[Excluded(Cache); 4].as_slice(), &[Kept]].concat());
    guest.set(0, &[("private", 11)]);
    assert_eq!(guest.verdicts()[2048..4096], [Kept; 2048]);
}
