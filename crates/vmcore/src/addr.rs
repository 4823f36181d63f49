//! Addresses and offsets that cannot be mistaken for each other.

use core::fmt;

/// A physical address, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PhysAddr(u64);

/// An offset in a dump, that is in a vmcore file, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DumpOffset(u64);

/// A half-open range of physical memory: `start` belongs to it, `end` does not. It may be empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PhysRange {
    start: PhysAddr,
    end: PhysAddr,
}

/// A range that a list of ranges can have: of physical memory, or of offsets as (start, end).
pub trait Span: Copy + fmt::Debug {
    /// An address or offset.
    type At: Copy + Ord;

    /// The bytes from `start` up to, not including, `end`; none if `end` is not above `start`.
    fn between(start: Self::At, end: Self::At) -> Self;

    /// The first address, and one past the last.
    fn bounds(&self) -> (Self::At, Self::At);

    /// Length in bytes.
    fn length(&self) -> u64;
}

impl Span for PhysRange {
    type At = PhysAddr;

    fn between(start: PhysAddr, end: PhysAddr) -> Self {
        Self { start, end: end.max(start) }
    }

    fn bounds(&self) -> (PhysAddr, PhysAddr) {
        (self.start, self.end)
    }

    fn length(&self) -> u64 {
        self.end.0 - self.start.0
    }
}

impl Span for (u64, u64) {
    type At = u64;

    fn between(start: u64, end: u64) -> Self {
        (start, end)
    }

    fn bounds(&self) -> (u64, u64) {
        *self
    }

    fn length(&self) -> u64 {
        self.1.saturating_sub(self.0)
    }
}

/// The reason why two numbers are no range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// A range does not end within 64 bits.
    #[error("{length:#x} bytes at {start} run past 64 bits: the header is damaged")]
    Wraps {
        /// Physical address of the first byte.
        start: PhysAddr,
        /// Length in bytes.
        length: u64,
    },
    /// A range ends before it starts.
    #[error("the range {start}..{end} runs backwards")]
    Backwards {
        /// The start that was asked for.
        start: PhysAddr,
        /// The end that was asked for.
        end: PhysAddr,
    },
}

