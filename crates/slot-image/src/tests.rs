//! Images written by hand, and images that are wrong in one place.

use alloc::string::ToString;
use alloc::vec::Vec;
use core::mem::offset_of;

use crate::*;
use handoff::purgatory::{Backup, Region, STATE_SEALED, STATE_UNSEALED};
use handoff::{Block, PurgatoryParams, SlotHeader};
use proptest::prelude::*;
use sha2::{Digest, Sha256};
use vmcore::{PhysAddr, PhysRange};
use zerocopy::{FromBytes, IntoBytes};

const MIB: u64 = 1 << 20;
/// 2 MiB at 16 MiB; its last 640 KiB begin at 0x1160000.
const SLOT: (u64, u64) = (0x100_0000, 0x120_0000);
const BACKUP: u64 = 0x116_0000;
const PARAMS: u64 = 0x115_0020;
const CORE_HEADER: (u64, u64) = (0x115_2000, 0x115_4000);
/// SHA-256 of 8192 zero bytes, by sha256sum.
const TWO_ZERO_PAGES: &str = "9f1dcbc35c350d6027f98be0f5c8b43b42ca52b7604459c0c42be3aa88913d47";
/// SHA-256 of "core" and 8188 zero bytes, by sha256sum.
const CORE_AND_ZEROS: &str = "e677cc31134c96c05665e55c6ae819933d44ea17e34a63d36eecb4793a09f5b0";

fn range((start, end): (u64, u64)) -> PhysRange {
    PhysRange::from_bounds(PhysAddr::new(start), PhysAddr::new(end)).expect("a range")
}

fn hex(bytes: &[u8]) -> alloc::string::String {
    bytes.iter().map(|byte| alloc::format!("{byte:02x}")).collect()
}

/// A block that checks the ELF core header and nothing else.
fn params() -> PurgatoryParams {
    let mut params = PurgatoryParams::new();
    params.backup = Backup { source: 0, destination: BACKUP, length: 0xa_0000 };
    params.state = STATE_UNSEALED;
    params.region_count = 1;
    params.regions[0] = Region::new("elfcorehdr", CORE_HEADER.0, 0x2000);
    params.regions[0].digest = Sha256::digest([0; 0x2000]).into();
    sign(&mut params);
    params
}

fn segment<'a>(name: &str, place: (u64, u64), bytes: &'a [u8]) -> ContentsSegment<'a> {
    ContentsSegment { name: Name::new(name), place: range(place), bytes }
}

