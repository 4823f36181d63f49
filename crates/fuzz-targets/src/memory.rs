//! Memory that holds a fuzzer's bytes and, elsewhere, a pattern.

use vmcore::{Error, PhysAddr, ReadPhys};

/// Physical address of the bytes.
pub(crate) const AT: u64 = 0x200_0000;
/// One past the last byte of memory (physical).
pub(crate) const END: u64 = 1 << 36;

/// All of memory up to [`END`] can be read; from [`AT`] on it holds these bytes.
pub(crate) struct Memory<'a>(pub(crate) &'a [u8]);

impl ReadPhys for Memory<'_> {
    fn read_phys(&self, at: PhysAddr, into: &mut [u8]) -> Result<(), Error> {
        let end = at.get().checked_add(into.len() as u64);
        if end.is_none_or(|end| end > END) {
            return Err(Error::Unreadable { at });
        }
        // Outside are zeros, as in most memory: a note area of zeros is an empty one.
        into.fill(0);
        let skip = AT.saturating_sub(at.get());
        let from = at.get().saturating_sub(AT);
        let place = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let bytes = self.0.get(place(from)..).unwrap_or_default();
        let into = into.get_mut(place(skip)..).unwrap_or_default();
        let count = bytes.len().min(into.len());
        into[..count].copy_from_slice(&bytes[..count]);
        Ok(())
    }
}
