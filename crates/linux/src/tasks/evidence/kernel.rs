//! The kernel that is searched.

use crate::VirtualMemory;
use crate::tasks::word;
use vmcore::ReadPhys;

/// The memory in question.
#[derive(Debug)]
pub(super) struct Kernel<'a, M> {
    pub(super) memory: VirtualMemory<'a, M>,
    pub(super) machine: u16,
}

impl<M> Clone for Kernel<'_, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for Kernel<'_, M> {}

impl<M: ReadPhys> Kernel<'_, M> {
    /// Length of a pointer in bytes.
    pub(super) const fn word(&self) -> usize {
        word(self.machine)
    }
}
