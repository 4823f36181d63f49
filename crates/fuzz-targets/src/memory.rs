//! Memory that holds a fuzzer's bytes and, elsewhere, a pattern.

use vmcore::{Error, PhysAddr, ReadPhys};

/// Physical address of the bytes.
pub(crate) const AT: u64 = 0x200_0000;
/// One past the last byte of memory (physical).
pub(crate) const END: u64 = 1 << 36;

/// All of memory up to [`END`] can be read; from [`AT`] on it holds these bytes.
pub(crate) struct Memory<'a>(pub(crate) &'a [u8]);

impl Memory<'_> {
    fn byte(&self, at: u64) -> u8 {
        let index = at.checked_sub(AT).and_then(|index| usize::try_from(index).ok());
        let inside = index.and_then(|index| self.0.get(index));
        // Outside are zeros, as in most memory: a note area of zeros is an empty one.
        inside.copied().unwrap_or(0)
    }
}

impl ReadPhys for Memory<'_> {
    fn read_phys(&self, at: PhysAddr, into: &mut [u8]) -> Result<(), Error> {
        let end = at.get().checked_add(into.len() as u64);
        if end.is_none_or(|end| end > END) {
            return Err(Error::Unreadable { at });
        }
        for (byte, address) in into.iter_mut().zip(at.get()..) {
            *byte = self.byte(address);
        }
        Ok(())
    }
}
