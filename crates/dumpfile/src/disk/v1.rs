//! Version 1 of the dump disk: one block of header, then one dump. It is read, and written no more.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{Contents, DiskError, DiskState, MAGIC};
use crate::DiskId;

/// Version of this layout.
pub const VERSION: u32 = 1;
/// Length of the header in bytes.
pub const HEADER_SIZE: usize = super::BLOCK;
/// Where on the disk the dump begins, in bytes.
pub const DATA_OFFSET: u64 = 4096;

/// The header of a dump disk, without what is the same in each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskHeader {
    /// Which disk this is.
    pub id: DiskId,
    /// What it holds.
    pub state: DiskState,
    /// Code of the last stage that the capture reached (`handoff::Stage`), zero before any.
    pub stage: u32,
    /// Length of the dump in bytes, from [`DATA_OFFSET`] on.
    pub length: u64,
    /// What the dump is made of.
    pub contents: Contents,
}

/// Layout of version 1. `contents` and `start` were reserved and zero at first: a reader that does
/// not know them takes every dump for a vmcore.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Block {
    magic: [u8; 8],
    version: U32,
    state: U32,
    id: [u8; 16],
    stage: U32,
    contents: U32,
    data_offset: U64,
    length: U64,
    start: U64,
    zero: [u8; HEADER_SIZE - 68],
    crc: U32,
}

impl DiskHeader {
    /// The header of an empty disk.
    pub const fn new(id: DiskId) -> Self {
        Self { id, state: DiskState::EMPTY, stage: 0, length: 0, contents: Contents::Vmcore }
    }

    /// The block that goes to the front of the disk.
    pub fn encode(&self) -> [u8; HEADER_SIZE] {
        let mut bytes = [0; HEADER_SIZE];
        let block: &mut Block = zerocopy::transmute_mut!(&mut bytes);
        block.magic = MAGIC;
        block.version = VERSION.into();
        block.state = self.state.0.into();
        block.id = self.id.0;
        block.stage = self.stage.into();
        block.data_offset = DATA_OFFSET.into();
        block.length = self.length.into();
        let (contents, start) = self.contents.fields();
        block.contents = contents.into();
        block.start = start.into();
        super::seal(&mut bytes);
        bytes
    }

