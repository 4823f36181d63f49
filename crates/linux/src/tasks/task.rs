//! One task.

use core::fmt::{self, Write};

/// Values of a task's state (Linux 4.14 and later, `include/linux/sched.h`).
const TASK_REPORT: u32 = 0x7f;
const TASK_DEAD: u32 = 0x80;
const TASK_IDLE: u32 = 0x402;
const TASK_RTLOCK_WAIT: u32 = 0x1000;
/// The letters that `ps` and SysRq show, by the highest bit.
const LETTERS: &[u8; 8] = b"RSDTtXZP";

/// A task: a thread of a process, or of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Task {
    /// Address of its `task_struct`.
    pub at: u64,
    /// Its own number, zero for an idle task.
    pub pid: u32,
    /// The number of its process (`tgid`), which is that of the process's first thread.
    pub process: u32,
    /// Its name.
    pub comm: Comm,
    /// Its state as `ps` and SysRq show it: `R` running or ready, `S` and `D` asleep, `I` idle, `T`
    /// and `t` stopped, `P` parked, `X` and `Z` dead. [`None`] if it is not known.
    pub state: Option<char>,
    /// Its stack. [`None`] for a dead task that has none any more.
    pub stack: Option<Stack>,
    /// The stack pointer that it had when it last gave up its CPU (`thread.sp`). A task that ran
    /// when the kernel died had another.
    pub sp: u64,
}

/// A stack (virtual addresses).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stack {
    /// The lowest address.
    pub start: u64,
    /// One past the highest.
    pub end: u64,
}

impl Stack {
    /// The stack of `size` bytes at `start`; [`None`] at zero, or if it is not aligned.
    pub(super) fn new(start: u64, size: u64) -> Option<Self> {
        let is_stack = start != 0 && start.is_multiple_of(size.min(4096));
        is_stack.then_some(())?;
        Some(Self { start, end: start.checked_add(size)? })
    }

    /// True if the byte at `at` is in the stack.
    pub const fn contains(&self, at: u64) -> bool {
        self.start <= at && at < self.end
    }
}

/// The name of a task: it may have any bytes, up to a NUL.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Comm(pub(super) [u8; 16]);

impl Comm {
    /// The name in `task_struct.comm`.
    pub const fn new(comm: [u8; 16]) -> Self {
        Self(comm)
    }

    /// The bytes of the name.
    pub fn bytes(&self) -> &[u8] {
        self.0.split(|byte| *byte == 0).next().unwrap_or_default()
    }
}

impl fmt::Display for Comm {
    /// Writes the name, with a `?` for each byte that is not printable ASCII.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_printable = |byte: &u8| (b' '..=b'~').contains(byte);
        let letter = |byte: &u8| if is_printable(byte) { char::from(*byte) } else { '?' };
        self.bytes().iter().try_for_each(|byte| f.write_char(letter(byte)))
    }
}

impl fmt::Debug for Comm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// The letter of a state, as `task_state_index` of Linux finds it.
pub(super) fn letter(state: u32, exit: Option<u32>) -> char {
    if state == TASK_IDLE {
        return 'I';
    }
    if exit.is_none() && state & TASK_DEAD != 0 {
        return 'Z';
    }
    let waits = if state & TASK_RTLOCK_WAIT != 0 { 2 } else { 0 };
    let reported = (state | exit.unwrap_or(0) | waits) & TASK_REPORT;
    char::from(LETTERS[(u32::BITS - reported.leading_zeros()) as usize])
}
