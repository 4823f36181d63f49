//! Tasks that hang: asleep, and not to be woken by a signal.

use collector::{Hex, NamedFrame, Stack};
use serde::Serialize;

use super::stacks;
use super::tasks::{Task, Tasks};
use crate::report::{Severity, Warning, duration};
use crate::{Error, Kernel};

/// Seconds after which Linux reports a task that hangs, unless it has another limit.
const USUAL_LIMIT: u64 = 120;
/// Most tasks whose stacks are followed.
const MOST: usize = 256;
/// Most warnings that name a task.
const MOST_NAMED: usize = 3;
/// Beginnings of functions through which a task gives up its CPU.
const SCHEDULER: [&str; 5] =
    ["__schedule", "schedule", "io_schedule", "preempt_schedule", "__switch_to"];

/// The tasks that hang, the longest first.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Hung {
    /// The tasks.
    pub tasks: Vec<HungTask>,
    /// Seconds after which the kernel would report one.
    pub limit: u64,
    /// Missing parts, with the reasons.
    #[serde(skip)]
    pub missing: Vec<String>,
}

/// A task that hangs.
#[derive(Clone, Debug, Serialize)]
pub struct HungTask {
    /// Its number.
    pub pid: u32,
    /// Its name; that of a thread of the kernel in brackets.
    pub comm: String,
    /// Address of its `task_struct`.
    pub address: Hex,
    /// The CPU that it ran on last.
    pub cpu: Option<u32>,
    /// Nanoseconds since it went to sleep.
    pub since_ns: Option<u64>,
    /// The functions that wait, innermost first, without the scheduler.
    pub frames: Vec<NamedFrame>,
}

/// Finds them among the tasks of a kernel.
///
/// # Errors
/// None: each missing part is named in the data.
pub fn read(kernel: &Kernel<'_>, tasks: &Tasks) -> Result<Hung, Error> {
    let since = |task: &Task| task.off_cpu_ns.or(task.since_ns);
    let mut blocked: Vec<_> = tasks.tasks.iter().filter(|task| task.is_blocked).cloned().collect();
    blocked.sort_by_key(|task| core::cmp::Reverse(since(task)));
    let followed = Tasks { tasks: blocked.iter().take(MOST).cloned().collect(), missing: vec![] };
    let stacks = stacks::of_tasks(kernel, &followed, &mut |_, _| {});
    let mut missing = Vec::new();
    let stacks =
        stacks.map_err(|error| missing.push(format!("stacks: {error}"))).unwrap_or_default();
    let hung = blocked.iter().map(|task| HungTask {
        pid: task.pid,
        comm: task.title(),
        address: task.address,
        cpu: task.cpu,
        since_ns: since(task),
        frames: stacks
            .iter()
            .find(|stack| stack.pid == Some(task.pid))
            .map(waiting)
            .unwrap_or_default(),
    });
    let limit = kernel.global("sysctl_hung_task_timeout_secs").and_then(|limit| limit.number());
    let limit = limit.ok().filter(|limit| *limit > 0).unwrap_or(USUAL_LIMIT);
    Ok(Hung { tasks: hung.collect(), limit, missing })
}

/// The frames without those of the scheduler.
fn waiting(stack: &Stack) -> Vec<NamedFrame> {
    let is_scheduler = |frame: &&NamedFrame| {
        let name = frame.name.as_deref().unwrap_or_default();
        SCHEDULER.iter().any(|start| name.starts_with(start))
    };
    let sure = stack.frames.iter().filter(|frame| frame.sure);
    sure.skip_while(is_scheduler).cloned().collect()
}

/// Conclusions for the first page.
pub fn warnings(hung: &Hung) -> Vec<Warning> {
    let limit = hung.limit.saturating_mul(1_000_000_000);
    let is_long = |task: &&HungTask| task.since_ns.is_some_and(|since| since >= limit);
    let long: Vec<_> = hung.tasks.iter().filter(is_long).collect();
    let warning = |text| Warning { severity: Severity::Critical, text, section: "hung" };
    let mut warnings: Vec<_> =
        long.iter().take(MOST_NAMED).map(|task| warning(sentence(task))).collect();
    if long.len() > MOST_NAMED {
        let (more, limit) = (long.len() - MOST_NAMED, hung.limit);
        warnings.push(warning(format!("{more} more tasks hang for more than {limit} s")));
    }
    warnings
}

fn sentence(task: &HungTask) -> String {
    let since = duration(task.since_ns.unwrap_or(0));
    let name = task.frames.first().and_then(|frame| frame.name.as_deref());
    let place = name.map(|name| format!(" in {name}")).unwrap_or_default();
    format!("task {} ({}) hangs for {since}{place}", task.comm, task.pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_are_named_and_the_others_counted() {
        let task = |pid, seconds: u64| HungTask {
            pid,
            comm: "sh".to_owned(),
            address: Hex(0),
            cpu: None,
            since_ns: Some(seconds * 1_000_000_000),
            frames: Vec::new(),
        };
        let tasks = vec![task(1, 7200), task(2, 300), task(3, 121), task(4, 120), task(5, 119)];
        let found = Hung { tasks, limit: 120, missing: vec![] };
        let texts: Vec<_> = warnings(&found).into_iter().map(|warning| warning.text).collect();
        assert_eq!(texts[0], "task sh (1) hangs for 02:00:00");
        assert_eq!(texts[3..], ["1 more tasks hang for more than 120 s"]);
    }
}
