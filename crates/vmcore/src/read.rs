//! The one way to physical memory.

use crate::{Error, PhysAddr, RangeError};

/// A reader of physical memory: the capture kernel's window on old memory, a file with the memory
/// of a guest, a fake.
pub trait ReadPhys {
    /// Reads `into.len()` bytes of physical memory from `at` on.
    ///
    /// # Errors
    /// [`Error::Unreadable`] or [`Error::MachineCheck`] with the first address that cannot be read;
    /// `into` then holds nothing of use.
    fn read_phys(&self, at: PhysAddr, into: &mut [u8]) -> Result<(), Error>;

    /// True if the `length` bytes from `at` on are zero. All of them can be read, even if the first
    /// are not zero: a device that is then sent there will not fail.
    ///
    /// # Errors
    /// As [`Self::read_phys`].
    fn is_zero(&self, at: PhysAddr, length: u64) -> Result<bool, Error> {
        let (mut bytes, mut done, mut zero) = ([0; 256], 0, true);
        while done < length {
            let count = (length - done).min(bytes.len() as u64);
            let next = at.checked_add(done).ok_or(RangeError::Wraps { start: at, length })?;
            let piece = &mut bytes[..count as usize];
            self.read_phys(next, piece)?;
            zero &= piece.iter().all(|byte| *byte == 0);
            done += count;
        }
        Ok(zero)
    }
}

impl<M: ReadPhys + ?Sized> ReadPhys for &M {
    fn read_phys(&self, at: PhysAddr, into: &mut [u8]) -> Result<(), Error> {
        (**self).read_phys(at, into)
    }

    fn is_zero(&self, at: PhysAddr, length: u64) -> Result<bool, Error> {
        (**self).is_zero(at, length)
    }
}
