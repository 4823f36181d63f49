extern crate std;

use std::vec;
use std::vec::Vec;

use proptest::prelude::*;
use vmcore::{Error, Extent, Extents, PageClass, PhysAddr, PhysRange, ReadPhys, View};

use super::*;

/// Memory with a byte for each address from 0 on. Reads of `bad` fail.
struct Memory {
    bytes: Vec<u8>,
    bad: PhysRange,
}

impl ReadPhys for Memory {
    fn read_phys(&self, at: PhysAddr, into: &mut [u8]) -> Result<(), Error> {
        let range = PhysRange::new(at, into.len() as u64)?;
        if range.overlaps(self.bad) {
            return Err(Error::MachineCheck { at });
        }
        into.copy_from_slice(&self.bytes[at.get() as usize..range.end().get() as usize]);
        Ok(())
    }
}

fn range(start: u64, length: u64) -> PhysRange {
    PhysRange::new(PhysAddr::new(start), length).expect("no wrap")
}

/// 256 pages: one in four is noise, one in four text, one in four zeros, one in four half of each.
fn memory(bad: PhysRange) -> Memory {
    let mut state = 1_u32;
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let mut bytes = Vec::new();
    for page in 0..256 {
        for at in 0..4096_usize {
            bytes.push(match page % 4 {
                0 => noise(),
                1 => b"kernel panic - not syncing "[at % 27],
                2 => 0,
                _ if at < 2048 => noise(),
                _ => 7,
            });
        }
    }
    Memory { bytes, bad }
}

/// The stored bytes of `entry`, for which `out` has those of a compressed chunk.
fn stored(entry: &ChunkEntry, view: &dyn View, mem: &Memory, out: &[u8]) -> Vec<u8> {
    if entry.codec == Codec::Lz4 {
        return out[..entry.stored as usize].to_vec();
    }
    let mut stored = Vec::new();
    for page in
        (0..pages_of(entry.chunk, view.len())).filter(|page| entry.left.get(*page).is_none())
    {
        let mut bytes = [0; PAGE as usize];
        let at = DumpOffset::new(entry.start() + page as u64 * PAGE);
        view.read_at(at, &mut bytes, mem).expect("a page that is kept can be read");
        stored.extend(bytes);
    }
    stored
}

use vmcore::DumpOffset;

fn decode(entry: &ChunkEntry, stored: &[u8], view: &dyn View) -> Result<Vec<u8>, ChunkError> {
    let mut pages = vec![0xee; pages_of(entry.chunk, view.len()) * PAGE as usize];
    entry.decode(stored, view.len(), &mut vec![0xdd; CHUNK as usize], &mut pages)?;
    Ok(pages)
}

fn extents(parts: Vec<Extent>) -> Extents {
    Extents::new(parts).expect("small")
}

#[test]
fn a_page_is_left_out_when_no_byte_of_it_is_kept() {
    let view = extents(vec![
        Extent::Bytes(vec![1; 4096]),
        Extent::Zero(4096),
        Extent::Left(PageClass::Offline, 4096),
        // Page 3: zeros, then memory that is missing. Page 4: the other way round. Page 5: some is
        // kept.
        Extent::Zero(100),
        Extent::Left(PageClass::User, 3996 + 96),
        Extent::Zero(4000),
        Extent::Left(PageClass::Free, 4095),
        Extent::Phys(range(0, 1)),
        Extent::Left(PageClass::Free, CHUNK),
    ]);
    let classes: Vec<_> = (0..7).map(|page| left_of(&view, 0).get(page)).collect();
    let (zero, offline) = (Some(PageClass::Zero), Some(PageClass::Offline));
    let (user, free) = (Some(PageClass::User), Some(PageClass::Free));
    assert_eq!(classes, [None, zero, offline, user, user, None, free]);
    assert_eq!((left_of(&view, 0).kept(PAGES), left_of(&view, 1).kept(6)), (2, 0));
    assert_eq!(pages_of(1, view.len()), 6);
    assert_eq!(left_of(&view, 1).to_bytes(), [0x55, 0x55, 0x55, 0, 0, 0, 0, 0]);
    assert_eq!(left_of(&view, 2), Left::default());
    // Pages 0 and 5 are kept, 1 is zero, 2 is offline, 3 and 4 are parts of the user, 16 and a bit
    // free.
    let mut expected = [0; 16];
    for (class, pages) in [(0, 2), (1, 1), (6, 1), (3 + 1, 2), (5, 16)] {
        expected[class] = pages;
    }
    assert_eq!(totals(&view), expected);
}

