//! The CPUs of which there are backtraces.

use alloc::vec::Vec;

use super::kernel::DeadKernel;
use crate::{Caller, Comm, Cpus, Error, SavedCpu, Task, Tasks};
use vmcore::ReadPhys;

/// The most tasks among which a name is looked for.
const MOST_TASKS: usize = 1 << 15;

/// A CPU.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) number: Option<u32>,
    pub(super) pid: u32,
    pub(super) comm: Option<Comm>,
    /// The registers that it saved; none of a CPU that did not answer.
    pub(super) registers: Option<SavedCpu>,
    /// The task that ran there, if the kernel shows it.
    pub(super) task: Option<Task>,
    pub(super) has_crashed: bool,
}

/// The CPUs that saved their registers, and those that are online and did not; the one that crashed
/// first.
pub(super) fn find<M: ReadPhys>(
    kernel: &DeadKernel<'_, M>,
    cpus: &Cpus,
    newest: impl FnOnce() -> Option<Caller>,
) -> Result<Vec<Found>, Error> {
    let saved = saved(kernel.tasks.as_ref(), cpus)?;
    let by_kernel = kernel.panic_cpu();
    let by_kernel = by_kernel.and_then(|cpu| saved.iter().find(|saved| saved.number == Some(cpu)));
    let crashed = by_kernel.copied().or_else(|| cpus.crashed(newest()));
    let mut found = Vec::new();
    found.try_reserve(saved.len()).map_err(|_| Error::NO_MEMORY)?;
    for cpu in &saved {
        // The same registers: a number may have been put right.
        let has_crashed =
            crashed.is_some_and(|crashed| SavedCpu { number: cpu.number, ..crashed } == *cpu);
        let has_crashed = has_crashed && !found.iter().any(|other: &Found| other.has_crashed);
        found.push(Found {
            number: cpu.number,
            pid: cpu.pid,
            comm: None,
            registers: Some(*cpu),
            task: None,
            has_crashed,
        });
    }
    if let Some(tasks) = &kernel.tasks {
        add_silent(kernel, tasks, &mut found)?;
        add_tasks(tasks, &mut found);
    }
    found.sort_by_key(|cpu| (!cpu.has_crashed, cpu.number));
    Ok(found)
}

/// The CPUs that saved their registers. The notes of a file do not have the numbers, and a CPU that
/// saved nothing shifts the later ones: they are put right by the tasks that the CPUs ran.
fn saved<M: ReadPhys>(tasks: Option<&Tasks<'_, M>>, cpus: &Cpus) -> Result<Vec<SavedCpu>, Error> {
    let mut saved = Vec::new();
    for cpu in cpus.iter() {
        saved.try_reserve(1).map_err(|_| Error::NO_MEMORY)?;
        saved.push(cpu);
    }
    let Some(tasks) = tasks else { return Ok(saved) };
    let mut numbers = saved.clone();
    let mut next = 0;
    for cpu in &mut numbers {
        // A CPU that does not show its task may be any.
        while let Ok(task) = tasks.current(next)
            && task.pid != cpu.pid
        {
            next += 1;
        }
        cpu.number = Some(next);
        next += 1;
    }
    let shows = |cpu: &SavedCpu| {
        let task = cpu.number.map(|number| tasks.current(number));
        matches!(task, Some(Ok(task)) if task.pid == cpu.pid)
    };
    let are_better = !saved.iter().all(shows) && numbers.iter().all(shows);
    Ok(if are_better { numbers } else { saved })
}

/// Adds the CPUs that are online and did not save their registers.
fn add_silent<M: ReadPhys>(
    kernel: &DeadKernel<'_, M>,
    tasks: &Tasks<'_, M>,
    found: &mut Vec<Found>,
) -> Result<(), Error> {
    let after_last = found.iter().filter_map(|cpu| cpu.number).max().map_or(0, |last| last + 1);
    for number in 0..kernel.cpu_count().unwrap_or(after_last) {
        let is_there = found.iter().any(|cpu| cpu.number == Some(number));
        if is_there || !kernel.is_online(number) {
            continue;
        }
        let Ok(task) = tasks.current(number) else { break };
        found.try_reserve(1).map_err(|_| Error::NO_MEMORY)?;
        found.push(Found {
            number: Some(number),
            pid: task.pid,
            comm: Some(task.comm),
            registers: None,
            task: Some(task),
            has_crashed: false,
        });
    }
    Ok(())
}

/// Adds the names of tasks.
fn add_tasks<M: ReadPhys>(tasks: &Tasks<'_, M>, found: &mut [Found]) {
    for cpu in found.iter_mut().filter(|cpu| cpu.comm.is_none()) {
        let task = cpu.number.and_then(|number| tasks.current(number).ok());
        cpu.task = task.filter(|task| task.pid == cpu.pid);
        cpu.comm = cpu.task.map(|task| task.comm);
    }
    let is_missing = |cpu: &Found| cpu.comm.is_none() && cpu.pid != 0;
    if !found.iter().any(is_missing) {
        return;
    }
    tasks.each(MOST_TASKS, &mut |task| {
        for cpu in found.iter_mut().filter(|cpu| is_missing(cpu) && cpu.pid == task.pid) {
            cpu.comm = Some(task.comm);
        }
        found.iter().any(is_missing)
    });
}
