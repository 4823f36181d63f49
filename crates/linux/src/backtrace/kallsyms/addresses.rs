//! Addresses of symbols: a binary search.

use core::ops::Range;

use crate::{Error, VirtualMemory};
use vmcore::ReadPhys;

/// Number of addresses that are read together.
pub(super) const TOGETHER: usize = 256;

/// The symbol that an address is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Located {
    /// The symbol's number, for its name.
    pub index: u32,
    /// Its virtual address.
    pub start: u64,
    /// Number of bytes to the next symbol with another address.
    pub size: u64,
}

/// Meaning of the offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// From zero on an address itself, below zero a distance (x86_64 before 6.15).
    Signed { base: u64 },
    /// A distance from a base (i386; x86_64 of 6.15 to 6.19).
    Unsigned { base: u64 },
    /// A distance from the offset's own place (7.0 and later).
    Relative,
}

impl Encoding {
    /// The address that the offset at `place` stands for.
    const fn address(self, offset: u32, place: u64) -> u64 {
        let signed = offset as i32 as i64 as u64;
        match self {
            Self::Signed { .. } if signed <= i32::MAX as u64 => signed,
            Self::Signed { base } => base.wrapping_sub(1).wrapping_sub(signed),
            Self::Unsigned { base } => base.wrapping_add(offset as u64),
            Self::Relative => place.wrapping_add(signed),
        }
    }
}

/// The addresses of all symbols, in ascending order.
#[derive(Debug)]
pub(super) struct Addresses<'a, M> {
    pub(super) memory: VirtualMemory<'a, M>,
    /// Address of the first offset.
    pub(super) start: u64,
    /// Number of symbols.
    pub(super) count: u32,
    pub(super) encoding: Encoding,
    /// Address of `_stext`: lower ones are those of per-CPU variables.
    pub(super) text: u64,
    /// Bits of an address.
    pub(super) mask: u64,
}

impl<M: ReadPhys> Addresses<'_, M> {
    /// As [`super::Kallsyms::locate`].
    pub(super) fn locate(&self, at: u64) -> Result<Option<Located>, Error> {
        let after = self.first_from(0..self.count, |address| address > at)?;
        let Some(last) = after.checked_sub(1) else { return Ok(None) };
        if after == self.count {
            return Ok(None);
        }
        let (start, end) = (self.address(last)?, self.address(after)?);
        let index = self.first_from(0..last, |address| address >= start)?;
        // Not so in a table that is not sorted.
        let is_inside = self.text <= start && start <= at && at < end;
        Ok(is_inside.then(|| Located { index, start, size: end - start }))
    }

    /// Numbers of the symbols with this address.
    pub(super) fn aliases(&self, at: u64) -> Result<Range<u32>, Error> {
        let start = self.first_from(0..self.count, |address| address >= at)?;
        let end = self.first_from(start..self.count, |address| address > at)?;
        Ok(start..end)
    }

    /// The first symbol among `range` whose address `is_from` holds for; the end of the range if
    /// there is none.
    fn first_from(&self, range: Range<u32>, is_from: impl Fn(u64) -> bool) -> Result<u32, Error> {
        let Range { start: mut low, end: mut high } = range;
        while low < high {
            let middle = low + (high - low) / 2;
            if is_from(self.address(middle)?) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        Ok(low)
    }

    /// The addresses of the symbols from `first` on, as many as there are and as have room; the
    /// number of them.
    pub(super) fn some(&self, first: u32, into: &mut [u64]) -> Result<u32, Error> {
        let mut offsets = [0; 4 * TOGETHER];
        let most = into.len().min(TOGETHER) as u32;
        let count = self.count.saturating_sub(first).min(most);
        let start = self.start.wrapping_add(4 * u64::from(first));
        let offsets = &mut offsets[..4 * count as usize];
        self.memory.read(start, offsets)?;
        for ((place, offset), address) in (start..).step_by(4).zip(offsets.chunks(4)).zip(into) {
            let offset = offset.iter().rev().fold(0, |all, byte| all << 8 | u32::from(*byte));
            *address = self.encoding.address(offset, place) & self.mask;
        }
        Ok(count)
    }

    /// The address of a symbol.
    pub(super) fn address(&self, index: u32) -> Result<u64, Error> {
        let place = self.start.wrapping_add(4 * u64::from(index));
        let offset = self.memory.value(place, 4)? as u32;
        Ok(self.encoding.address(offset, place) & self.mask)
    }
}
