//! A ring of the kernel: `list_head`s, each of which points to the next and to the one before.

use crate::VirtualMemory;
use vmcore::ReadPhys;

/// Walks a ring from its head on. Each `list_head` must point back to the one before it; so no
/// walk can run in circles that do not pass the head.
#[derive(Debug)]
pub(super) struct Ring<'a, M> {
    memory: VirtualMemory<'a, M>,
    head: u64,
    /// Length of a pointer in bytes.
    word: usize,
    /// The `list_head` found last; [`None`] at the end.
    last: Option<u64>,
    /// True if the ring is followed against its direction.
    is_backwards: bool,
    /// True if the head was reached.
    is_whole: bool,
}

impl<'a, M: ReadPhys> Ring<'a, M> {
    /// The ring with the `list_head` at `head`.
    pub(super) const fn new(memory: VirtualMemory<'a, M>, head: u64, word: usize) -> Self {
        Self { memory, head, word, last: Some(head), is_backwards: false, is_whole: false }
    }

    /// The same from its end to its start.
    pub(super) const fn backwards(self) -> Self {
        Self { is_backwards: true, ..self }
    }

    /// True once the walk has come back to the head.
    pub(super) const fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// The address of the next `list_head`, if it points back here.
    fn step(&self, from: u64) -> Option<u64> {
        let (next, prev) = match self.is_backwards {
            false => (0, self.word as u64),
            true => (self.word as u64, 0),
        };
        let to = self.memory.value(from.checked_add(next)?, self.word).ok()?;
        let back = self.memory.value(to.checked_add(prev)?, self.word).ok()?;
        (back == from && to.is_multiple_of(self.word as u64)).then_some(to)
    }
}

impl<M: ReadPhys> Iterator for Ring<'_, M> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let from = self.last.take()?;
        let to = self.step(from)?;
        if to == self.head {
            self.is_whole = true;
            return None;
        }
        self.last = Some(to);
        Some(to)
    }
}
