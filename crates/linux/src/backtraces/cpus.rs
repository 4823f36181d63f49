//! The CPUs of which there are backtraces.

use alloc::vec::Vec;

use super::cpu_trace::CpuTrace;
use super::kernel::DeadKernel;
use crate::{Caller, Cpus, Error, SavedCpu, Task, Tasks};
use vmcore::ReadPhys;

/// The most tasks among which a name is looked for.
const MOST_TASKS: usize = 1 << 15;

/// A CPU. A capture kernel keeps hundreds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) number: Option<u32>,
    pub(super) pid: u32,
    /// Index among the CPUs that saved their registers; none of one that did not answer.
    saved: Option<u16>,
    pub(super) has_crashed: bool,
}

impl Found {
    fn new(index: usize, cpu: &SavedCpu) -> Self {
        let saved = u16::try_from(index).ok();
        Self { number: cpu.number, pid: cpu.pid, saved, has_crashed: false }
    }

    /// The registers that it saved.
    pub(super) fn registers(&self, cpus: &Cpus) -> Option<SavedCpu> {
        cpus.get(self.saved?.into())
    }

    /// The task that runs there, if the kernel shows it.
    pub(super) fn task<M: ReadPhys>(&self, tasks: Option<&Tasks<'_, M>>) -> Option<Task> {
        let task = tasks?.current(self.number?).ok();
        task.filter(|task| task.pid == self.pid)
    }
}

/// The CPUs that saved their registers, and those that are online and did not; the one that crashed
/// first. Where the heap has no room, the last are only counted.
pub(super) fn find<M: ReadPhys>(
    kernel: &DeadKernel<'_, M>,
    cpus: &Cpus,
    newest: impl FnOnce() -> Option<Caller>,
) -> Result<(Vec<Found>, usize), Error> {
    let tasks = kernel.tasks.as_ref();
    let numbers = tasks.and_then(|tasks| numbers(tasks, cpus)).unwrap_or_default();
    let saved = || {
        cpus.iter().take(u16::MAX.into()).enumerate().map(|(index, cpu)| {
            let number = numbers.get(index).copied().or(cpu.number);
            Found { number, ..Found::new(index, &cpu) }
        })
    };
    let by_kernel = kernel.panic_cpu();
    let by_kernel = by_kernel.and_then(|cpu| saved().find(|saved| saved.number == Some(cpu)));
    let crashed = by_kernel.or_else(|| {
        let crashed = cpus.crashed(newest())?;
        let index = cpus.iter().position(|cpu| cpu == crashed)?;
        saved().nth(index)
    });
    let mut found = Vec::new();
    let count = cpus.len();
    let is_crashed = |cpu: &Found| crashed.is_some_and(|crashed| crashed.saved == cpu.saved);
    // A list that grows takes its room twice.
    let has_room = found.try_reserve_exact(count).is_ok();
    if !has_room {
        found.try_reserve_exact(1).map_err(|_| Error::NO_MEMORY)?;
    }
    found.extend(crashed.map(|cpu| Found { has_crashed: true, ..cpu }));
    if !has_room {
        found.extend(saved().filter(|cpu| !is_crashed(cpu)).take(1 - found.len()));
        return Ok((found, count - 1));
    }
    found.extend(saved().filter(|cpu| !is_crashed(cpu)));
    let left_out = tasks.map_or(0, |tasks| add_silent(kernel, tasks, &mut found));
    found.sort_unstable_by_key(|cpu| (!cpu.has_crashed, cpu.number, cpu.saved));
    Ok((found, left_out))
}

/// The numbers of the CPUs that saved their registers, if those that they have are wrong. The notes
/// of a file do not have the numbers, and a CPU that saved nothing shifts the later ones: they are
/// put right by the tasks that the CPUs ran.
fn numbers<M: ReadPhys>(tasks: &Tasks<'_, M>, cpus: &Cpus) -> Option<Vec<u32>> {
    let shows = |number: u32, cpu: &SavedCpu| matches!(tasks.current(number), Ok(task) if task.pid == cpu.pid);
    if cpus.iter().all(|cpu| cpu.number.is_some_and(|number| shows(number, &cpu))) {
        return None;
    }
    let mut numbers = Vec::new();
    numbers.try_reserve_exact(cpus.len()).ok()?;
    let mut next = 0;
    for cpu in cpus.iter() {
        // A CPU that does not show its task may be any.
        while let Ok(task) = tasks.current(next)
            && task.pid != cpu.pid
        {
            next += 1;
        }
        numbers.push(next);
        next += 1;
    }
    let are_better = numbers.iter().zip(cpus.iter()).all(|(number, cpu)| shows(*number, &cpu));
    are_better.then_some(numbers)
}

/// Adds the CPUs that are online and did not save their registers. Returns the number of those for
/// which the heap has no room.
fn add_silent<M: ReadPhys>(
    kernel: &DeadKernel<'_, M>,
    tasks: &Tasks<'_, M>,
    found: &mut Vec<Found>,
) -> usize {
    let after_last = found.iter().filter_map(|cpu| cpu.number).max().map_or(0, |last| last + 1);
    let mut left_out = 0;
    for number in 0..kernel.cpu_count().unwrap_or(after_last) {
        let is_there = found.iter().any(|cpu| cpu.number == Some(number));
        if is_there || !kernel.is_online(number) {
            continue;
        }
        let Ok(task) = tasks.current(number) else { break };
        if found.try_reserve(1).is_err() {
            left_out += 1;
            continue;
        }
        let (number, pid) = (Some(number), task.pid);
        found.push(Found { number, pid, saved: None, has_crashed: false });
    }
    left_out
}

/// Adds the names of tasks that are not known yet.
pub(super) fn add_names<M: ReadPhys>(tasks: &Tasks<'_, M>, found: &mut [CpuTrace]) {
    let is_missing = |cpu: &CpuTrace| cpu.comm.is_none() && cpu.pid != 0;
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
