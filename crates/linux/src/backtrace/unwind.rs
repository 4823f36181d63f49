//! Unwinder: the frames of a stack, from registers or from the stack pointer of a sleeping task.
//!
//! Each step leads from a function to its caller, or to the code that it interrupted: on x86_64 by
//! the kernel's unwind tables (ORC), on i386 by frame pointers. A return address must be text, and
//! a call must be before it; otherwise the trace is lost. Text addresses on the rest of the stack
//! are then added as guesses.

mod code;
mod frame_pointers;
mod layout;
mod orc;
mod place;
mod stretches;
mod table;

use alloc::vec::Vec;

use self::code::{Before, Code};
use self::orc::Orc;
use self::place::{Place, Step};
use self::stretches::Stretches;
use super::modules::Modules;
use super::symbols::{Symbol, Symbols};
use super::trace::{Frame, Trace, TraceEnd, Trust};
use crate::VirtualMemory;
use crate::stack_size::stack_size;
use handoff::layout::PAGE_SIZE;
use vmcore::{EM_386, EM_X86_64, ReadPhys};

/// Number of bytes of a stack that are searched at once.
const TOGETHER: usize = 128;

/// The start of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The registers of a CPU, as its note or a `struct pt_regs` has them.
    Registers {
        /// Address of the next instruction.
        ip: u64,
        /// Stack pointer.
        sp: u64,
        /// Register bp.
        bp: u64,
        /// Code segment: its lowest two bits are the privilege level.
        cs: u64,
    },
    /// A task that no CPU runs.
    Sleeping {
        /// Its stack pointer (`task_struct.thread.sp`).
        sp: u64,
    },
}

/// An unwinder of one dead kernel.
#[derive(Debug)]
pub struct Unwinder<'a, M> {
    code: Code<'a, M>,
    method: Method,
}

/// The way from a function to its caller.
#[derive(Debug)]
enum Method {
    /// Unwind tables: x86_64.
    Tables(Orc),
    /// Frame pointers: i386.
    FramePointers,
    /// None that is known.
    Unknown,
}

impl<'a, M: ReadPhys> Unwinder<'a, M> {
    /// The unwinder of a kernel for this `e_machine`. Without unwind tables that it knows (x86_64)
    /// or frame pointers (i386), all but the first frame of a trace are guesses; this is logged.
    pub fn new(
        memory: VirtualMemory<'a, M>,
        machine: u16,
        vmcoreinfo: &[u8],
        symbols: &Symbols,
        modules: &'a Modules,
    ) -> Self {
        let range = |start, end| match (symbols.get(start), symbols.get(end)) {
            (Some(start), Some(end)) => start..end,
            _ => 0..0,
        };
        let kernel = range(Symbol::Text, Symbol::TextEnd);
        let init = range(Symbol::InitText, Symbol::InitTextEnd);
        let code = Code { memory, is_64: machine != EM_386, kernel, init, modules };
        let function = symbols.get(Symbol::CrashKexec);
        let method = if code.is_64 {
            Orc::find(&code, vmcoreinfo, symbols).map_or(Method::Unknown, Method::Tables)
        } else if frame_pointers::are_there(&code, function) {
            Method::FramePointers
        } else {
            Method::Unknown
        };
        Self { code, method }
    }

    /// The frames from `start` on, `most` at most. `go_on` is called before each frame, and before
    /// each search for guesses; when it returns false, the trace ends there.
    pub fn trace(&self, start: Start, most: usize, go_on: &mut dyn FnMut() -> bool) -> Trace {
        let mut trace = Trace { frames: Vec::new(), end: TraceEnd::Lost };
        let mut stretches = Stretches::default();
        let (mut from, mut step) = self.first(start);
        loop {
            match step {
                Some(Step::To(place)) if stretches.add(place.sp) => {
                    if !go_on() || !add(&mut trace.frames, place.frame(), most) {
                        trace.end = TraceEnd::Most;
                        return trace;
                    }
                    from = place.sp;
                    step = self.step(&place);
                }
                Some(Step::End(end)) => {
                    trace.end = end;
                    return trace;
                }
                _ => break,
            }
        }
        self.guess(from, &mut trace.frames, most, go_on);
        trace
    }

