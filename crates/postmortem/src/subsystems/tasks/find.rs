//! All tasks: those of the ring, those of the PIDs, and the idle ones.

use std::collections::{HashMap, HashSet};

use crate::subsystems::holes::Holes;
use crate::{Error, Kernel, Object};

/// Most tasks: a kernel has 2^22 numbers at most.
pub(super) const MOST: usize = 1 << 22;

/// A task that was found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found<'k> {
    pub(super) task: Object<'k>,
    /// True if a CPU ran it.
    pub(super) is_active: bool,
    /// True if the ring has it.
    pub(super) is_listed: bool,
}

/// Finds them. A task of a damaged ring counts if its PID leads to it, too.
///
/// # Errors
/// There is none at all.
pub(super) fn all<'k>(kernel: &'k Kernel<'_>, holes: &mut Holes) -> Result<Vec<Found<'k>>, Error> {
    let active = active(kernel);
    let (listed, is_whole) = listed(kernel);
    let by_pid = by_pid(kernel);
    let mut all: HashMap<u64, bool> = HashMap::new();
    match &by_pid {
        Ok(pids) => {
            all.extend(
                listed.iter().filter(|at| is_whole || pids.contains(at)).map(|at| (*at, true)),
            );
            pids.iter().for_each(|at| {
                all.entry(*at).or_insert(false);
            });
        }
        Err(error) => {
            holes.note("tasks by PID", error);
            all.extend(listed.iter().map(|at| (*at, true)));
        }
    }
    if !is_whole {
        let more = all.values().filter(|is_listed| !**is_listed).count();
        let error = format!("the ring of tasks is damaged; {more} were found by their PIDs alone");
        holes.note("tasks", &Error::Missing(error));
    }
    if all.is_empty() {
        return Err(Error::Missing("no task was found".to_owned()));
    }
    for idle in idle(kernel) {
        all.insert(idle, true);
    }
    let of = kernel.types().find("struct task_struct")?;
    Ok(all
        .into_iter()
        .map(|(at, is_listed)| {
            let task = Object::new(kernel, of, at);
            Found { task, is_active: active.contains(&at), is_listed }
        })
        .collect())
}

/// Addresses of the tasks that the CPUs ran.
fn active(kernel: &Kernel<'_>) -> Vec<u64> {
    let Some(tasks) = &kernel.dead().tasks else { return Vec::new() };
    let cpus = kernel.online_cpus().unwrap_or_default();
    cpus.iter().filter_map(|cpu| Some(tasks.current(*cpu).ok()?.at)).collect()
}

/// The idle tasks of the CPUs that were online.
fn idle(kernel: &Kernel<'_>) -> Vec<u64> {
    let cpus = kernel.online_cpus().unwrap_or_default();
    let idle = |cpu: u32| kernel.per_cpu("runqueues", cpu)?.field("idle")?.number();
    cpus.iter().filter_map(|cpu| idle(*cpu).ok()).filter(|at| *at != 0).collect()
}

/// The tasks of the ring, and true if it is whole.
fn listed(kernel: &Kernel<'_>) -> (Vec<u64>, bool) {
    let Some(tasks) = &kernel.dead().tasks else { return (Vec::new(), false) };
    let mut found = Vec::new();
    let list = tasks.each(MOST, &mut |task| {
        found.push(task.at);
        true
    });
    (found, list.is_whole)
}

/// The tasks that the PIDs of the first namespace lead to: all that there are.
///
/// # Errors
/// The tree of PIDs cannot be read at all.
fn by_pid(kernel: &Kernel<'_>) -> Result<HashSet<u64>, Error> {
    let types = kernel.types();
    let link = types.offset("struct task_struct", "pid_links[0]")?;
    let number = types.offset("struct task_struct", "pid")?;
    let first = types.offset("struct pid", "tasks[0]")?;
    let pids = kernel.global("init_pid_ns")?.field("idr")?.indexed("struct pid")?;
    let task = |(index, pid): (u64, Object<'_>)| {
        let first = kernel.word(pid.address().wrapping_add(first)).ok()?;
        let task = first.checked_sub(link).filter(|_| first != 0)?;
        let own = kernel.number(task.wrapping_add(number), 4).ok()?;
        (own == index).then_some(task)
    };
    Ok(pids.take(MOST).filter_map(Result::ok).filter_map(task).collect())
}