#[test]
fn alike_are_whole_chunks_of_one_piece() {
    let view = extents(vec![
        Extent::Bytes(vec![1; 2 * CHUNK as usize]),
        Extent::Phys(range(0, 3 * CHUNK + 4096)),
        Extent::Left(PageClass::Free, 70_000 * CHUNK),
    ]);
    let found: Vec<_> = (0..9).map(|chunk| repeats(&view, chunk, 65_535)).collect();
    assert_eq!(found, [0, 0, 2, 1, 0, 0, 65_535, 65_535, 65_535]);
    assert_eq!(
        (repeats(&view, 2, 1), repeats(&view, 70_004, 9), repeats(&view, 70_005, 9)),
        (1, 0, 0)
    );
}

#[test]
fn a_chunk_is_checked_before_it_is_decoded() {
    let (mem, mut out) = (memory(range(0, 0)), vec![0; MOST_COMPRESSED]);
    let view = extents(vec![Extent::Phys(range(0x1000, CHUNK + 4096))]);
    let entry = Encoder::new().expect("room").encode(&view, 0, &mem, &mut out);
    assert_eq!((entry.codec, entry.left.kept(PAGES)), (Codec::Lz4, 12));
    let good = stored(&entry, &view, &mem, &out);
    assert_eq!(decode(&entry, &good, &view).as_deref(), Ok(&mem.bytes[0x1000..0x11000]));
    let mut bad = good.clone();
    bad[100] ^= 1;
    assert_eq!(decode(&entry, &bad, &view), Err(ChunkError::Checksum(0)));
    let sealed = ChunkEntry { crc: Some(Crc32c::of(&bad)), ..entry };
    let decoded = decode(&sealed, &bad, &view);
    assert!(
        decoded.is_err_and(|error| error == ChunkError::Damaged(0))
            || decode(&sealed, &bad, &view).is_ok()
    );
    let short = &good[..good.len() - 1];
    assert!(matches!(decode(&entry, short, &view), Err(ChunkError::Length { .. })));
    let cut = ChunkEntry { stored: entry.stored - 1, crc: Some(Crc32c::of(short)), ..entry };
    assert_eq!(decode(&cut, short, &view), Err(ChunkError::Damaged(0)));
    let outside = ChunkEntry { chunk: 2, ..entry };
    assert_eq!(decode(&outside, &good, &view), Err(ChunkError::Outside(2)));
    let raw = ChunkEntry { codec: Codec::Raw, ..entry };
    assert!(matches!(decode(&raw, &good, &view), Err(ChunkError::Length { pages: 12, .. })));
    let unchecked = ChunkEntry { crc: None, ..entry };
    assert!(matches!(decode(&unchecked, &good, &view), Err(ChunkError::Length { .. })));
}

#[test]
fn classes_of_a_later_program_are_refused() {
    assert!(Left::from_bytes([0xa1, 0, 0, 0, 0, 0, 0, 0], PAGES).is_none());
    assert!(Left::from_bytes([0x99, 0x99, 0, 0, 0, 0, 0, 0], PAGES).is_some());
    assert!(Left::from_bytes([0x99, 0x99, 0, 0, 0, 0, 0, 0], 3).is_none());
}

