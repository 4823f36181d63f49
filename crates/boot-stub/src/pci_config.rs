//! PCI configuration space by mechanism #1: two I/O ports. (PCI 3.0, 3.2.2.3.2)

#![expect(unsafe_code, reason = "port I/O")]

use x86::io;

const ADDRESS: u16 = 0xcf8;
const DATA: u16 = 0xcfc;

/// A function of a device on a bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Function {
    /// Number of the bus.
    pub bus: u8,
    /// Number of the device, below 32.
    pub device: u8,
    /// Number of the function, below 8.
    pub function: u8,
}

impl Function {
    fn select(self, offset: u8) {
        let address = 1 << 31
            | u32::from(self.bus) << 16
            | u32::from(self.device & 31) << 11
            | u32::from(self.function & 7) << 8
            | u32::from(offset & 0xfc);
        // SAFETY: selects a configuration register, nothing more.
        unsafe { io::outl(ADDRESS, address) }
    }

    /// The four bytes at `offset`, which is cut to a multiple of four; all ones where nothing is.
    pub fn read(self, offset: u8) -> u32 {
        self.select(offset);
        // SAFETY: reading configuration space has no effect on memory.
        unsafe { io::inl(DATA) }
    }

    /// Writes them.
    ///
    /// # Safety
    /// The device may follow its orders, for instance write to memory.
    pub unsafe fn write(self, offset: u8, data: u32) {
        self.select(offset);
        // SAFETY: the caller vouches for the effect.
        unsafe { io::outl(DATA, data) }
    }
}
