//! The frames of one stack.

use alloc::vec::Vec;

/// Most frames of a trace of the capture kernel.
pub const MOST_FRAMES: usize = 32;

/// A frame of a stack: a function that has been entered and not left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Virtual address of the next instruction of this function.
    pub at: u64,
    /// True if a call pushed this address. The call's own instruction, one byte before, then
    /// decides the function: a call may be the last instruction of one.
    pub is_return: bool,
    /// Trust in the frame.
    pub trust: Trust,
}

/// Trust in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Registers, unwind tables or frame pointers lead to it from the frame before.
    Sure,
    /// A text address on the stack. It may have been left there by a call that is over. Linux
    /// prints a `?` before it.
    Guess,
}

/// The end of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceEnd {
    /// The outermost frame of the kernel: the start of a thread, or of a CPU.
    Complete,
    /// The kernel was entered from user mode, or the CPU was there.
    User,
    /// The most frames that were asked for; there may be more.
    Most,
    /// The stack, or the unwind tables, cannot be followed further: they are damaged, or not in the
    /// dump, or the code has no unwind information.
    Lost,
}

/// The frames of one stack, innermost first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// The frames.
    pub frames: Vec<Frame>,
    /// The reason why there are no more.
    pub end: TraceEnd,
}
