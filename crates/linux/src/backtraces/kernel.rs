//! Everything that backtraces need to know of a dead kernel.

use core::fmt;

use crate::backtrace::{
    Budget, Frame, Kallsyms, Modules, MostNames, Names, Sources, Symbol, Symbols, Unwinder,
};
use crate::{Error, Tasks, VirtualMemory};
use vmcore::ReadPhys;

/// The effort to find the parts of a kernel that no line of VMCOREINFO names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// None: they stay unknown.
    Lines,
    /// Memory is searched for the symbols of a kernel before 6.0, and for the layout of tasks.
    Search,
}

/// A dead kernel: its symbols, modules and tasks, as far as they were found.
#[derive(Debug)]
pub struct DeadKernel<'a, M> {
    /// Its memory.
    pub memory: VirtualMemory<'a, M>,
    /// `e_machine`.
    pub machine: u16,
    /// The text of VMCOREINFO.
    pub vmcoreinfo: &'a [u8],
    /// The symbols of its image.
    pub kallsyms: Option<Kallsyms<'a, M>>,
    /// Those that are known by name.
    pub symbols: Symbols,
    /// Its modules; none if they were not found.
    pub modules: Modules,
    /// Its tasks.
    pub tasks: Option<Tasks<'a, M>>,
}

impl<'a, M: ReadPhys> DeadKernel<'a, M> {
    /// Finds all that is there. Missing parts are reported (`log`), one line each.
    pub fn find(
        memory: VirtualMemory<'a, M>,
        machine: u16,
        vmcoreinfo: &'a [u8],
        effort: Effort,
        budget: &mut Budget<'_>,
    ) -> Self {
        let kallsyms = Kallsyms::find(memory, vmcoreinfo).or_else(|error| match (effort, error) {
            (Effort::Search, Error::NoLine { .. }) => Kallsyms::search(memory, vmcoreinfo),
            (_, error) => Err(error),
        });
        let kallsyms = reported("names of functions", kallsyms);
        let symbols = Symbols::find(vmcoreinfo, kallsyms.as_ref(), budget);
        let symbols = reported("symbols", symbols).unwrap_or_default();
        let modules = Modules::read(memory, vmcoreinfo, &symbols);
        let modules = reported("modules", modules).unwrap_or_default();
        let tasks = Tasks::find(memory, vmcoreinfo, &symbols, machine);
        let tasks = tasks.or_else(|error| match effort {
            Effort::Search => {
                let go_on = &mut || budget.has_time();
                Tasks::by_evidence(memory, vmcoreinfo, &symbols, machine, go_on)
            }
            Effort::Lines => Err(error),
        });
        let tasks = reported("tasks", tasks);
        Self { memory, machine, vmcoreinfo, kallsyms, symbols, modules, tasks }
    }

    /// An unwinder of its stacks.
    pub fn unwinder(&self) -> Unwinder<'_, M> {
        let Self { memory, machine, vmcoreinfo, symbols, modules, .. } = self;
        Unwinder::new(*memory, *machine, vmcoreinfo, symbols, modules)
    }

    /// The names of the functions that `frames` are in, within `most`.
    pub fn names<'f>(
        &self,
        frames: impl Iterator<Item = &'f Frame> + Clone,
        most: MostNames,
        budget: &mut Budget<'_>,
    ) -> Names {
        let Self { memory, kallsyms, modules, .. } = self;
        let sources = Sources { memory: *memory, kallsyms: kallsyms.as_ref(), modules };
        Names::find(&sources, frames, most, budget)
    }

    /// Number of the CPU that panicked first, if the kernel shows it.
    pub(super) fn panic_cpu(&self) -> Option<u32> {
        let number = self.memory.value(self.symbols.get(Symbol::PanicCpu)?, 4).ok()?;
        // No CPU is -1.
        u32::try_from(number).ok()
    }

    /// True if the CPU with this number is online.
    pub(super) fn is_online(&self, number: u32) -> bool {
        let mask = self.symbols.get(Symbol::OnlineCpus);
        let byte = mask.map(|mask| mask.wrapping_add(u64::from(number / 8)));
        let byte = byte.and_then(|at| self.memory.value(at, 1).ok());
        byte.is_some_and(|byte| byte >> (number % 8) & 1 != 0)
    }

    /// Number of CPUs that there may be, if the kernel shows it.
    pub(super) fn cpu_count(&self) -> Option<u32> {
        let count = self.memory.value(self.symbols.get(Symbol::CpuCount)?, 4).ok()?;
        u32::try_from(count).ok()
    }
}

/// The value; an error is reported.
fn reported<T>(part: &str, result: Result<T, impl fmt::Display>) -> Option<T> {
    result.map_err(|error| log::warn!("{part}: {error}")).ok()
}
