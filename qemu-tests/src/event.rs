//! An event while the guest lives.

use std::time::Instant;

/// One thing that has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A line on the console.
    Line(Line),
    /// The console is closed: QEMU has ended or is about to.
    ConsoleClosed,
    /// The VM has stopped under gdb.
    Stopped(Stop),
}

/// One line of the console, without its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Time at which its last byte reached the host.
    pub at: Instant,
    /// The text; bytes that are not UTF-8 are replaced.
    pub text: String,
}

/// The VM has stopped under gdb.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// Time at which the host learned of it.
    pub at: Instant,
    /// gdb's record, e.g. `reason="breakpoint-hit",…,addr="0x…"`.
    pub record: String,
}

impl Stop {
    /// The address of the instruction that comes next, if gdb knows one.
    pub fn address(&self) -> Option<u64> {
        let (_, rest) = self.record.split_once("addr=\"0x")?;
        u64::from_str_radix(rest.split('"').next()?, 16).ok()
    }

    /// True when a breakpoint stopped the VM, rather than its end.
    pub fn is_breakpoint(&self) -> bool {
        self.record.contains("reason=\"breakpoint-hit\"") || self.is_read()
    }

    /// True when a read that was waited for stopped the VM.
    pub fn is_read(&self) -> bool {
        self.record.contains("reason=\"read-watchpoint-trigger\"")
    }

    /// True when the VM is gone.
    pub fn is_end(&self) -> bool {
        self.record.contains("reason=\"exited")
    }
}
