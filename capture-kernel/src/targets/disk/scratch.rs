//! Room for two blocks: the stack has none.

use crate::driver::Error;
use crate::list;
use alloc::vec::Vec;
use dumpfile::Crc32c;
use dumpfile::disk::BLOCK;
use vmcore::{DumpOffset, ReadPhys, View};

/// Two blocks of heap.
pub(super) struct Scratch(Vec<u8>);

impl Scratch {
    /// # Errors
    /// [`Error::NoMemory`].
    pub(super) fn new() -> Result<Self, Error> {
        list::filled(2 * BLOCK, 0).map(Self)
    }

    /// Both blocks.
    pub(super) fn both(&mut self) -> &mut [u8] {
        &mut self.0
    }

    /// The first one.
    pub(super) fn one(&mut self) -> &mut [u8] {
        &mut self.0[..BLOCK]
    }

    /// CRC-32C of a part of a view, if all of it can be read.
    pub(super) fn checksum(
        &mut self,
        view: &dyn View,
        start: u64,
        end: u64,
        memory: &dyn ReadPhys,
    ) -> Option<u32> {
        self.add_to(Crc32c::new(), view, start, end, memory).map(Crc32c::finish)
    }

    /// Adds a part of a view to a checksum, if all of it can be read. After the view's end are
    /// zeros.
    pub(super) fn add_to(
        &mut self,
        mut crc: Crc32c,
        view: &dyn View,
        start: u64,
        end: u64,
        memory: &dyn ReadPhys,
    ) -> Option<Crc32c> {
        let (mut at, bytes) = (start, self.both());
        while at < end {
            let room = (end - at).min(bytes.len() as u64) as usize;
            let part = &mut bytes[..room];
            let read = view.read_at(DumpOffset::new(at), part, memory).ok()?;
            part[read..].fill(0);
            crc.update(part);
            at += room as u64;
        }
        Some(crc)
    }
}
