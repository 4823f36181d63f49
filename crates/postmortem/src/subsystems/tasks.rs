//! Tasks: processes, their threads, and the idle tasks of the CPUs.
//!
//! The kernel has its tasks twice: in a ring of processes with their threads, and below their PIDs.
//! The PIDs have the rest if the ring is damaged.

mod arguments;
mod find;
mod memory;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use collector::Hex;
use linux::Comm;
use serde::Serialize;

pub use self::arguments::{Arguments, arguments};
use self::memory::Resident;
use super::holes::Holes;
use crate::{Error, Kernel, Object};

/// `task_struct.flags`: a thread of the kernel (Linux, `include/linux/sched.h`).
const PF_KTHREAD: u64 = 0x0020_0000;
/// `task_struct.state`: asleep and not to be woken; it does not count for the load.
const TASK_UNINTERRUPTIBLE: u64 = 2;
const TASK_NOLOAD: u64 = 0x400;

/// The tasks of a kernel, the idle ones first, and then by their numbers.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Tasks {
    /// All tasks.
    pub tasks: Vec<Task>,
    /// Missing parts, with the reasons.
    #[serde(skip)]
    pub missing: Vec<String>,
}

/// A task.
#[derive(Clone, Debug, PartialEq, Serialize, Default)]
pub struct Task {
    /// Address of its `task_struct`.
    pub address: Hex,
    /// Its own number; 0 of an idle task.
    pub pid: u32,
    /// Number of its process.
    pub tgid: u32,
    /// Number of the parent's process.
    pub ppid: Option<u32>,
    /// The CPU that it ran on last.
    pub cpu: Option<u32>,
    /// Its state as `ps` shows it.
    pub state: Option<char>,
    /// Its name; other bytes than printable ASCII are `?`.
    pub comm: String,
    /// True for a thread of the kernel.
    pub is_kernel: bool,
    /// True if a CPU ran it when the kernel died.
    pub is_active: bool,
    /// True if it waits for something and counts for the load: `D` of `ps`.
    pub is_blocked: bool,
    /// The user that it acts for (effective).
    pub uid: Option<u32>,
    /// Its start in nanoseconds since the boot.
    pub started_ns: Option<u64>,
    /// Time in user mode, in nanoseconds.
    pub user_ns: Option<u64>,
    /// Time in the kernel, in nanoseconds.
    pub system_ns: Option<u64>,
    /// Nanoseconds since it last got a CPU, by that CPU's clock.
    pub since_ns: Option<u64>,
    /// Nanoseconds since the scheduler last counted its time: since it went to sleep.
    pub off_cpu_ns: Option<u64>,
    /// Bytes of its address space. [`None`] for a thread of the kernel.
    pub virtual_bytes: Option<u64>,
    /// Bytes of it that are in memory.
    pub resident_bytes: Option<u64>,
    /// The same in percent of all memory.
    pub memory_percent: Option<f64>,
    /// True if it is in the ring of processes and threads; false if only its PID led to it.
    pub is_listed: bool,
}

impl Task {
    /// The name as `ps` shows it: that of a thread of the kernel in brackets.
    pub fn title(&self) -> String {
        if self.is_kernel { format!("[{}]", self.comm) } else { self.comm.clone() }
    }

    /// True for the idle task of a CPU.
    pub const fn is_idle(&self) -> bool {
        self.pid == 0
    }
}

impl Tasks {
    /// Number of tasks by state, without the idle ones.
    pub fn states(&self) -> BTreeMap<char, u64> {
        let mut states = BTreeMap::new();
        for task in self.tasks.iter().filter(|task| !task.is_idle()) {
            *states.entry(task.state.unwrap_or('?')).or_default() += 1;
        }
        states
    }
}

/// Reads all tasks. Without the kernel's types there are their names and states.
///
/// # Errors
/// The reason why there is no task at all.
pub fn read(kernel: &Kernel<'_>) -> Result<Tasks, Error> {
    if let Err(error) = kernel.check_types() {
        return plain(kernel, &error);
    }
    let mut holes = Holes::default();
    let found = find::all(kernel, &mut holes)?;
    let objects: Vec<_> = found.iter().map(|found| found.task).collect();
    let resident = Resident::new(kernel, &objects);
    let clocks = Clocks::read(kernel);
    let mut tasks = Vec::new();
    for found in &found {
        let what = || format!("task at {:#x}", found.task.address());
        let task = read_task(found, &resident, &clocks);
        tasks.extend(task.map_err(|error| holes.note(&what(), &error)));
    }
    tasks.sort_by_key(|task| (task.pid, if task.pid == 0 { task.cpu } else { None }));
    Ok(Tasks { tasks, missing: holes.into_list() })
}

