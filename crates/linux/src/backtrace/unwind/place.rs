//! A place of a trace: a function, and its registers as far as they are known.

use crate::{Frame, TraceEnd, Trust};

/// A function that was entered and not left, with its registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Address of its next instruction.
    pub(super) ip: u64,
    /// Its stack pointer.
    pub(super) sp: u64,
    /// Its register bp.
    pub(super) bp: u64,
    /// True if a call pushed `ip`.
    pub(super) is_return: bool,
    /// Trust in it.
    pub(super) trust: Trust,
    /// Address of a `struct pt_regs` with its other registers.
    pub(super) registers: Option<u64>,
    /// The end of the trace, if this is the outermost place.
    pub(super) end: Option<TraceEnd>,
}

impl Place {
    /// A place with these registers, in the middle of a function.
    pub(super) const fn at(ip: u64, sp: u64, bp: u64) -> Self {
        let trust = Trust::Sure;
        Self { ip, sp, bp, is_return: false, trust, registers: None, end: None }
    }

    /// Its frame.
    pub(super) const fn frame(&self) -> Frame {
        Frame { at: self.ip, is_return: self.is_return, trust: self.trust }
    }
}

/// The result of one step of an unwinder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The caller, or the function that was interrupted.
    To(Place),
    /// There is none.
    End(TraceEnd),
}

/// Flags of a processor: always set; those that exist; virtual-8086 mode.
const FLAGS_ONE: u64 = 1 << 1;
const FLAGS_ALL: u64 = 0x003f_7fd7;
const FLAGS_VM: u64 = 1 << 17;

/// The mode that saved registers belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Kernel,
    User,
}

/// The mode by code segment and flags; [`None`] if these are no registers.
pub(super) const fn mode(cs: u64, flags: u64) -> Option<Mode> {
    if flags & FLAGS_ONE == 0 || flags & !FLAGS_ALL != 0 {
        return None;
    }
    if flags & FLAGS_VM != 0 {
        return Some(Mode::User);
    }
    // The other bits are the processor's in 64-bit kernels with FRED, and undefined in i386.
    match cs & 0xffff {
        0 => None,
        cs if cs & 3 == 3 => Some(Mode::User),
        cs if cs & 3 == 0 => Some(Mode::Kernel),
        _ => None,
    }
}