/// Functions of a position in bytes.
macro_rules! position {
    ($type:ident) => {
        impl $type {
            /// This number of bytes as a position.
            pub const fn new(bytes: u64) -> Self {
                Self(bytes)
            }

            /// The position as a number of bytes.
            pub const fn get(self) -> u64 {
                self.0
            }

            /// The position `bytes` further on, unless that wraps.
            pub const fn checked_add(self, bytes: u64) -> Option<Self> {
                match self.0.checked_add(bytes) {
                    Some(sum) => Some(Self(sum)),
                    None => None,
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }
    };
}

position!(PhysAddr);
position!(DumpOffset);

impl PhysAddr {
    /// The nearest multiple of `align` at or below. `align` must be a power of two.
    pub const fn align_down(self, align: u64) -> Self {
        debug_assert!(align.is_power_of_two());
        Self(self.0 & !(align - 1))
    }

    /// The nearest multiple of `align` at or above, unless that wraps. `align` must be a power of
    /// two.
    pub const fn align_up(self, align: u64) -> Option<Self> {
        debug_assert!(align.is_power_of_two());
        match self.0.checked_add(align - 1) {
            Some(sum) => Some(Self(sum).align_down(align)),
            None => None,
        }
    }

    /// True if the address is a multiple of `align`, a power of two.
    pub const fn is_aligned(self, align: u64) -> bool {
        self.align_down(align).0 == self.0
    }
}

impl PhysRange {
    /// `length` bytes from `start` on.
    ///
    /// # Errors
    /// [`RangeError::Wraps`] when the range does not end within 64 bits.
    pub fn new(start: PhysAddr, length: u64) -> Result<Self, RangeError> {
        let end = start.checked_add(length).ok_or(RangeError::Wraps { start, length })?;
        Ok(Self { start, end })
    }

    /// The bytes from `start` up to, not including, `end`.
    ///
    /// # Errors
    /// [`RangeError::Backwards`] when `end` is below `start`.
    pub const fn from_bounds(start: PhysAddr, end: PhysAddr) -> Result<Self, RangeError> {
        if end.0 < start.0 {
            return Err(RangeError::Backwards { start, end });
        }
        Ok(Self { start, end })
    }

    /// The first address.
    pub const fn start(self) -> PhysAddr {
        self.start
    }

    /// One past the last address.
    pub const fn end(self) -> PhysAddr {
        self.end
    }

    /// Number of bytes.
    pub const fn length(self) -> u64 {
        self.end.0 - self.start.0
    }

    /// True if there is no byte in it.
    pub const fn is_empty(self) -> bool {
        self.start.0 == self.end.0
    }

    /// True if the byte at `at` belongs to it.
    pub const fn contains(self, at: PhysAddr) -> bool {
        self.start.0 <= at.0 && at.0 < self.end.0
    }

    /// True if every byte of `other` belongs to it. An empty `other` has to be inside or at an end.
    pub const fn contains_range(self, other: PhysRange) -> bool {
        self.start.0 <= other.start.0 && other.end.0 <= self.end.0
    }

    /// The bytes that both have, or `None` when there is none.
    pub fn intersect(self, other: PhysRange) -> Option<PhysRange> {
        let (start, end) = (self.start.max(other.start), self.end.min(other.end));
        (start < end).then_some(Self { start, end })
    }

    /// True if there is a byte that both have.
    pub fn overlaps(self, other: PhysRange) -> bool {
        self.intersect(other).is_some()
    }
}

/// As `/proc/iomem` does not: the end is one past the last byte.
impl fmt::Display for PhysRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.start, self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::range;
    use alloc::string::ToString;

    #[test]
    fn alignment() {
        assert_eq!(PhysAddr::new(0x1fff).align_down(4096), PhysAddr::new(0x1000));
        assert_eq!(PhysAddr::new(0x1001).align_up(4096), Some(PhysAddr::new(0x2000)));
        assert_eq!(PhysAddr::new(0x1000).align_up(4096), Some(PhysAddr::new(0x1000)));
        assert_eq!(PhysAddr::new(u64::MAX).align_up(4096), None);
        assert!(PhysAddr::new(0x20_0000).is_aligned(2 << 20));
        assert!(!PhysAddr::new(0x10_0000).is_aligned(2 << 20));
    }

    #[test]
    fn ranges_neither_wrap_nor_run_backwards() {
        let top = PhysAddr::new(u64::MAX);
        assert_eq!(PhysRange::new(top, 1), Err(RangeError::Wraps { start: top, length: 1 }));
        assert!(PhysRange::new(top, 0).is_ok());
        assert!(PhysRange::from_bounds(top, PhysAddr::new(0)).is_err());
    }

    #[test]
    fn touching_is_not_overlapping_and_nothing_overlaps_an_empty_range() {
        assert!(!range(0, 0x1000).overlaps(range(0x1000, 0x2000)));
        assert!(range(0, 0x1001).overlaps(range(0x1000, 0x2000)));
        assert!(!range(0, 0x1000).overlaps(range(0x800, 0x800)));
        assert_eq!(range(0, 8).intersect(range(4, 12)), Some(range(4, 8)));
        assert!(range(0, 8).contains(PhysAddr::new(7)) && !range(0, 8).contains(PhysAddr::new(8)));
        assert!(
            range(0, 8).contains_range(range(8, 8)) && !range(0, 8).contains_range(range(7, 9))
        );
    }

    #[test]
    fn display_is_hexadecimal() {
        assert_eq!(range(0x100_0000, 0x300_0000).to_string(), "0x1000000..0x3000000");
        assert_eq!(DumpOffset::new(4096).to_string(), "0x1000");
    }
}
