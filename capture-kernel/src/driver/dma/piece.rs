//! The memory that a device reads in one request.

use super::Frozen;
use alloc::vec::Vec;
use core::ops::Range;
use vmcore::{PhysAddr, PhysRange};

/// The most pieces of one request.
pub const MAX_PIECES: usize = 32;
/// The most bytes of one [`DmaPiece::Zeros`]: the page of zeros that each driver has.
pub const ZEROS: u32 = 4096;

/// Memory that a device reads and never writes. It stays as it is until the piece is dropped, and a
/// driver drops the pieces of a request when the device has answered it or is stopped.
#[derive(Clone, Debug)]
pub enum DmaPiece {
    /// Old memory, from where the dead kernel left it. Nobody writes there.
    Old(PhysRange),
    /// A part of a frozen buffer's bytes.
    Frozen(Frozen, Range<usize>),
    /// So many zeros, at most [`ZEROS`].
    Zeros(u32),
}

/// The pieces of one request, one after the other, [`MAX_PIECES`] at most. Most requests have one:
/// so the list is on the heap, and not 1 KiB that is moved from hand to hand.
pub type Pieces = Vec<DmaPiece>;

impl DmaPiece {
    /// Length in bytes.
    pub fn length(&self) -> u64 {
        match self {
            Self::Old(range) => range.length(),
            Self::Frozen(_, range) => range.len() as u64,
            Self::Zeros(count) => (*count).into(),
        }
    }

    /// The first `at` bytes and the rest; `at` is at most the length.
    pub fn split(self, at: u64) -> (Self, Self) {
        let at = at.min(self.length());
        match self {
            Self::Old(range) => {
                let middle = PhysAddr::new(range.start().get() + at);
                let part = |from, to| {
                    let part = PhysRange::from_bounds(from, to);
                    Self::Old(part.expect("the middle lies between the ends"))
                };
                (part(range.start(), middle), part(middle, range.end()))
            }
            Self::Frozen(frozen, Range { start, end }) => {
                let middle = start + at as usize;
                (Self::Frozen(frozen.clone(), start..middle), Self::Frozen(frozen, middle..end))
            }
            Self::Zeros(count) => (Self::Zeros(at as u32), Self::Zeros(count - at as u32)),
        }
    }
}

/// Limits of one request. Each piece is one part of memory for the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most bytes, a multiple of 4096.
    pub bytes: u64,
    /// The most pieces, at least one.
    pub pieces: usize,
    /// The most bytes of one piece, at least 512 and a multiple of `align`.
    pub piece: u64,
    /// Addresses and lengths of pieces are multiples of this, a power of two of at most 4096.
    pub align: u32,
    /// Bits of an address that the device can use, at most 64.
    pub address_bits: u8,
}

impl Limits {
    /// True for memory below the end of the addresses that the device can use.
    pub fn reaches(&self, range: PhysRange) -> bool {
        let bits = u32::from(self.address_bits);
        range.is_empty() || (range.end().get() - 1).checked_shr(bits).unwrap_or(0) == 0
    }
}
