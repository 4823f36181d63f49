//! What is to leave the machine.

use alloc::vec::Vec;
use dumpfile::Contents;
use vmcore::View;

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
    /// Length of the bulk in bytes.
    pub fn length(&self) -> u64 {
        self.bulk.as_ref().map_or(0, |bulk| bulk.view.len())
    }
}
