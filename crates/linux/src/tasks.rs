//! Tasks of a dead Linux: processes, their threads, and the task that each CPU ran.
//!
//! ```text
//! init_task.tasks ⇄ process ⇄ process ⇄ … (a ring)      process.thread_node ⇄ thread ⇄ … (a ring)
//! ```
//!
//! Offsets come from lines of VMCOREINFO that a loader adds ([`TaskLayout`]). Without them, memory
//! itself has the evidence: [`Tasks::by_evidence`].

mod evidence;
mod layout;
mod ring;
mod task;

#[cfg(test)]
mod evidence_tests;
#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;

use crate::stack_size::stack_size;
use crate::{Error, Symbol, Symbols, VirtualMemory};
use vmcore::{EM_386, ReadPhys};

pub use layout::TaskLayout;
use ring::Ring;
pub use task::{Comm, Stack, Task};

/// The lowest bytes of each stack (Linux, `STACK_END_MAGIC`).
const STACK_END: u64 = 0x57ac_6e9d;
/// Most CPUs that a Linux/x86 can have (`CONFIG_NR_CPUS`).
const MOST_CPUS: u32 = 8192;
/// Most threads of one process, besides the caller's bound: those of a damaged list are fewer.
const MOST_THREADS: usize = 1 << 20;

/// The tasks of a dead Linux.
#[derive(Debug)]
pub struct Tasks<'a, M> {
    memory: VirtualMemory<'a, M>,
    layout: TaskLayout,
    symbols: Symbols,
    init_task: u64,
    machine: u16,
}

/// A list of tasks that has been followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TaskList {
    /// Number of tasks.
    pub tasks: usize,
    /// True if every list led back to its start.
    pub is_whole: bool,
}

impl<'a, M: ReadPhys> Tasks<'a, M> {
    /// The tasks of a kernel whose VMCOREINFO has the offsets ([`TaskLayout::parse`]).
    ///
    /// # Errors
    /// [`Error::NoTasks`] if an offset or the symbol `init_task` is not known.
    pub fn find(
        memory: VirtualMemory<'a, M>,
        vmcoreinfo: &[u8],
        symbols: &Symbols,
        machine: u16,
    ) -> Result<Self, Error> {
        let layout = TaskLayout::parse(vmcoreinfo)?;
        let init_task = symbols.get(Symbol::InitTask);
        let init_task = init_task.ok_or(Error::NoTasks { why: "no symbol init_task" })?;
        Ok(Self { memory, layout, symbols: *symbols, init_task, machine })
    }

    /// Offsets of the fields.
    pub const fn layout(&self) -> &TaskLayout {
        &self.layout
    }

    /// Address of `init_task`.
    pub const fn init_task(&self) -> u64 {
        self.init_task
    }

    /// Calls `each` with each task but the idle ones, in the kernel's order: each process, and
    /// after it its other threads. It ends after `most` tasks, or when `each` returns false.
    ///
    /// If the ring of processes is damaged, the processes before the damage come first, and then
    /// those after it, the last one first.
    pub fn each(&self, most: usize, each: &mut dyn FnMut(&Task) -> bool) -> TaskList {
        let mut list = TaskList { tasks: 0, is_whole: true };
        let Some(head) = self.init_task.checked_add(self.layout.tasks) else {
            return TaskList::default();
        };
        let mut last = None;
        let mut processes = self.ring(head);
        for at in processes.by_ref() {
            last = Some(at);
            if !self.process(at - self.layout.tasks, most, &mut list, each) {
                return TaskList { is_whole: false, ..list };
            }
        }
        if !processes.is_whole() {
            list.is_whole = false;
            for at in self.ring(head).backwards().take_while(|at| Some(*at) != last) {
                if !self.process(at - self.layout.tasks, most, &mut list, each) {
                    break;
                }
            }
        }
        list
    }

