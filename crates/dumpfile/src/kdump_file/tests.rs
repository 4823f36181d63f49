extern crate std;

use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;

/// Offsets of makedumpfile's `diskdump_mod.h` compiled for each machine, in the order of
/// the values below: the fields of the header, then those of the sub header.
const OFFSETS: [(Machine, [usize; 7], [usize; 8]); 2] = [
    (Machine::I386, [404, 412, 416, 420, 424, 428, 448], [0, 4, 20, 28, 32, 40, 64, 72]),
    (Machine::X86_64, [408, 424, 428, 432, 436, 440, 460], [0, 8, 32, 40, 48, 56, 88, 96]),
];

fn header(machine: Machine) -> KdumpHeader {
    let text = Part { offset: 24, size: 100 };
    let header = KdumpHeader::new(machine, 0x1_2345, 5000, text).expect("it has places");
    let mut utsname: Utsname = [[0; UTSNAME_FIELD]; 6];
    utsname[0][..5].copy_from_slice(b"Linux");
    utsname[4][..4].copy_from_slice(b"i686");
    let (time, status, cpus) = (0x6543_2100, 5, 3);
    KdumpHeader { utsname, time, status, cpus, phys_base: 0x100_0000, dump_level: 31, ..header }
}

#[test]
fn the_layout_is_that_of_each_machine() {
    for (machine, main, sub) in OFFSETS {
        let header = header(machine);
        let bytes = header.encode();
        let at = |offset: usize| {
            u32::from_le_bytes(*bytes[offset..].first_chunk().expect("within the headers"))
        };
        assert_eq!(bytes[..12], *b"KDUMP   \x06\0\0\0");
        assert_eq!((&bytes[12..17], &bytes[272..276]), (&b"Linux"[..], &b"i686"[..]));
        let blocks = [header.sub_blocks as u32, header.bitmap_blocks as u32];
        let expected = [0x6543_2100, 5, 4096, blocks[0], blocks[1], 0x1_2345, 3];
        assert_eq!(main.map(at), expected, "{machine:?}");
        let (notes, text) = (header.notes, header.vmcoreinfo);
        let places = [text.offset, text.size, notes.offset, notes.size].map(|value| value as u32);
        let [a, b, c, d] = places;
        let expected = [0x100_0000, 31, a, b, c, d, 0x1_2345, 0x1_2345];
        assert_eq!(sub.map(|offset| at(4096 + offset)), expected, "{machine:?}");
        let end = 4096 + if machine == Machine::I386 { 80 } else { 104 };
        assert_eq!([a, b, c, d], [end + 24, 100, end, 5000]);
        assert_eq!(blocks, [2, 2 * 3], "5000 bytes of notes; 3 blocks have 98304 bits");
        assert_eq!((header.bitmap1(), header.bitmap2()), (3 * BLOCK, 6 * BLOCK));
        assert_eq!(header.descriptors(), 9 * BLOCK);
        assert_eq!(KdumpHeader::decode(&bytes), Ok(header));
    }
}

#[test]
fn damaged_headers_are_refused() {
    let good = header(Machine::X86_64).encode();
    let with = |at: usize, value: u32| {
        let mut bytes = good.clone();
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        KdumpHeader::decode(&bytes).map(|_| ())
    };
    let field = |field, value| Err(KdumpError::Field { field, value });
    for (at, value, expected) in [
        (0, 0, Err(KdumpError::NotOurs)),
        (8, 7, Err(KdumpError::Version(7))),
        (428, 65536, Err(KdumpError::Machine)),
        (432, 0, Err(KdumpError::Machine)),
        (432, 2 << 20, field("sub_hdr_size", 2 << 20)),
        (436, 7, field("bitmap_blocks", 7)),
        (436, 4, field("bitmap_blocks", 4)),
        (4096 + 12, 1, Err(KdumpError::Split)),
        (4096 + 40, 1 << 30, field("size_vmcoreinfo", 1 << 30)),
        (4096 + 60, 1, field("size_note", (1 << 32) + 5000)),
        (4096 + 100, 1 << 20, field("max_mapnr", (1 << 52) + 0x1_2345)),
    ] {
        assert_eq!(with(at, value), expected, "{at} {value}");
    }
    assert_eq!(KdumpHeader::decode(&good[..4100]), Err(KdumpError::Cut));
    assert!(KdumpHeader::new(Machine::I386, MOST_PAGES + 1, 0, Part::default()).is_err());
}

