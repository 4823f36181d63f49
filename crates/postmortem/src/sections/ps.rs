//! Tasks, as `ps` of crash(8) shows them.

use clap::Args;

use super::section::{Progress, Section};
use crate::report::{Answer, Block, Table, duration};
use crate::subsystems::tasks::{self, Task, Tasks};
use crate::{Error, Kernel};

/// The tasks to show.
#[derive(Args, Clone, Debug)]
pub struct Arguments {
    /// With the times: start, time in user mode and in the kernel
    #[arg(short = 't', conflicts_with = "last")]
    times: bool,
    /// By the time since they last got a CPU, the shortest first
    #[arg(short = 'm')]
    last: bool,
    /// With the arguments of each process, which are in its own memory
    #[arg(short = 'a', conflicts_with_all = ["times", "last", "kernel"])]
    arguments: bool,
    /// Only threads of the kernel
    #[arg(short = 'k', conflicts_with = "user")]
    kernel: bool,
    /// Only processes of users
    #[arg(short = 'u')]
    user: bool,
    /// Only the processes, without their other threads
    #[arg(short = 'G')]
    leaders: bool,
    /// PIDs, names, or addresses of a task_struct; all tasks without them
    #[arg(value_name = "PID|COMM|TASK")]
    tasks: Vec<String>,
}

impl Section for Arguments {
    fn answer(&self, kernel: &Kernel<'_>, _: Progress<'_>) -> Result<Answer, Error> {
        let mut found = tasks::read(kernel)?;
        found.tasks.retain(|task| self.wants(task));
        if found.tasks.is_empty() && !self.tasks.is_empty() {
            let wanted = self.tasks.join(", ");
            return Err(Error::Missing(format!("there is no task {wanted}; ps shows all")));
        }
        if self.arguments {
            return arguments(kernel, &found);
        }
        if self.last {
            found.tasks.sort_by_key(|task| task.since_ns.unwrap_or(u64::MAX));
        }
        let mut answer = Answer::new("Tasks", &found)?;
        answer.missing.clone_from(&found.missing);
        Ok(answer.with(Block::Table(match (self.times, self.last) {
            (true, _) => times(&found),
            (_, true) => last(&found),
            _ => plain(&found),
        })))
    }
}

impl Arguments {
    fn wants(&self, task: &Task) -> bool {
        if self.kernel && !task.is_kernel || self.user && task.is_kernel {
            return false;
        }
        if self.leaders && task.pid != task.tgid {
            return false;
        }
        self.tasks.is_empty() || self.tasks.iter().any(|wanted| is_named(task, wanted))
    }
}

fn arguments(kernel: &Kernel<'_>, found: &Tasks) -> Result<Answer, Error> {
    let (all, missing) = tasks::arguments(kernel, &found.tasks);
    let mut answer = Answer::new("Arguments of processes", &all)?;
    answer.missing.clone_from(&found.missing);
    answer.missing.extend(missing);
    let mut table = Table::new(&[">PID", "COMM", "ARGUMENTS"]);
    for process in all {
        let arguments = process.arguments.map(|arguments| arguments.join(" "));
        table.row([process.pid.to_string(), process.comm, or_none(arguments)]);
    }
    Ok(answer.with(Block::Table(table)))
}

/// True if this is the task's number, name or address.
pub(super) fn is_named(task: &Task, wanted: &str) -> bool {
    let address = wanted.strip_prefix("0x").unwrap_or(wanted);
    let is_address = address.len() > 7
        && u64::from_str_radix(address, 16).is_ok_and(|address| address == task.address.0);
    let is_number = wanted.parse() == Ok(task.pid);
    is_number || is_address || wanted == task.comm || wanted == task.title()
}

fn or_none<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// `>` before the task of a CPU.
fn mark(task: &Task) -> String {
    let mark = if task.is_active { ">" } else { "" };
    mark.to_owned()
}

fn plain(found: &Tasks) -> Table {
    let columns = [
        "", ">PID", ">TGID", ">PPID", ">CPU", "TASK", "ST", ">%MEM", ">VSZ", ">RSS", ">UID", "COMM",
    ];
    let mut table = Table::new(&columns);
    for task in &found.tasks {
        let kib = |bytes: Option<u64>| (bytes.unwrap_or(0) / 1024).to_string();
        table.row([
            mark(task),
            task.pid.to_string(),
            task.tgid.to_string(),
            or_none(task.ppid),
            or_none(task.cpu),
            format!("{:x}", task.address.0),
            or_none(task.state),
            format!("{:.1}", task.memory_percent.unwrap_or(0.0)),
            kib(task.virtual_bytes),
            kib(task.resident_bytes),
            or_none(task.uid),
            task.title(),
        ]);
    }
    table
}

fn times(found: &Tasks) -> Table {
    let mut table = Table::new(&["", ">PID", ">CPU", "TASK", ">START", ">UTIME", ">STIME", "COMM"]);
    for task in &found.tasks {
        let seconds =
            |time: Option<u64>| or_none(time.map(|time| format!("{:.3}", time as f64 / 1e9)));
        table.row([
            mark(task),
            task.pid.to_string(),
            or_none(task.cpu),
            format!("{:x}", task.address.0),
            seconds(task.started_ns),
            seconds(task.user_ns),
            seconds(task.system_ns),
            task.title(),
        ]);
    }
    table
}

fn last(found: &Tasks) -> Table {
    let mut table = Table::new(&["", ">LAST RAN", "ST", ">PID", "TASK", ">CPU", "COMM"]);
    for task in &found.tasks {
        table.row([
            mark(task),
            or_none(task.since_ns.map(duration)),
            or_none(task.state),
            task.pid.to_string(),
            format!("{:x}", task.address.0),
            or_none(task.cpu),
            task.title(),
        ]);
    }
    table
}