/// The task with this number.
///
/// # Errors
/// [`Error::Missing`]: there is none; as for [`read`].
pub(crate) fn with_pid(kernel: &Kernel<'_>, pid: u32) -> Result<Task, Error> {
    let found = read(kernel)?.tasks.into_iter().find(|task| task.pid == pid);
    found.ok_or_else(|| Error::Missing(format!("there is no task {pid}")))
}

/// The tasks as the crate `linux` finds them, in a kernel whose types are not known.
fn plain(kernel: &Kernel<'_>, error: &Error) -> Result<Tasks, Error> {
    let of = kernel.dead().tasks.as_ref();
    let of = of.ok_or_else(|| Error::Missing(format!("no task was found: {error}")))?;
    let mut tasks = Vec::new();
    let list = of.each(find::MOST, &mut |task| {
        tasks.push(Task {
            address: Hex(task.at),
            pid: task.pid,
            tgid: task.process,
            state: task.state,
            comm: task.comm.to_string(),
            is_blocked: task.state == Some('D'),
            is_listed: true,
            ..Task::default()
        });
        true
    });
    let mut missing = vec![format!("tasks: parents, CPUs, memory and times: {error}")];
    if !list.is_whole {
        missing.push("tasks: the ring of tasks is damaged".to_owned());
    }
    tasks.sort_by_key(|task| task.pid);
    Ok(Tasks { tasks, missing })
}

fn number(object: &Object<'_>, paths: &[&str]) -> Option<u64> {
    object.first_of(paths).and_then(|field| field.number()).ok()
}

/// The clocks of the run queues, in nanoseconds.
struct Clocks {
    /// Of all, the latest: the clock of a CPU that idles stands still.
    clock: u64,
    /// The same of the clocks that count tasks' time.
    task_clock: u64,
}

impl Clocks {
    fn read(kernel: &Kernel<'_>) -> Self {
        let mut clocks = Self { clock: 0, task_clock: 0 };
        for cpu in kernel.online_cpus().unwrap_or_default() {
            let Ok(queue) = kernel.per_cpu("runqueues", cpu) else { break };
            let newest = |path, known: u64| number(&queue, &[path]).unwrap_or(0).max(known);
            clocks.clock = newest("clock", clocks.clock);
            clocks.task_clock = newest("clock_task", clocks.task_clock);
        }
        clocks
    }
}

fn read_task(found: &find::Found<'_>, resident: &Resident, clocks: &Clocks) -> Result<Task, Error> {
    let task = &found.task;
    let kernel = task.kernel();
    let mut comm = [0; 16];
    task.field("comm")?.read(&mut comm)?;
    let get = |paths: &[&str]| number(task, paths);
    let state = get(&["__state", "state"]).map(|state| state & u64::from(u32::MAX));
    let memory = resident.of(task);
    let since = |now: u64, then: Option<u64>| now.checked_sub(then.filter(|then| *then > 0)?);
    Ok(Task {
        address: Hex(task.address()),
        pid: task.field("pid")?.number()? as u32,
        tgid: task.field("tgid")?.number()? as u32,
        ppid: get(&["real_parent.tgid"]).map(|pid| pid as u32),
        cpu: get(&["thread_info.cpu", "cpu"]).map(|cpu| cpu as u32),
        state: kernel
            .dead()
            .tasks
            .as_ref()
            .and_then(|tasks| tasks.task(task.address()).ok()?.state),
        comm: Comm::new(comm).to_string(),
        is_kernel: get(&["flags"]).is_some_and(|flags| flags & PF_KTHREAD != 0),
        is_active: found.is_active,
        is_blocked: state.is_some_and(|state| {
            state & (TASK_UNINTERRUPTIBLE | TASK_NOLOAD) == TASK_UNINTERRUPTIBLE
        }),
        uid: get(&["real_cred.euid"]).map(|uid| uid as u32),
        started_ns: get(&["start_boottime", "real_start_time"]),
        user_ns: get(&["utime"]),
        system_ns: get(&["stime"]),
        since_ns: since(clocks.clock, get(&["sched_info.last_arrival"])),
        off_cpu_ns: since(clocks.task_clock, get(&["se.exec_start"])),
        virtual_bytes: memory.map(|memory| memory.whole),
        resident_bytes: memory.map(|memory| memory.resident),
        memory_percent: memory.and_then(|memory| memory.percent()),
        is_listed: found.is_listed,
    })
}