/// Packs a kernel, a purgatory that is all parameters, and room for the header.
fn packed(
    params: &PurgatoryParams,
    change: impl FnOnce(&mut Contents<'_>),
) -> Result<Vec<u8>, Error> {
    let purgatory = [&[0; 0x20][..], params.as_bytes()].concat();
    let mut contents = Contents {
        slot: range(SLOT),
        entry: PhysAddr::new(0x115_0000),
        params: PhysAddr::new(PARAMS),
        elfcorehdr: range(CORE_HEADER),
        backup: range((BACKUP, SLOT.1)),
        sealed: false,
        segments: [
            segment("kernel-0", (0x100_0000, 0x100_3000), b"kernel\0\0"),
            segment("purgatory", (0x115_0000, 0x115_2000), &purgatory),
            segment("elfcorehdr", CORE_HEADER, &[]),
        ]
        .to_vec(),
    };
    change(&mut contents);
    encode(&contents)
}

fn image() -> Vec<u8> {
    packed(&params(), |_| ()).expect("a good image")
}

/// The image with a changed header, its digest right.
fn with_header(change: impl FnOnce(&mut SlotHeader)) -> Vec<u8> {
    let mut bytes = image();
    let (header, _) = SlotHeader::mut_from_prefix(&mut bytes).expect("a header");
    change(header);
    header.block.digest = [0; 32];
    header.block.digest = Sha256::digest(header.as_bytes()).into();
    bytes
}

fn refused(bytes: &[u8]) -> Error {
    parse(bytes).expect_err("a bad image")
}

/// Page 0 header, page 1 kernel, page 2 purgatory, nothing of the empty segment; zeros at the end
/// of a segment are left out.
#[test]
fn an_image_is_compact_and_says_what_went_in() {
    let bytes = image();
    assert_eq!(bytes.len(), 3 * 4096);
    assert_eq!(&bytes[..12], b"KDRSSLOT\x01\0\0\0");
    assert_eq!(&bytes[4096..4104], b"kernel\0\0");
    assert_eq!(&bytes[2 * 4096 + 0x20..][..8], b"KDRSPURG");
    let image = parse(&bytes).expect("a good image");
    let shown: Vec<_> = image
        .segments()
        .map(|s| (s.name.to_string(), s.place.start().get(), s.place.length(), s.bytes.len()))
        .collect();
    assert_eq!(shown[0], ("kernel-0".to_string(), 0x100_0000, 0x3000, 6));
    assert_eq!((shown[1].1, shown[1].2), (0x115_0000, 0x2000));
    assert_eq!(shown[2], ("elfcorehdr".to_string(), CORE_HEADER.0, 0x2000, 0));
    assert_eq!((image.is_sealed(), image.length()), (false, 3 * 4096));
    assert_eq!(image.params(), Ok(params()));
    assert_eq!(image.check_slot(range(SLOT)), Ok(()));
}

#[test]
fn in_place_is_the_last_640_kib_of_the_slot() {
    assert_eq!(backup_place(range(SLOT)), Ok(range((BACKUP, SLOT.1))));
    assert!(backup_place(range((16 * MIB, 16 * MIB + 0xa_0000))).is_err());
    let bytes = image();
    let image = parse(&bytes).expect("a good image");
    assert_eq!(image.check_place(PhysAddr::new(BACKUP)), Ok(()));
    assert_eq!(image.check_place(PhysAddr::new(0x100_3000)), Ok(()));
    let at = PhysAddr::new(0x100_2fff);
    assert_eq!(image.check_place(at), Err(Error::InTheWay { at }));
    assert!(image.check_place(PhysAddr::new(u64::MAX)).is_err());
}

#[test]
fn an_image_that_does_not_fit_in_place_is_not_made() {
    static LARGE: [u8; 0xa_0000] = [1; 0xa_0000];
    let result = packed(&params(), |contents| {
        contents.segments[0] = segment("kernel-0", (0x100_0000, 0x10a_0000), &LARGE);
    });
    assert_eq!(result, Err(Error::TooLarge { size: 0xa_2000, room: 0xa_0000 }));
}

#[test]
fn a_seal_covers_the_header_and_the_zeros_behind_it() {
    let mut params = params();
    assert_eq!(hex(&params.regions[0].digest), TWO_ZERO_PAGES);
    seal(&mut params, range(CORE_HEADER), b"core").expect("it fits");
    assert_eq!(params.state, STATE_SEALED);
    assert_eq!(hex(&params.regions[0].digest), CORE_AND_ZEROS);
    verify_params(&params).expect("signed");
    let found = params.block.digest;
    params.block.digest = [0; 32];
    assert_eq!(<[u8; 32]>::from(Sha256::digest(params.as_bytes())), found);
}

#[test]
fn what_cannot_be_sealed_stays_as_it_was() {
    let mut params = params();
    let too_long = Err(Error::CoreHeaderTooLong { length: 0x2001, room: 0x2000 });
    assert_eq!(seal(&mut params, range(CORE_HEADER), &[1; 0x2001]), too_long);
    let elsewhere = range((CORE_HEADER.0, CORE_HEADER.0 + 0x1000));
    assert_eq!(seal(&mut params, elsewhere, b""), Err(Error::NoRegion { range: elsewhere }));
    assert_eq!(params, self::params());
    params.entry ^= 1;
    assert_eq!(seal(&mut params, range(CORE_HEADER), b""), Err(Error::ParamsDamaged));
}

#[test]
fn what_is_foreign_is_refused_by_name() {
    assert_eq!(refused(b""), Error::NotSlotImage);
    assert_eq!(refused(&[0; 8192]), Error::NotSlotImage);
    assert_eq!(refused(&image()[..4095]), Error::NotSlotImage);
    let other = with_header(|header| header.block.version = 2.into());
    assert_eq!(refused(&other), Error::OtherVersion { found: 2 });
    let bytes = image();
    let reserved = range((32 * MIB, 34 * MIB));
    let error = parse(&bytes).expect("a good image").check_slot(reserved);
    assert_eq!(error, Err(Error::OtherSlot { image: range(SLOT), reserved }));
}

/// The six bytes of the kernel, and the first of purgatory, before its parameter block.
#[test]
fn a_damaged_segment_is_named() {
    let kernel = (4096..4102).map(|at| (at, "kernel-0"));
    for (at, name) in kernel.chain([(2 * 4096, "purgatory")]) {
        let mut bytes = image();
        bytes[at] ^= 0x80;
        assert_eq!(refused(&bytes), Error::SegmentDamaged { name: Name::new(name) });
    }
}

#[test]
fn a_table_that_cannot_be_is_refused() {
    let check = |change: fn(&mut SlotHeader), error: Error| {
        assert_eq!(refused(&with_header(change)), error);
    };
    let (kernel, backup) = (Name::new("kernel-0"), Name::new("backup"));
    check(|h| h.segment_count = 33.into(), Error::TooManySegments { count: 33 });
    check(|h| h.segment_count = u32::MAX.into(), Error::TooManySegments { count: 0xffff_ffff });
    check(|h| h.flags = 2.into(), Error::HeaderDamaged);
    check(|h| h.block.size = 4095.into(), Error::HeaderDamaged);
    check(|h| h.segments[0].place.start = 0x100_0800.into(), Error::BadPlace { name: kernel });
    check(|h| h.segments[0].place.length = 0.into(), Error::BadPlace { name: kernel });
    check(|h| h.segments[0].place.start = 0xff_f000.into(), Error::BadPlace { name: kernel });
    check(|h| h.backup.start = 0x115_0000.into(), Error::BadPlace { name: backup });
    check(|h| h.backup_source = 4096.into(), Error::BadPlace { name: backup });
    let into_backup = Error::Overlap { first: kernel, second: backup };
    check(|h| h.segments[0].place.start = (0x116_0000 - 0x1000).into(), into_backup);
    check(|h| h.segments[0].file_offset = (3 * 4096).into(), Error::NotInFile { name: kernel });
    check(|h| h.segments[0].file_offset = 4097.into(), Error::NotInFile { name: kernel });
    check(|h| h.segments[0].file_offset = 0.into(), Error::NotInFile { name: kernel });
    check(|h| h.segments[0].file_length = u64::MAX.into(), Error::NotInFile { name: kernel });
    check(|h| h.entry = 0x100_3000.into(), Error::NotInSegment { what: "entry" });
    check(|h| h.params = 0x115_1c00.into(), Error::NotInSegment { what: "parameter block" });
    check(|h| h.elfcorehdr.length = 1.into(), Error::NotInSegment { what: "ELF core header" });
    check(|h| h.flags = 1.into(), Error::Disagree { what: "seal" });
    let (first, second) = (Name::new("purgatory"), kernel);
    check(|h| h.segments[0].place.length = 0x15_1000.into(), Error::Overlap { first, second });
    assert!(matches!(refused(&with_header(|h| h.slot.length = u64::MAX.into())), Error::Range(_)));
}

#[test]
fn a_region_that_purgatory_does_not_check_is_refused() {
    let mut params = params();
    params.region_count = 0;
    sign(&mut params);
    let result = packed(&params, |_| ());
    assert_eq!(result, Err(Error::NoRegion { range: range(CORE_HEADER) }));
    params.region_count = 17;
    sign(&mut params);
    assert_eq!(packed(&params, |_| ()), Err(Error::ParamsDamaged));
    params = self::params();
    params.backup.destination += 4096;
    sign(&mut params);
    assert_eq!(packed(&params, |_| ()), Err(Error::Disagree { what: "backup region" }));
}

#[test]
fn names_from_anywhere_are_printed_safely() {
    assert_eq!(Name(*b"a\x1b[2J\xff b\0\0\0\0\0\0\0\0").to_string(), "a?[2J??b");
}

/// Places in which a byte counts: the header, and each segment's bytes in the file.
fn is_covered(at: usize) -> bool {
    let purgatory = 2 * 4096 + 0x20 + offset_of!(PurgatoryParams, regions) + 64;
    at < 4096 + 6 || (2 * 4096..purgatory).contains(&at)
}

proptest! {
    #[test]
    fn no_changed_byte_goes_unseen(at in 0usize..3 * 4096, flip in 1u8..) {
        let mut bytes = image();
        bytes[at] ^= flip;
        prop_assert_eq!(parse(&bytes).is_err(), is_covered(at), "byte {:#x}", at);
    }

    /// Any header whose digest is right: no panic, and an accepted one is in the slot.
    #[test]
    fn arbitrary_headers(at in 48usize..400, value: u64) {
        let bytes = with_header(|header| {
            header.as_mut_bytes()[at..at + 8].copy_from_slice(&value.to_le_bytes());
        });
        if let Ok(image) = parse(&bytes) {
            for segment in image.segments() {
                prop_assert!(image.slot.contains_range(segment.place));
                prop_assert!(segment.bytes.len() as u64 <= segment.place.length());
            }
        }
    }

    #[test]
    fn arbitrary_bytes(bytes in prop::collection::vec(any::<u8>(), 0..9000)) {
        prop_assert!(parse(&bytes).is_err());
    }
}
