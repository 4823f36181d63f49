//! Bytes of frames: headers, bodies, kinds, flags.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{CLASSES, HEADER_SIZE, MAX_BULK, MAX_FRAME, SMALL_FRAME, TRAILER_SIZE, WireError};
use crate::checksum::CRC32C;

/// Header of a frame, the same in every version.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Header {
    pub(super) mark: u8,
    pub(super) mask: u8,
    pub(super) version: u8,
    pub(super) kind: u8,
    pub(super) length: U16,
    pub(super) check: U16,
    pub(super) seq: U32,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct GreetingBody {
    pub(super) id: [u8; 16],
    pub(super) length: U64,
    pub(super) max_frame: U32,
    pub(super) views: U16,
    pub(super) flags: U16,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct HelloBody {
    pub(super) session: U32,
    pub(super) max_frame: U32,
    pub(super) flags: U16,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct ViewBody {
    pub(super) view: U16,
    pub(super) flags: U16,
    pub(super) length: U64,
    pub(super) start: U64,
    pub(super) level: u8,
    pub(super) codec: u8,
    pub(super) zero: [u8; 2],
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct LeftBody {
    pub(super) range: RangeBody,
    pub(super) class: u8,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct ChunkBody {
    pub(super) view: U16,
    pub(super) chunk: U32,
    pub(super) codec: u8,
    pub(super) flags: u8,
    pub(super) stored: U32,
    pub(super) crc: U32,
    pub(super) left: [u8; 8],
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct PartBody {
    pub(super) view: U16,
    pub(super) chunk: U32,
    pub(super) offset: U32,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct TotalsBody {
    pub(super) view: U16,
    pub(super) pages: [U64; CLASSES],
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct DataBody {
    pub(super) view: U16,
    pub(super) offset: U64,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct BulkBody {
    pub(super) view: U16,
    pub(super) offset: U64,
    pub(super) length: U32,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct RangeBody {
    pub(super) view: U16,
    pub(super) offset: U64,
    pub(super) length: U64,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct CheckedBody {
    pub(super) range: RangeBody,
    pub(super) sha256: [u8; 32],
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct AckBody {
    pub(super) highest: U32,
    pub(super) before: U64,
}

/// Bit 0 of a hello's flags.
pub(super) const PUSH: u16 = 1;
/// Bit 1 of a hello's flags.
pub(super) const TAKES_BULK: u16 = 2;
/// Bit 2 of a hello's flags.
pub(super) const TAKES_LZ4: u16 = 4;
/// Bit 0 of a chunk's flags: it has a checksum.
pub(super) const HAS_CRC: u8 = 1;
/// Bit 1 of a chunk's flags: the stored bytes follow the frame.
pub(super) const FOLLOWS: u8 = 2;
/// Bit 0 of a greeting's flags.
pub(super) const BULK: u16 = 1;
/// Bit 0 of a view's flags.
pub(super) const PUSHED: u16 = 1;
/// Offset of the bytes in a data frame.
pub(super) const DATA_START: usize = HEADER_SIZE + size_of::<DataBody>();
/// The same in a part frame.
pub(super) const PART_START: usize = HEADER_SIZE + size_of::<PartBody>();

/// The kinds' numbers.
pub(super) mod kind {
    pub(in crate::wire) const ANNOUNCE: u8 = 1;
    pub(in crate::wire) const HELLO: u8 = 2;
    pub(in crate::wire) const WELCOME: u8 = 3;
    pub(in crate::wire) const VIEW: u8 = 4;
    pub(in crate::wire) const DATA: u8 = 5;
    pub(in crate::wire) const ZERO: u8 = 6;
    pub(in crate::wire) const LEFT: u8 = 7;
    pub(in crate::wire) const ACK: u8 = 8;
    pub(in crate::wire) const WANT: u8 = 9;
    pub(in crate::wire) const CHECK: u8 = 10;
    pub(in crate::wire) const CHECKED: u8 = 11;
    pub(in crate::wire) const DONE: u8 = 12;
    pub(in crate::wire) const BYE: u8 = 13;
    pub(in crate::wire) const BULK: u8 = 14;
    pub(in crate::wire) const CHUNK: u8 = 15;
    pub(in crate::wire) const PART: u8 = 16;
    pub(in crate::wire) const TOTALS: u8 = 18;
}

impl Header {
    /// The header at the front of `frame`, unmasked, if its own checksum is right.
    pub(super) fn read(frame: &[u8; HEADER_SIZE]) -> Option<Self> {
        let mut bytes = *frame;
        let mask = bytes[1];
        bytes[2..].iter_mut().for_each(|byte| *byte ^= mask);
        let header: Self = zerocopy::transmute!(bytes);
        let right = header.check.get() == header.checksum() && header.total() <= MAX_FRAME;
        right.then_some(header)
    }

    /// Length of the whole frame in bytes.
    pub(super) fn total(&self) -> usize {
        HEADER_SIZE + usize::from(self.length.get()) + TRAILER_SIZE
    }

    /// True if the mask covers the whole frame.
    pub(super) fn is_small(&self) -> bool {
        self.total() <= SMALL_FRAME
    }

    /// Takes the mask off a frame that is there as a whole.
    pub(super) fn unmask(&self, frame: &mut [u8]) {
        let end = if self.is_small() { frame.len() } else { HEADER_SIZE };
        frame[2..end].iter_mut().for_each(|byte| *byte ^= self.mask);
    }

    /// True if the checksum of an unmasked frame is right.
    pub(super) fn is_whole(&self, frame: &[u8], session: u32) -> bool {
        let (rest, trailer) = frame.split_at(frame.len() - TRAILER_SIZE);
        let session = session_of(self.kind, session);
        trailer == checksum(session, &rest[2..]).to_le_bytes()
    }

    /// True if the session number is part of its checksum.
    pub(super) const fn has_session(&self) -> bool {
        has_session(self.kind)
    }

    pub(super) fn checksum(&self) -> u16 {
        let covered = CRC32C.checksum(&self.as_bytes()[2..6]);
        (covered & 0xffff) as u16
    }
}

/// The session number that a frame of `kind` is checked with.
pub(super) const fn session_of(kind: u8, session: u32) -> u32 {
    if has_session(kind) { session } else { 0 }
}

const fn has_session(kind: u8) -> bool {
    !matches!(kind, kind::ANNOUNCE | kind::HELLO)
}

pub(super) fn checksum(session: u32, bytes: &[u8]) -> u32 {
    let mut digest = CRC32C.digest();
    digest.update(&session.to_le_bytes());
    digest.update(bytes);
    digest.finalize()
}

/// The length of a bulk, if it may have that.
pub(super) fn bulk_length(offset: u64, length: u64) -> Result<u32, WireError> {
    let fits = u32::try_from(length).ok().filter(|length| *length <= MAX_BULK);
    fits.ok_or(WireError::Range { offset, length })
}
