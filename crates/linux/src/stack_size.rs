//! Size of the dead kernel's stacks.

use vmcore::EM_386;

/// The largest stack in bytes.
pub(crate) const LARGEST_STACK: usize = 16 << 10;

/// Length and alignment of a task's stack in bytes (`THREAD_SIZE`), for this `e_machine`; stacks
/// for interrupts have no more.
pub(crate) const fn stack_size(machine: u16) -> u64 {
    if machine == EM_386 { 8 << 10 } else { LARGEST_STACK as u64 }
}