/// Older versions end their sub header sooner, and have one number of pages.
#[test]
fn older_versions_say_less() {
    let bytes = |version: u8| {
        let mut bytes = header(Machine::I386).encode();
        bytes[8] = version;
        bytes[4096 + 72..4096 + 80].fill(0xff);
        KdumpHeader::decode(&bytes).expect("a header")
    };
    let (new, old) = (header(Machine::I386), bytes(5));
    assert_eq!(old, new);
    assert_eq!((bytes(3).notes, bytes(3).vmcoreinfo), (Part::default(), new.vmcoreinfo));
    assert_eq!(bytes(2).vmcoreinfo, Part::default());
}

#[test]
fn descriptors_say_what_they_say() {
    let descriptor = PageDescriptor { offset: 0x1_0000_1234, size: 77, codec: PageCodec::Zstd };
    let bytes = descriptor.encode();
    let expected = b"\x34\x12\0\0\x01\0\0\0\x4d\0\0\0\x20\0\0\0\0\0\0\0\0\0\0\0";
    assert_eq!(bytes, *expected);
    assert_eq!(PageDescriptor::decode(&bytes), Ok(descriptor));
    for (size, flags) in [(4095, 0), (4097, 1), (0, 2), (10, 3), (10, 8), (10, 16)] {
        let mut bytes = bytes;
        (bytes[8..10]).copy_from_slice(&u16::to_le_bytes(size));
        bytes[12] = flags;
        let (size, flags) = (size.into(), flags.into());
        assert_eq!(PageDescriptor::decode(&bytes), Err(KdumpError::Descriptor { size, flags }));
    }
}

proptest! {
    /// Bytes that are changed anywhere are refused, or a header with all its parts in place.
    #[test]
    fn foreign_headers_do_no_harm(
        i386: bool,
        changes in prop::collection::vec((0_usize..4300, any::<u8>()), 0..6),
        length in 0_usize..=HEADERS,
    ) {
        let machine = if i386 { Machine::I386 } else { Machine::X86_64 };
        let mut bytes = header(machine).encode();
        changes.iter().for_each(|(at, byte)| bytes[*at] = *byte);
        bytes.truncate(length);
        if let Ok(header) = KdumpHeader::decode(&bytes) {
            prop_assert!(header.bitmap1() < header.bitmap2());
            prop_assert!(header.bitmap2() + header.bitmap_length() <= header.descriptors());
            prop_assert_eq!(KdumpHeader::decode(&header.encode()), Ok(header));
        }
    }

    /// Compares with a list of numbers.
    #[test]
    fn a_bitmap_behaves_like_a_set(
        pages in 0_u64..9000,
        single in prop::collection::vec(0_u64..9000, 0..20),
        ranges in prop::collection::vec((0_u64..9000, 0_u64..3000, any::<bool>()), 0..5),
        (from, length) in (0_u64..9100, 0_u64..5000),
    ) {
        let mut set = PageBitmap::new(pages).expect("room");
        let mut model = std::vec![false; 20_000];
        let room = set.end();
        single.iter().for_each(|page| {
            set.insert(*page);
            model[*page as usize] |= *page < room;
        });
        for (start, length, is_in) in ranges {
            match is_in {
                true => set.insert_range(start, start + length),
                false => set.remove_range(start, start + length),
            }
            (start..(start + length).min(room)).for_each(|page| model[page as usize] = is_in);
        }
        set.count_pages().expect("room");
        let count = |end: u64| model[..end as usize].iter().filter(|is_in| **is_in).count() as u64;
        prop_assert_eq!(set.len(), count(20_000));
        for page in single.iter().copied().chain([from, from + length]) {
            prop_assert_eq!(set.contains(page), model[page as usize]);
            prop_assert_eq!(set.rank(page), count(page));
        }
        let runs: Vec<_> = set.runs(from, from + length).collect();
        prop_assert!(runs.first().is_none_or(|run| run.0 == from));
        for run in runs.windows(2) {
            prop_assert!(run[0].1 == run[1].0 && run[0].2 != run[1].2);
        }
        for (start, end, is_in) in &runs {
            prop_assert!((*start..*end).all(|page| model[page as usize] == *is_in));
        }
        prop_assert_eq!(runs.iter().map(|run| run.1 - run.0).sum::<u64>(), length);
        let mut again = PageBitmap::default();
        set.as_bytes().chunks(100).for_each(|part| again.extend(part).expect("room"));
        again.count_pages().expect("room");
        prop_assert_eq!(again, set);
    }
}