    /// The process at `at` and its threads. False at the end.
    fn process(
        &self,
        at: u64,
        most: usize,
        list: &mut TaskList,
        each: &mut dyn FnMut(&Task) -> bool,
    ) -> bool {
        let mut add = |task: &Task, list: &mut TaskList| {
            let goes_on = list.tasks < most && each(task);
            list.tasks += usize::from(goes_on);
            goes_on
        };
        let Ok(process) = self.task(at) else {
            list.is_whole = false;
            return true;
        };
        if !add(&process, list) {
            return false;
        }
        let Some(offset) = self.layout.thread_node.or(self.layout.thread_group) else {
            return true;
        };
        let Some(head) = at.checked_add(offset) else { return true };
        let mut threads = self.ring(head);
        let mut others = 0;
        for node in threads.by_ref().take(MOST_THREADS) {
            let thread = node.checked_sub(offset).and_then(|at| self.task(at).ok());
            match thread.filter(|thread| thread.process == process.process) {
                Some(thread) => {
                    if !add(&thread, list) {
                        return false;
                    }
                }
                // The head of the list, in the process's `signal_struct`.
                None => others += 1,
            }
            if others > 1 {
                break;
            }
        }
        list.is_whole &= threads.is_whole() && others < 2;
        true
    }

    fn ring(&self, head: u64) -> Ring<'a, M> {
        Ring::new(self.memory, head, self.word())
    }

    const fn word(&self) -> usize {
        word(self.machine)
    }

    /// The task whose `task_struct` is at `at`.
    ///
    /// # Errors
    /// Memory that cannot be read.
    pub fn task(&self, at: u64) -> Result<Task, Error> {
        let field = |offset: u64| at.checked_add(offset).ok_or(Error::Unmapped { at });
        let number = |offset, length| self.memory.value(field(offset)?, length);
        let TaskLayout { pid, tgid, comm, stack, sp, .. } = self.layout;
        let mut name = [0; 16];
        self.memory.read(field(comm)?, &mut name)?;
        let TaskLayout { state, old_state, exit_state, .. } = self.layout;
        let state = match (state.or(old_state), exit_state) {
            (None, _) => None,
            (Some(state), None) => Some((number(state, 4)?, None)),
            (Some(state), Some(exit)) => Some((number(state, 4)?, Some(number(exit, 4)?))),
        };
        let start = number(stack, self.word())?;
        Ok(Task {
            at,
            pid: number(pid, 4)? as u32,
            process: number(tgid, 4)? as u32,
            comm: Comm(name),
            state: state.map(|(state, exit)| task::letter(state as u32, exit.map(|e| e as u32))),
            stack: Stack::new(start, stack_size(self.machine)),
            sp: number(sp, self.word())?,
        })
    }

    /// The task that `cpu` ran when the kernel died.
    ///
    /// # Errors
    /// [`Error::NoTasks`] if the symbols are not known or what is there is no task; memory that
    /// cannot be read.
    pub fn current(&self, cpu: u32) -> Result<Task, Error> {
        let symbol = |symbol| self.symbols.get(symbol);
        let per_cpu_offset = symbol(Symbol::PerCpuOffset);
        let is_known = cpu < MOST_CPUS && (per_cpu_offset.is_some() || cpu == 0);
        let variable = symbol(Symbol::CurrentTask).or_else(|| symbol(Symbol::PcpuHot));
        let variable = variable.filter(|_| is_known);
        let variable =
            variable.ok_or(Error::NoTasks { why: "no symbol current_task or pcpu_hot" })?;
        let word = self.word() as u64;
        // A kernel for one CPU has plain variables.
        let distance = match per_cpu_offset {
            Some(table) => {
                self.memory.value(table.wrapping_add(word * u64::from(cpu)), word as usize)?
            }
            None => 0,
        };
        let at = variable.wrapping_add(distance) & mask(self.machine);
        let task = self.task(self.memory.value(at, word as usize)?)?;
        self.check(&task)?;
        Ok(task)
    }

    /// # Errors
    /// [`Error::NoTasks`]: there is no task.
    fn check(&self, task: &Task) -> Result<(), Error> {
        let stack = task.stack.ok_or(Error::NoTasks { why: "a CPU's task has no stack" })?;
        match self.memory.value(stack.start, 4)? {
            STACK_END => Ok(()),
            _ => Err(Error::NoTasks { why: "a CPU's task is none: its stack has no end" }),
        }
    }
}

/// Length of a pointer in bytes.
const fn word(machine: u16) -> usize {
    if machine == EM_386 { 4 } else { 8 }
}

/// The highest address.
const fn mask(machine: u16) -> u64 {
    if machine == EM_386 { u32::MAX as u64 } else { u64::MAX }
}
