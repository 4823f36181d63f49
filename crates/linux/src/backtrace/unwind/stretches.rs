//! The parts of stacks that a trace went through.

use crate::stack_size::LARGEST_STACK;

/// Most parts: a task's stack, those of interrupts and of exceptions, and some more.
const MOST: usize = 8;

/// Stretches of stack, each with the lowest and the highest stack pointer of frames in it. A kernel
/// leaves a stack for another one, but never returns to one before it has left the other.
///
/// Within a stretch, the stack pointer rises with each frame; so no trace is endless.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stretches {
    list: [(u64, u64); MOST],
    count: usize,
}

impl Stretches {
    /// Adds the stack pointer of the next frame. False if it cannot be there.
    pub(super) fn add(&mut self, sp: u64) -> bool {
        let (before, rest) = self.list.split_at_mut(self.count);
        if before.iter().any(|(first, last)| (*first..=*last).contains(&sp)) {
            return false;
        }
        if let Some((_, last)) = before.last_mut()
            && let Some(step) = sp.checked_sub(*last)
            && step <= LARGEST_STACK as u64
        {
            *last = sp;
            return true;
        }
        let Some(next) = rest.first_mut() else { return false };
        *next = (sp, sp);
        self.count += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_is_left_once() {
        let mut stretches = Stretches::default();
        let (interrupts, task) = (0xffff_c900_0001_3f00, 0xffff_c900_0000_7c00);
        for sp in [interrupts, interrupts + 0x48, task, task + 0x10, task + 0x300] {
            assert!(stretches.add(sp), "{sp:#x}");
        }
        for sp in [task, task + 0x11, task + 0x300, interrupts + 8, interrupts] {
            assert!(!stretches.add(sp), "{sp:#x}");
        }
        // A jump to a lower place on the same stack is a stretch of its own, as often as there is
        // room for one.
        for number in 1..=6 {
            assert!(stretches.add(task - 0x100 * number), "{number}");
        }
        assert!(!stretches.add(task - 0x1000));
        assert!(stretches.add(task - 0x100 * 6 + 8));
    }
}
