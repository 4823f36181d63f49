//! Registers of a controller in memory.

use alloc::boxed::Box;

/// Little-endian registers in a memory BAR. Offsets are bytes and multiples of four. A register of
/// 64 bits is two accesses, the low half first.
pub trait Registers {
    /// The register at `offset`; all ones outside of the BAR, as where no device answers.
    fn read(&self, offset: usize) -> u32;
    /// Writes the register at `offset`; nothing outside of the BAR.
    fn write(&mut self, offset: usize, value: u32);
    /// Length of the registers in bytes.
    fn length(&self) -> usize;
}

impl<R: Registers + ?Sized> Registers for Box<R> {
    fn read(&self, offset: usize) -> u32 {
        (**self).read(offset)
    }

    fn write(&mut self, offset: usize, value: u32) {
        (**self).write(offset, value);
    }

    fn length(&self) -> usize {
        (**self).length()
    }
}
