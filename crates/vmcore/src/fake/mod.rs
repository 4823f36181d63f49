//! Memory of a machine that never was, and shorthands for tests.

#[cfg(feature = "fake")]
mod log;

#[cfg(feature = "fake")]
pub use self::log::logged;

use alloc::vec::Vec;

use crate::{Error, PhysAddr, PhysRange, ReadPhys};

/// A few pieces of memory with nothing between them.
#[derive(Default)]
pub struct FakeMemory {
    /// Address and bytes of each piece.
    pub pieces: Vec<(u64, Vec<u8>)>,
}

impl FakeMemory {
    /// Memory that has `bytes` at `at` and nothing else.
    pub fn with(at: u64, bytes: impl Into<Vec<u8>>) -> Self {
        Self::default().and(at, bytes)
    }

    /// The same with `bytes` at `at` as well. Later pieces hide earlier ones.
    pub fn and(mut self, at: u64, bytes: impl Into<Vec<u8>>) -> Self {
        self.pieces.insert(0, (at, bytes.into()));
        self
    }

    fn byte(&self, at: u64) -> Option<u8> {
        self.pieces.iter().find_map(|(start, bytes)| {
            bytes.get(usize::try_from(at.checked_sub(*start)?).ok()?).copied()
        })
    }
}

impl ReadPhys for FakeMemory {
    fn read_phys(&self, at: PhysAddr, into: &mut [u8]) -> Result<(), Error> {
        let mut next = at.get();
        for byte in into {
            *byte = self.byte(next).ok_or(Error::Unreadable { at: PhysAddr::new(next) })?;
            next = next.wrapping_add(1);
        }
        Ok(())
    }
}

/// The bytes from `start` up to `end`.
pub fn range(start: u64, end: u64) -> PhysRange {
    PhysRange::from_bounds(PhysAddr::new(start), PhysAddr::new(end)).expect("a range of a test")
}

/// A note with its padding, as the ELF specification 1.2 lays it out. `name` comes with its NUL.
pub fn note(name: &[u8], kind: u32, desc: &[u8]) -> Vec<u8> {
    let words = [name.len() as u32, desc.len() as u32, kind];
    let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    for part in [name, desc] {
        bytes.extend(part);
        while !bytes.len().is_multiple_of(4) {
            bytes.push(0);
        }
    }
    bytes
}