#[test]
fn memory_that_cannot_be_read_is_named_and_costs_its_pages_only() {
    let (mem, mut out) = (memory(range(0x5800, 0x1000)), vec![0; MOST_COMPRESSED]);
    let view = extents(vec![Extent::Phys(range(0, CHUNK))]);
    let entry = Encoder::new().expect("room").encode(&view, 0, &mem, &mut out);
    assert_eq!(entry.left.get(5), Some(PageClass::Unreadable));
    // Page 6 is zero, but a part of it cannot be read.
    assert_eq!(entry.left.get(6), Some(PageClass::Unreadable));
    assert_eq!(entry.left.get(2), Some(PageClass::Zero));
    let mut expected = mem.bytes[..CHUNK as usize].to_vec();
    expected[0x5000..0x7000].fill(0);
    let stored = stored(&entry, &view, &mem, &out);
    assert_eq!(decode(&entry, &stored, &view), Ok(expected));
}

/// Parts of a view, any length each.
fn parts() -> impl Strategy<Value = Vec<Extent>> {
    let length = prop_oneof![1_u64..9000, Just(4096), Just(CHUNK)];
    let part = prop_oneof![
        (0_u64..1 << 19, length.clone())
            .prop_map(|(start, length)| Extent::Phys(range(start, length))),
        length.clone().prop_map(Extent::Zero),
        length.clone().prop_map(|length| Extent::Left(PageClass::Free, length)),
        length.prop_map(|length| Extent::Bytes(vec![0xb5; length as usize])),
    ];
    prop::collection::vec(part, 1..20)
}

proptest! {
    /// All chunks of any view, encoded and decoded, are the view.
    #[test]
    fn what_is_decoded_is_the_view(parts in parts(), bad in 0_u64..1 << 20, reverse: bool) {
        let (mem, view) = (memory(range(bad, 1)), extents(parts));
        let mut encoder = Encoder::new().expect("room");
        let mut counted = [0; 16];
        let mut chunks: Vec<u32> = (0..view.len().div_ceil(CHUNK) as u32).collect();
        if reverse {
            chunks.reverse();
        }
        for chunk in chunks {
            let mut out = vec![0; MOST_COMPRESSED];
            let entry = encoder.encode(&view, chunk, &mem, &mut out);
            prop_assert!(entry.stored as usize <= entry.left.kept(PAGES) * PAGE as usize);
            for page in 0..pages_of(chunk, view.len()) {
                let class = left_of(&view, chunk).get(page);
                counted[class.map_or(0, |class| usize::from(class.code()))] += 1;
            }
            let pages = decode(&entry, &stored(&entry, &view, &mem, &out), &view);
            let pages = pages.expect("it was just encoded");
            for (page, bytes) in pages.chunks(PAGE as usize).enumerate() {
                let mut expected = [0; PAGE as usize];
                let at = DumpOffset::new(entry.start() + page as u64 * PAGE);
                match view.read_at(at, &mut expected, &mem) {
                    Ok(_) => prop_assert!(bytes == expected),
                    Err(_) => prop_assert_eq!(entry.left.get(page), Some(PageClass::Unreadable)),
                }
            }
        }
        prop_assert_eq!(totals(&view), counted);
    }

    /// Nothing that anybody writes does harm.
    #[test]
    fn foreign_chunks_do_no_harm(
        chunk: u32, stored: u32, crc: Option<u32>, left: [u8; 8], lz4: bool,
        bytes in prop::collection::vec(any::<u8>(), 0..5000), length in 0_u64..1 << 50,
        right: bool,
    ) {
        let codec = if lz4 { Codec::Lz4 } else { Codec::Raw };
        let (chunk, stored) = if right { (chunk % 3, bytes.len() as u32) } else { (chunk, stored) };
        let crc = if right { Some(Crc32c::of(&bytes)) } else { crc };
        let pages = pages_of(chunk, length);
        let Some(left) = Left::from_bytes(left, pages) else { return Ok(()) };
        let entry = ChunkEntry { chunk, codec, stored, crc, left };
        let mut into = vec![0; pages * PAGE as usize];
        let _ = entry.decode(&bytes, length, &mut vec![0; CHUNK as usize], &mut into);
    }
}
