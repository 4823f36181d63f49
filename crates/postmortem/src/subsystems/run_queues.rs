//! Run queues: the tasks that ran and those that waited for a CPU, and CPUs that hang.

mod queued;
mod watchdog;

#[cfg(test)]
mod tests;

use collector::Hex;
use linux::Comm;
use serde::Serialize;

use super::holes::Holes;
use super::stacks;
use crate::report::{Severity, Warning, duration};
use crate::{Error, Kernel, Object};

const SECOND: u64 = 1_000_000_000;
/// Tasks of a CPU that wait, from which on a warning names it.
const MANY: u64 = 10;
/// Lowest priority that is no real-time one (Linux, `MAX_RT_PRIO`).
const REAL_TIME: i64 = 100;
/// Time that a real-time task may run without a pause, in nanoseconds.
const LONG_REAL_TIME: u64 = 5 * SECOND;

/// The run queues of a kernel.
#[derive(Clone, Debug, Default, Serialize)]
pub struct RunQueues {
    /// By their CPUs.
    pub queues: Vec<Queue>,
    /// Seconds after which a CPU counts as locked up, if the kernel watches for that.
    pub lockup_after: Option<u64>,
    /// Missing parts, with the reasons.
    #[serde(skip)]
    pub missing: Vec<String>,
}

/// The run queue of a CPU.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Queue {
    /// Number of the CPU.
    pub cpu: u32,
    /// Address of its `struct rq`.
    pub address: Hex,
    /// The task that ran.
    pub current: Option<Runner>,
    /// Number of tasks that ran or waited.
    pub running: u64,
    /// Number of switches since the boot.
    pub switches: Option<u64>,
    /// Its clock, in nanoseconds.
    pub clock_ns: Option<u64>,
    /// Deadline tasks that waited, the most urgent first.
    pub deadline: Vec<Runner>,
    /// Real-time tasks that waited, the most urgent first.
    pub real_time: Vec<Runner>,
    /// Other tasks that waited, the next one first.
    pub fair: Vec<Runner>,
    /// True if it had interrupts off when the others stopped it. [`None`] for the CPU that crashed,
    /// or without its registers.
    pub interrupts_off: Option<bool>,
    /// Nanoseconds since the watchdog last saw it work, if the kernel has one.
    pub unwatched_ns: Option<u64>,
}

/// A task that ran or waited for a CPU.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Runner {
    /// Address of its `task_struct`.
    pub address: Hex,
    /// Its number.
    pub pid: u32,
    /// Its name.
    pub comm: String,
    /// Its priority: -1 deadline, 0 to 98 real-time (the lowest is the most urgent), 100 to 139.
    pub priority: i64,
    /// Nanoseconds since it got the CPU, or since it last had it.
    pub since_ns: Option<u64>,
}

/// Reads the run queues of the CPUs that were online.
///
/// # Errors
/// [`Error::NoTypes`], [`Error::NoSymbol`]: there is no run queue at all.
pub fn read(kernel: &Kernel<'_>) -> Result<RunQueues, Error> {
    let mut holes = Holes::default();
    let first = kernel.global("runqueues")?;
    let registers = stacks::registers(kernel);
    let crashed = stacks::of_cpus(kernel, None).ok();
    let crashed = crashed.and_then(|stacks| stacks.iter().find(|stack| stack.crashed)?.cpu);
    let mut queues = Vec::new();
    for cpu in kernel.online_cpus()? {
        let at = kernel.per_cpu_at(first.address(), cpu);
        let queue = at.and_then(|at| queue(Object::new(kernel, first.type_id(), at), cpu));
        let Some(mut queue) = holes.take(&format!("run queue of CPU {cpu}"), queue) else {
            continue;
        };
        let own = registers.iter().find(|own| own.cpu == cpu && crashed != Some(cpu));
        let flags = own.and_then(|own| own.get("rflags").or_else(|| own.get("eflags")));
        queue.interrupts_off = flags.map(|flags| flags & watchdog::INTERRUPTS == 0);
        queues.push(queue);
    }
    let now = queues.iter().filter_map(|queue| queue.clock_ns).max().unwrap_or(0);
    for queue in &mut queues {
        queue.unwatched_ns = watchdog::since(kernel, queue.cpu, now);
    }
    let lockup_after = watchdog::limit(kernel);
    Ok(RunQueues { queues, lockup_after, missing: holes.into_list() })
}

