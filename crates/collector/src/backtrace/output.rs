//! The choice of stacks, and their format.

use std::io;

use crate::Error;

/// The stacks to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stacks {
    /// Those of all CPUs, that of the CPU that crashed first.
    Cpus,
    /// That of one CPU.
    Cpu(u32),
    /// Those of all tasks.
    Tasks,
}

/// Format of backtraces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BacktraceFormat {
    /// As the kernel's own `Call Trace`.
    Text,
    /// An object of JSON for each stack, on a line of its own.
    Json,
}

/// The result of writing: a closed pipe is an early end.
pub(super) fn written(result: io::Result<()>) -> Result<(), Error> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Error::Output(error)),
        _ => Ok(()),
    }
}
