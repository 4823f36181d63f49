//! Stacks of CPUs and tasks, and the registers that CPUs saved.

use collector::{Hex, Stack, Stacks, stacks_of_cpus, stacks_of_tasks};
use serde::Serialize;
use vmcore::{Note, Prstatus};

use super::tasks::Tasks;
use crate::{Error, Kernel};

/// The registers that a CPU saved when the kernel died.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Registers {
    /// Number of the CPU, by the order of the notes.
    pub cpu: u32,
    /// The task that ran there.
    pub pid: u32,
    /// Names and values.
    pub values: Vec<(&'static str, Hex)>,
}

impl Registers {
    /// The register of this name.
    pub fn get(&self, name: &str) -> Option<u64> {
        self.values.iter().find(|(other, _)| *other == name).map(|(_, value)| value.0)
    }
}

/// The stacks of all CPUs, that of the CPU which crashed first; or of one.
///
/// # Errors
/// [`Error::Dump`]: no CPU saved its registers, or there is no CPU of this number.
pub fn of_cpus(kernel: &Kernel<'_>, cpu: Option<u32>) -> Result<Vec<Stack>, Error> {
    let wanted = cpu.map_or(Stacks::Cpus, Stacks::Cpu);
    Ok(stacks_of_cpus(kernel.vmcore(), kernel.dead(), wanted)?)
}

/// The stacks of tasks, in their order; those of CPUs that ran one begin with the registers.
///
/// # Errors
/// [`Error::Dump`]: the layout of tasks is not known.
pub fn of_tasks(
    kernel: &Kernel<'_>,
    tasks: &Tasks,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Vec<Stack>, Error> {
    let of = kernel.dead().tasks.as_ref();
    let list = tasks.tasks.iter().filter_map(|task| of?.task(task.address.0).ok());
    let list: Vec<_> = list.collect();
    Ok(stacks_of_tasks(kernel.vmcore(), kernel.dead(), &list, progress)?)
}

/// The stack of the task with this number.
///
/// # Errors
/// [`Error::Missing`]: there is none.
pub fn of_task(kernel: &Kernel<'_>, pid: u32) -> Result<Stack, Error> {
    let none = || Error::Missing(format!("there is no task {pid}"));
    let mut found = None;
    kernel.dead().tasks.as_ref().ok_or_else(none)?.each(usize::MAX, &mut |task| {
        found = Some(*task).filter(|task| task.pid == pid);
        found.is_none()
    });
    let found = found.ok_or_else(none)?;
    let stacks = stacks_of_tasks(kernel.vmcore(), kernel.dead(), &[found], &mut |_, _| {})?;
    stacks.into_iter().next().ok_or_else(none)
}

/// The registers of all CPUs that saved them.
pub fn registers(kernel: &Kernel<'_>) -> Vec<Registers> {
    let machine = kernel.dead().machine;
    let notes = kernel.vmcore().notes().filter(Note::is_prstatus);
    let registers = (0..).zip(notes).filter_map(|(cpu, note)| {
        let status = Prstatus::parse(machine, note.desc).ok()?;
        let values = status.registers().map(|(name, value)| (name, Hex(value))).collect();
        Some(Registers { cpu, pid: status.pid, values })
    });
    registers.collect()
}