fn queue(rq: Object<'_>, cpu: u32) -> Result<Queue, Error> {
    let current = rq.field("curr")?.deref()?;
    let number = |path| rq.field(path).and_then(|field| field.number()).ok();
    let clock = number("clock");
    let mut queue = Queue {
        cpu,
        address: Hex(rq.address()),
        current: Some(runner(&current, clock)?),
        running: rq.field("nr_running")?.number()?,
        switches: number("nr_switches"),
        clock_ns: clock,
        ..Queue::default()
    };
    let runners = |tasks: Vec<Object<'_>>| {
        let others = tasks.iter().filter(|task| task.address() != current.address());
        others.map(|task| runner(task, clock)).collect::<Result<Vec<_>, _>>()
    };
    queue.deadline = runners(queued::deadline(&rq)?)?;
    queue.real_time = runners(queued::real_time(&rq.field("rt")?)?)?;
    queue.fair = runners(queued::fair(&rq.field("cfs")?)?)?;
    Ok(queue)
}

fn runner(task: &Object<'_>, clock: Option<u64>) -> Result<Runner, Error> {
    let mut comm = [0; 16];
    task.field("comm")?.read(&mut comm)?;
    let arrived = task.field("sched_info.last_arrival").and_then(|time| time.number()).ok();
    let since = |clock: u64| clock.checked_sub(arrived.filter(|arrived| *arrived > 0)?);
    Ok(Runner {
        address: Hex(task.address()),
        pid: task.field("pid")?.number()? as u32,
        comm: Comm::new(comm).to_string(),
        priority: task.field("prio")?.signed()?,
        since_ns: clock.and_then(since),
    })
}

/// Conclusions for the first page.
pub fn warnings(found: &RunQueues) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let mut warn = |severity, text| warnings.push(Warning { severity, text, section: "runq" });
    let now = found.queues.iter().filter_map(|queue| queue.clock_ns).max().unwrap_or(0);
    for queue in &found.queues {
        let cpu = queue.cpu;
        let Some(current) = &queue.current else { continue };
        let (comm, pid) = (&current.comm, current.pid);
        let limit = found.lockup_after.map(|seconds| seconds.saturating_mul(SECOND));
        if let Some((since, _)) =
            queue.unwatched_ns.zip(limit).filter(|(since, limit)| since > limit)
        {
            let since = duration(since);
            let text =
                format!("CPU {cpu} hangs: no thread could run for {since} (task {comm}, {pid})");
            warn(Severity::Critical, text);
        }
        // Handlers of interrupts have them off, too, but not for long.
        let stands = queue.clock_ns.map_or(0, |clock| now.saturating_sub(clock));
        if queue.interrupts_off == Some(true) && pid != 0 && stands > SECOND {
            let stands = duration(stands);
            let text = format!("CPU {cpu} had interrupts off for {stands} (task {comm}, {pid})");
            warn(Severity::Warning, text);
        }
        let is_real_time = current.priority < REAL_TIME && pid != 0;
        if let Some(since) =
            current.since_ns.filter(|since| is_real_time && *since > LONG_REAL_TIME)
        {
            let since = duration(since);
            let text = format!("real-time task {comm} ({pid}) runs on CPU {cpu} for {since}");
            warn(Severity::Warning, text);
        }
        if queue.running > MANY {
            let text = format!("{} tasks share CPU {cpu}", queue.running);
            warn(Severity::Warning, text);
        }
    }
    warnings
}