    /// The stack pointer of the first place, and that place.
    fn first(&self, start: Start) -> (u64, Option<Step>) {
        match start {
            Start::Registers { sp, cs, .. } if cs & 3 == 3 => (sp, Some(Step::End(TraceEnd::User))),
            Start::Registers { ip, sp, bp, .. } => {
                let [ip, sp, bp] = [ip, sp, bp].map(|value| value & self.code.highest());
                (sp, Some(Step::To(Place::at(ip, sp, bp))))
            }
            Start::Sleeping { sp } => (sp, self.sleeping(sp).map(Step::To)),
        }
    }

    fn step(&self, place: &Place) -> Option<Step> {
        match &self.method {
            Method::Tables(orc) => orc.step(&self.code, place),
            Method::FramePointers => frame_pointers::step(&self.code, place),
            Method::Unknown => None,
        }
    }

    /// The place in which a task sleeps. It has called `__switch_to_asm`, which pushed its
    /// registers (`struct inactive_task_frame`). [`None`] if the stack does not show that: perhaps
    /// the task was running again.
    fn sleeping(&self, sp: u64) -> Option<Place> {
        // Number of words below bp: of Linux 5.2 (i386) or 5.5 (x86_64) and later, and of older
        // versions, which push the flags there, or do not yet.
        let below = if self.code.is_64 { [5, 6] } else { [4, 3] };
        let word = self.code.word();
        let place = |words: u64| {
            let at = sp.checked_add(words * word)?;
            let next = at.checked_add(word)?;
            Some(Place::at(self.code.read(next)?, next.checked_add(word)?, self.code.read(at)?))
        };
        let called = |place: &Place| self.code.is_text(place.ip) && self.is_switch(place.ip);
        if let Some(place) = below.into_iter().filter_map(place).find(called) {
            return Some(Place { is_return: true, ..place });
        }
        // A task that has not run yet starts in `ret_from_fork`, which nobody called.
        let is_first = |place: &Place| {
            self.code.is_text(place.ip) && matches!(self.step(place), Some(Step::End(_)))
        };
        place(below[0]).filter(is_first)
    }

    /// True if the call before `at` is one of `__switch_to_asm`.
    fn is_switch(&self, at: u64) -> bool {
        // It pushes bp and bx first, or after an instruction that marks the start.
        const ENDBR: [u8; 4] = [0xf3, 0x0f, 0x1e, 0xfa];
        const PUSHES: [u8; 2] = [0x55, 0x53];
        let mut code = [0; 6];
        match self.code.before(at) {
            Before::Direct(target) if self.code.memory.read(target, &mut code).is_ok() => {
                code.strip_prefix(&ENDBR).unwrap_or(&code).starts_with(&PUSHES)
            }
            _ => false,
        }
    }

    /// Adds return addresses between `from` and the end of its stack as guesses. A stack that
    /// overflowed begins at the next page.
    fn guess(
        &self,
        from: u64,
        frames: &mut Vec<Frame>,
        most: usize,
        go_on: &mut dyn FnMut() -> bool,
    ) {
        let machine = if self.code.is_64 { EM_X86_64 } else { EM_386 };
        let (word, size) = (self.code.word(), stack_size(machine));
        let is_there = self.code.memory.value(from, 1).is_ok();
        let alignment = if is_there { word } else { PAGE_SIZE };
        let Some(mut next) = from.checked_next_multiple_of(alignment) else { return };
        let last = if is_there { from } else { next | 1 };
        let Some(end) = last.checked_next_multiple_of(size) else { return };
        let mut bytes = [0; TOGETHER];
        while next < end && go_on() {
            let length = ((end - next) as usize).min(TOGETHER - next as usize % TOGETHER);
            let piece = &mut bytes[..length];
            if self.code.memory.read(next, piece).is_err() {
                return;
            }
            for bytes in piece.chunks_exact(word as usize) {
                let at = bytes.iter().rev().fold(0, |at, byte| at << 8 | u64::from(*byte));
                let frame = Frame { at, is_return: true, trust: Trust::Guess };
                let is_likely = self.code.is_text(at) && self.code.before(at).is_call();
                if is_likely && !add(frames, frame, most) {
                    return;
                }
            }
            next += length as u64;
        }
    }
}

/// Adds a frame, if it is not more than `most` and there is room.
fn add(frames: &mut Vec<Frame>, frame: Frame, most: usize) -> bool {
    let has_room = frames.len() < most && frames.try_reserve(1).is_ok();
    if has_room {
        frames.push(frame);
    }
    has_room
}

#[cfg(test)]
mod damage_tests;
#[cfg(test)]
mod fake;
#[cfg(test)]
mod frame_tests;
#[cfg(test)]
mod orc_tests;