    /// Reads the block at the front of a disk. Bytes past [`HEADER_SIZE`] are not looked at.
    ///
    /// # Errors
    /// The first check that failed.
    pub fn decode(bytes: &[u8]) -> Result<Self, DiskError> {
        let bytes = super::first_block(bytes).ok_or(DiskError::TooShort(bytes.len()))?;
        let block: &Block = zerocopy::transmute_ref!(bytes);
        if block.magic != MAGIC {
            return Err(DiskError::NotOurs);
        }
        if block.version != VERSION {
            return Err(DiskError::Version(block.version.get()));
        }
        if let Some((expected, found)) = super::damage(bytes) {
            return Err(DiskError::Checksum { expected, found });
        }
        if block.data_offset != DATA_OFFSET {
            return Err(DiskError::DataOffset(block.data_offset.get()));
        }
        let length = block.length.get();
        DATA_OFFSET.checked_add(length).ok_or(DiskError::Length(length))?;
        let state = DiskState(block.state.get());
        let contents = Contents::from_fields(block.contents.get(), block.start.get());
        Ok(Self { id: DiskId(block.id), state, stage: block.stage.get(), length, contents })
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    const SAMPLE: DiskHeader = DiskHeader {
        id: DiskId([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]),
        state: DiskState::COMPLETE,
        stage: 0x60,
        length: 0x1234_5678,
        contents: Contents::Vmcore,
    };

    /// `SAMPLE` written by hand; the checksum was worked out by a bitwise CRC-32C in Python.
    fn sample() -> [u8; HEADER_SIZE] {
        let mut block = [0; HEADER_SIZE];
        block[..8].copy_from_slice(b"KDRSDISK");
        block[8..16].copy_from_slice(&[1, 0, 0, 0, 2, 0, 0, 0]);
        block[16..32].copy_from_slice(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
        block[32..40].copy_from_slice(&[0x60, 0, 0, 0, 0, 0, 0, 0]);
        block[40..48].copy_from_slice(&[0, 0x10, 0, 0, 0, 0, 0, 0]);
        block[48..56].copy_from_slice(&[0x78, 0x56, 0x34, 0x12, 0, 0, 0, 0]);
        block[4092..].copy_from_slice(&[0xcf, 0x8d, 0xfd, 0x0b]);
        block
    }

    /// Disks like this are out there.
    #[test]
    fn encoding_of_version_1() {
        assert_eq!(VERSION, 1);
        assert_eq!(SAMPLE.encode(), sample());
        assert_eq!(DiskHeader::decode(&sample()), Ok(SAMPLE));
    }

    /// Where version 1 had zeros before.
    #[test]
    fn oldmem_is_said_in_what_was_reserved() {
        let contents = Contents::OldMem { start: 0x1_2345_6000 };
        let block = DiskHeader { contents, ..SAMPLE }.encode();
        assert_eq!(block[36..40], [1, 0, 0, 0]);
        assert_eq!(block[56..64], [0, 0x60, 0x45, 0x23, 1, 0, 0, 0]);
        assert_eq!(block[40..56], sample()[40..56]);
        assert!(block[64..4092].iter().all(|byte| *byte == 0));
        assert_eq!(DiskHeader::decode(&block).map(|header| header.contents), Ok(contents));
        let later = DiskHeader { contents: Contents::Unknown(7), ..SAMPLE };
        assert_eq!(DiskHeader::decode(&later.encode()), Ok(later));
    }

    #[test]
    fn each_check_has_its_own_error() {
        let damaged = |offset: usize, value: u8| {
            let mut block = sample();
            block[offset] = value;
            DiskHeader::decode(&block)
        };
        assert_eq!(damaged(0, b'k'), Err(DiskError::NotOurs));
        assert_eq!(damaged(8, 2), Err(DiskError::Version(2)));
        assert!(matches!(damaged(48, 0x79), Err(DiskError::Checksum { found: 0x0bfd_8dcf, .. })));
        assert!(matches!(damaged(4091, 1), Err(DiskError::Checksum { .. })));
        assert!(matches!(damaged(4095, 0), Err(DiskError::Checksum { .. })));
        assert_eq!(DiskHeader::decode(&sample()[..4095]), Err(DiskError::TooShort(4095)));
        assert_eq!(DiskHeader::decode(&[]), Err(DiskError::TooShort(0)));
        assert_eq!(DiskHeader::decode(&[0; HEADER_SIZE]), Err(DiskError::NotOurs));
    }

    /// A block that is whole, but whose writer had other ideas.
    #[test]
    fn a_checksum_does_not_make_it_right() {
        let sealed = |change: fn(&mut Block)| {
            let mut block = Block::read_from_bytes(&sample()).expect("4096 bytes");
            change(&mut block);
            let mut bytes = zerocopy::transmute!(block);
            crate::disk::seal(&mut bytes);
            DiskHeader::decode(&bytes)
        };
        assert_eq!(sealed(|block| block.data_offset = 512.into()), Err(DiskError::DataOffset(512)));
        let length = u64::MAX - 4095;
        let header = DiskHeader { length, ..SAMPLE };
        assert_eq!(DiskHeader::decode(&header.encode()), Err(DiskError::Length(length)));
        let state = sealed(|block| block.state = 77.into()).map(|header| header.state);
        assert_eq!(state, Ok(DiskState(77)), "a state of a later program is a state");
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(id: [u8; 16], state: u32, stage: u32, length in 0..u64::MAX - 4096) {
            let header = DiskHeader { id: DiskId(id), state: DiskState(state), stage, length, contents: Contents::Vmcore };
            prop_assert_eq!(DiskHeader::decode(&header.encode()), Ok(header));
        }

        #[test]
        fn one_wrong_byte_is_never_accepted(offset in 0..HEADER_SIZE, flip in 1u8..) {
            let mut block = sample();
            block[offset] ^= flip;
            prop_assert!(DiskHeader::decode(&block).is_err());
        }

        #[test]
        fn arbitrary_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..5000), ours: bool) {
            let mut block: Vec<u8> = bytes;
            if ours && block.len() > 12 {
                block[..8].copy_from_slice(&MAGIC);
                block[8..12].copy_from_slice(&[1, 0, 0, 0]);
            }
            prop_assert!(DiskHeader::decode(&block).is_err());
        }
    }
}
