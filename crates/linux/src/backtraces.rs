//! Backtraces of all CPUs: the one that crashed first, and then the others.

mod cpus;
mod kernel;
mod text;

use alloc::vec::Vec;

use self::cpus::Found;
pub use self::kernel::{DeadKernel, Effort};
pub use self::text::{MOST_SHORT, MOST_WHOLE};
use crate::backtrace::{Budget, Frame, Names, Start, Trace, Trust};
use crate::{Caller, Comm, Cpus, Error};
use vmcore::ReadPhys;

/// The most CPUs of a capture kernel's backtraces.
const MOST_CPUS: usize = 256;

/// Bounds of backtraces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Most {
    /// Frames of one CPU.
    pub frames: usize,
    /// Frames of all CPUs.
    pub all_frames: usize,
    /// CPUs.
    pub cpus: usize,
    /// Functions that get a name.
    pub functions: usize,
}

impl Most {
    /// Bounds of a capture kernel. Frames take 24 KiB there, names about as much.
    pub const CAPTURE: Self =
        Self { frames: crate::MOST_FRAMES, all_frames: 1024, cpus: MOST_CPUS, functions: 512 };
    /// Bounds of a host.
    pub const HOST: Self =
        Self { frames: 256, all_frames: 1 << 20, cpus: 8192, functions: 1 << 16 };
}

/// The backtraces of all CPUs.
#[derive(Debug, Default)]
pub struct Backtraces {
    /// The CPU that crashed, and then the others by their numbers.
    pub cpus: Vec<CpuTrace>,
    /// The names of the functions.
    pub names: Names,
    /// Number of CPUs that are left out, for lack of room or time.
    pub left_out: usize,
}

/// The backtrace of a CPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuTrace {
    /// The CPU's number, if it is known.
    pub number: Option<u32>,
    /// Pid of the task that ran there.
    pub pid: u32,
    /// Its name, if it is known.
    pub comm: Option<Comm>,
    /// True for the CPU that crashed.
    pub has_crashed: bool,
    /// False for a CPU that did not save its registers. Then the frames are those of its task when
    /// it last slept, all of them guesses.
    pub has_registers: bool,
    /// Its frames.
    pub trace: Trace,
}

impl Backtraces {
    /// Reads them. `cpus` are those that saved their registers. `newest` finds the writer of the
    /// newest line of the log, and is asked if the kernel does not show which CPU crashed. The time
    /// and the names' bytes that `budget` has are the bound; at its end, the rest is left out.
    ///
    /// # Errors
    /// [`Error::NO_MEMORY`].
    pub fn read<M: ReadPhys>(
        kernel: &DeadKernel<'_, M>,
        cpus: &Cpus,
        newest: impl FnOnce() -> Option<Caller>,
        most: Most,
        budget: &mut Budget<'_>,
    ) -> Result<Self, Error> {
        let found = cpus::find(kernel, cpus, newest)?;
        let unwinder = kernel.unwinder();
        let mut backtraces = Self::default();
        let mut left = most.all_frames;
        for cpu in &found {
            let frames = most.frames.min(left);
            if backtraces.cpus.len() >= most.cpus || frames == 0 || !budget.has_time() {
                break;
            }
            let mut trace = unwinder.trace(start(cpu), frames, &mut || budget.has_time());
            left -= trace.frames.len();
            if cpu.registers.is_none() {
                trace.frames.iter_mut().for_each(|frame| frame.trust = Trust::Guess);
            }
            trace.frames.shrink_to_fit();
            backtraces.cpus.try_reserve(1).map_err(|_| Error::NO_MEMORY)?;
            backtraces.cpus.push(named(cpu, trace));
        }
        backtraces.left_out = found.len() - backtraces.cpus.len();
        drop(found);
        backtraces.names = kernel.names(backtraces.frames(), most.functions, budget);
        Ok(backtraces)
    }

    /// All frames, those of the CPU that crashed first.
    fn frames(&self) -> impl Iterator<Item = &Frame> {
        self.cpus.iter().flat_map(|cpu| &cpu.trace.frames)
    }
}

/// The start of a CPU's trace.
fn start(cpu: &Found) -> Start {
    match (cpu.registers, cpu.task) {
        (Some(saved), _) => {
            Start::Registers { ip: saved.ip, sp: saved.sp, bp: saved.bp, cs: saved.cs }
        }
        (None, task) => Start::Sleeping { sp: task.map_or(0, |task| task.sp) },
    }
}

fn named(cpu: &Found, trace: Trace) -> CpuTrace {
    CpuTrace {
        number: cpu.number,
        pid: cpu.pid,
        comm: cpu.comm,
        has_crashed: cpu.has_crashed,
        has_registers: cpu.registers.is_some(),
        trace,
    }
}

#[cfg(test)]
mod tests;
