//! Backtraces of all CPUs: the one that crashed first, and then the others.

mod cpu_trace;
mod cpus;
mod kernel;
mod text;

use alloc::vec::Vec;

pub use self::cpu_trace::CpuTrace;
use self::cpus::Found;
pub use self::kernel::{DeadKernel, Effort};
pub use self::text::{MOST_SHORT, MOST_WHOLE};
use crate::backtrace::{Budget, Frame, MostNames, Names, Start, Trace, Trust, Unwinder};
use crate::{Caller, Cpus, Error, SavedCpu};
use vmcore::ReadPhys;

/// The most CPUs of a capture kernel's backtraces.
const MOST_CPUS: usize = 256;
/// Frames of a CPU that has few.
const FEW_FRAMES: usize = 8;
/// Bytes of heap that all of it may take in a capture kernel. Pages that are kept, and names that
/// are read, take half of it while [`Backtraces::read`] runs.
const HEAP: usize = 48 << 10;

/// Bounds of backtraces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Most {
    /// Frames of one CPU.
    pub frames: usize,
    /// Frames of all CPUs.
    pub all_frames: usize,
    /// CPUs.
    pub cpus: usize,
    /// Bytes of heap that CPUs and their frames take.
    pub traces: usize,
    /// Bytes of heap that are kept free for names while traces are read.
    pub spare: usize,
    /// Functions that get a name, and bytes of heap that traces and names take together.
    pub names: MostNames,
}

impl Most {
    /// Bounds of a capture kernel. 32 CPUs with all their frames have room in its 32-bit program.
    pub const CAPTURE: Self = Self {
        frames: crate::MOST_FRAMES,
        all_frames: 1024,
        cpus: MOST_CPUS,
        traces: 14 << 10,
        spare: 8 << 10,
        names: MostNames { functions: 512, heap: 20 << 10 },
    };
    /// Bounds of a host.
    pub const HOST: Self = Self {
        frames: 256,
        all_frames: 1 << 20,
        cpus: 8192,
        traces: usize::MAX,
        spare: 0,
        names: MostNames::HOST,
    };

    /// Number of CPUs for which a list has room, if the last ones have few frames.
    fn room(&self, cpus: usize) -> usize {
        let each = size_of::<CpuTrace>() + FEW_FRAMES * size_of::<Frame>();
        cpus.min(self.cpus).min(self.traces / each)
    }
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

impl Backtraces {
    /// Reads them. `cpus` are those that saved their registers. `newest` finds the writer of the
    /// newest line of the log, and is asked if the kernel does not show which CPU crashed. The time
    /// and the names' bytes that `budget` has are the bound; at its end, or where the heap has no
    /// more room, the rest is left out.
    ///
    /// # Errors
    /// [`Error::NO_MEMORY`] if there is no room for one CPU.
    pub fn read<M: ReadPhys>(
        kernel: &DeadKernel<'_, M>,
        cpus: &Cpus,
        newest: impl FnOnce() -> Option<Caller>,
        most: Most,
        budget: &mut Budget<'_>,
    ) -> Result<Self, Error> {
        let (found, left_out) = cpus::find(kernel, cpus, newest)?;
        let unwinder = kernel.unwinder();
        let mut backtraces = Self::default();
        let mut spare = Vec::new();
        backtraces.cpus.try_reserve_exact(1).map_err(|_| Error::NO_MEMORY)?;
        let (mut frames, mut heap) = (most.all_frames, most.traces);
        let room = most.room(found.len());
        heap = heap.saturating_sub(room * size_of::<CpuTrace>());
        for cpu in found.iter().take(room) {
            // Names need some room after the traces. Without it, the CPU that crashed is alone.
            if backtraces.cpus.len() == 1 {
                let Ok(bytes) = vmcore::zeros(most.spare) else { break };
                spare = bytes;
            }
            let more = room - backtraces.cpus.len();
            if !backtraces.cpus.is_empty() && backtraces.cpus.try_reserve_exact(more).is_err() {
                break;
            }
            let most = most.frames.min(frames);
            if most == 0 || !budget.has_time() {
                break;
            }
            let cpu = traced(kernel, &unwinder, (cpu, cpu.registers(cpus)), most, budget);
            let Some(left) = heap.checked_sub(cpu.heap()) else { break };
            (frames, heap) = (frames - cpu.trace.frames.len(), left);
            backtraces.cpus.push(cpu);
        }
        backtraces.left_out = left_out + found.len() - backtraces.cpus.len();
        drop((found, spare));
        if let Some(tasks) = &kernel.tasks {
            cpus::add_names(tasks, &mut backtraces.cpus);
        }
        let heap = most.names.heap.saturating_sub(backtraces.heap());
        let names = MostNames { heap, ..most.names };
        backtraces.names = kernel.names(backtraces.frames(), names, budget);
        Ok(backtraces)
    }

    /// All frames, those of the CPU that crashed first.
    fn frames(&self) -> impl Iterator<Item = &Frame> + Clone {
        self.cpus.iter().flat_map(|cpu| &cpu.trace.frames)
    }

    /// Bytes of heap that they take.
    fn heap(&self) -> usize {
        let frames = self.cpus.iter().map(CpuTrace::heap).sum::<usize>();
        self.cpus.capacity() * size_of::<CpuTrace>() + frames + self.names.heap()
    }

    /// The most bytes of the whole text of a capture kernel: [`MOST_WHOLE`], or as many as have
    /// room in its heap beside the backtraces themselves.
    pub fn most_whole(&self) -> usize {
        MOST_WHOLE.min(HEAP.saturating_sub(self.heap()))
    }
}

/// A CPU with its trace, from the registers that it saved or from its task.
fn traced<M: ReadPhys>(
    kernel: &DeadKernel<'_, M>,
    unwinder: &Unwinder<'_, M>,
    (cpu, registers): (&Found, Option<SavedCpu>),
    most: usize,
    budget: &mut Budget<'_>,
) -> CpuTrace {
    let task = cpu.task(kernel.tasks.as_ref());
    let start = match registers {
        Some(SavedCpu { ip, sp, bp, cs, .. }) => Start::Registers { ip, sp, bp, cs },
        None => Start::Sleeping { sp: task.map_or(0, |task| task.sp) },
    };
    let trace = unwinder.trace(start, most, &mut || budget.has_time());
    let (comm, has_registers) = (task.map(|task| task.comm), registers.is_some());
    let Found { number, pid, has_crashed, .. } = *cpu;
    CpuTrace { number, pid, comm, has_crashed, has_registers, trace: fitted(trace, has_registers) }
}

/// The trace in as little room as it needs, if the heap has that. All of it are guesses of a CPU
/// that has not saved its registers.
fn fitted(mut trace: Trace, has_registers: bool) -> Trace {
    let mut frames = Vec::new();
    if frames.try_reserve_exact(trace.frames.len()).is_ok() {
        frames.extend_from_slice(&trace.frames);
        trace.frames = frames;
    }
    if !has_registers {
        trace.frames.iter_mut().for_each(|frame| frame.trust = Trust::Guess);
    }
    trace
}

#[cfg(test)]
mod tests;
