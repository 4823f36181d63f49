//! The one way to physical memory.

use crate::{Error, PhysAddr};

/// Somebody who can read physical memory: the capture kernel's window on old memory, a file with
/// the memory of a guest, a fake.
pub trait ReadPhys {
    /// Reads `into.len()` bytes of physical memory from `at` on.
    ///
    /// # Errors
    /// [`Error::Unreadable`] or [`Error::MachineCheck`] with the first address that cannot be read;
    /// `into` then holds nothing of use.
    fn read_phys(&self, at: PhysAddr, into: &mut [u8]) -> Result<(), Error>;
}

impl<M: ReadPhys + ?Sized> ReadPhys for &M {
    fn read_phys(&self, at: PhysAddr, into: &mut [u8]) -> Result<(), Error> {
        (**self).read_phys(at, into)
    }
}
