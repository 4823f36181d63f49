//! Devices whose answers an input bends.

use std::cell::Cell;

use capture_kernel::Clock;

/// A clock on which every look costs a millisecond.
#[derive(Default)]
pub(crate) struct Looks(Cell<u64>);

impl Looks {
    /// Number of looks so far.
    pub(crate) const fn looks(&self) -> u64 {
        self.0.get()
    }
}

impl Clock for Looks {
    fn milliseconds(&self) -> u64 {
        self.0.set(self.0.get() + 1);
        self.0.get()
    }
}

/// The rest of the input. It bends a device's answers; nothing is bent at its end.
pub(crate) struct Bends<'i>(&'i [u8]);

impl<'i> Bends<'i> {
    pub(crate) const fn new(input: &'i [u8]) -> Self {
        Self(input)
    }

    /// The next bytes; zeros behind the end.
    pub(crate) fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        let count = N.min(self.0.len());
        bytes[..count].copy_from_slice(&self.0[..count]);
        self.0 = &self.0[count..];
        bytes
    }

    /// One answer in four or so is bent.
    pub(crate) fn bends(&mut self) -> bool {
        self.take::<1>()[0] & 3 == 3
    }

    /// The word, or another one.
    pub(crate) fn word(&mut self, honest: u32) -> u32 {
        if self.bends() { honest ^ u32::from_le_bytes(self.take()) } else { honest }
    }

    /// Changes some of these bytes.
    pub(crate) fn change(&mut self, bytes: &mut [u8]) {
        while self.bends() {
            let [low, high, value] = self.take();
            let at = usize::from(u16::from_le_bytes([low, high])) % bytes.len();
            bytes[at] = value;
        }
    }
}
