//! The header of blocks that carry a digest of themselves: purgatory's parameters, the first page
//! of a slot image.

use core::mem::offset_of;

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The first bytes of a block.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct BlockHeader {
    /// [`Block::MAGIC`].
    pub magic: [u8; 8],
    /// [`Block::VERSION`].
    pub version: U32,
    /// Size of the whole block in bytes.
    pub size: U32,
    /// SHA-256 of the whole block, taken while this field is all zeros.
    pub digest: [u8; 32],
}

/// A block that begins with a [`BlockHeader`].
pub trait Block: FromZeros + IntoBytes + Immutable + Sized {
    /// First bytes of the block.
    const MAGIC: [u8; 8];
    /// Version of the block's layout. A reader refuses every other.
    const VERSION: u32;

    /// A block with magic, version and size filled in and everything else zero.
    fn new() -> Self {
        let mut block = Self::new_zeroed();
        *block.header_mut() = BlockHeader::of::<Self>();
        block
    }

    /// The block's first bytes.
    fn header_mut(&mut self) -> &mut BlockHeader;

    /// The bytes that the digest is taken of: the block, zeros in place of the digest.
    fn digested(&self) -> [&[u8]; 3] {
        let (front, rest) = self.as_bytes().split_at(offset_of!(BlockHeader, digest));
        [front, &[0; 32], &rest[32..]]
    }
}

impl BlockHeader {
    /// The header of a block of this type, whose digest is still to be filled in.
    fn of<B: Block>() -> Self {
        let (version, size) = (B::VERSION.into(), (size_of::<B>() as u32).into());
        Self { magic: B::MAGIC, version, size, digest: [0; 32] }
    }

    /// True if magic, version and size are those of this type.
    pub fn is_of<B: Block>(&self) -> bool {
        *self == Self { digest: self.digest, ..Self::of::<B>() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PurgatoryParams, SlotHeader};

    /// Both blocks begin with these 48 bytes, little-endian.
    #[test]
    fn layout_of_the_header() {
        assert_eq!((size_of::<BlockHeader>(), align_of::<BlockHeader>()), (48, 1));
        assert_eq!(&PurgatoryParams::new().as_bytes()[..17], b"KDRSPURG\x01\0\0\0\x60\x04\0\0\0");
        assert_eq!(&SlotHeader::new().as_bytes()[..17], b"KDRSSLOT\x01\0\0\0\0\x10\0\0\0");
    }

    /// Bytes 16 to 48 of the block count as zeros, all others as they are.
    #[test]
    fn the_digest_covers_all_but_itself() {
        let mut params = PurgatoryParams::new();
        params.as_mut_bytes().fill(7);
        let [front, zeros, rest] = params.digested();
        assert_eq!((front, zeros), (&[7; 16][..], &[0; 32][..]));
        assert!(rest.len() == size_of::<PurgatoryParams>() - 48 && rest.iter().all(|b| *b == 7));
    }

    #[test]
    fn other_blocks_are_told_apart() {
        let params = PurgatoryParams::new().block;
        assert!(params.is_of::<PurgatoryParams>() && !params.is_of::<SlotHeader>());
        let others = [
            BlockHeader { magic: *b"KDRSPURH", ..params },
            BlockHeader { version: 2.into(), ..params },
            BlockHeader { size: 1119.into(), ..params },
        ];
        assert!(others.iter().all(|other| !other.is_of::<PurgatoryParams>()));
    }
}
