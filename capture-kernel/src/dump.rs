//! What is to leave the machine.

use alloc::vec::Vec;
use dumpfile::Contents;
use sha2::{Digest, Sha256};
use vmcore::{Extent, View};

/// A view and what it is called on the other side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedView {
    /// 1 to 32 characters of `a-z`, `0-9` and `-`.
    pub name: &'static str,
    /// The bytes.
    pub view: View,
    /// The address of its first byte: a physical one for oldmem, a virtual one for a stack, zero where
    /// there is none.
    pub start: u64,
}

/// A dump.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dump {
    /// Tells it from every other where it is sent in frames.
    pub id: [u8; 16],
    /// What is small and precious, in the order in which it is to leave the machine: before the bulk.
    pub small: Vec<NamedView>,
    /// What was asked for; [`None`] where there is nothing, which was said.
    pub bulk: Option<NamedView>,
    /// What the bulk is.
    pub contents: Contents,
    /// Views that leave the machine only where somebody asks for them.
    pub on_request: Vec<NamedView>,
}

impl Dump {
    /// The same, with an id made of `seed` (the time, say) and of what the first kernel has left that
    /// differs from crash to crash: registers, and the time of the crash in VMCOREINFO.
    #[must_use]
    pub fn with_id(mut self, seed: u64) -> Self {
        let mut hash = Sha256::new().chain_update(seed.to_le_bytes());
        let extents = self.views().flat_map(|(named, _)| named.view.extents());
        extents.for_each(|extent| {
            if let Extent::Bytes(bytes) = extent {
                hash.update(bytes);
            }
        });
        if let Some(id) = hash.finalize().first_chunk() {
            self.id = *id;
        }
        self
    }

    /// All views, each with whether it leaves the machine without being asked for.
    pub fn views(&self) -> impl Iterator<Item = (&NamedView, bool)> {
        let pushed = self.small.iter().chain(&self.bulk).map(|view| (view, true));
        pushed.chain(self.on_request.iter().map(|view| (view, false)))
    }

    /// Length of the bulk in bytes.
    pub fn length(&self) -> u64 {
        self.bulk.as_ref().map_or(0, |bulk| bulk.view.len())
    }
}
