//! Run queues, as `runq` of crash(8).

use clap::Args;

use super::section::{Part, Progress, Section};
use crate::report::{Answer, Block, Table, duration};
use crate::subsystems::run_queues::{self, Queue, RunQueues, Runner};
use crate::{Error, Kernel};

/// The queues to show.
#[derive(Args, Clone, Debug)]
pub struct Arguments {
    /// Only that of one CPU
    #[arg(short = 'c', value_name = "CPU")]
    cpu: Option<u32>,
}

/// Its part of the first page.
pub(super) const PART: Part = Part { name: "runq", read: |kernel, _| first(kernel) };

fn first(kernel: &Kernel<'_>) -> Result<Answer, Error> {
    let found = run_queues::read(kernel)?;
    let answer = answer(&found)?;
    Ok(answer.with(Block::Table(queues(&found))))
}

fn answer(found: &RunQueues) -> Result<Answer, Error> {
    let mut answer = Answer::new("Run queues", found)?;
    answer.warnings = run_queues::warnings(found);
    answer.missing.clone_from(&found.missing);
    Ok(answer)
}

impl Section for Arguments {
    fn answer(&self, kernel: &Kernel<'_>, _: Progress<'_>) -> Result<Answer, Error> {
        let mut found = run_queues::read(kernel)?;
        if let Some(cpu) = self.cpu {
            found.queues.retain(|queue| queue.cpu == cpu);
            if found.queues.is_empty() {
                return Err(Error::Missing(format!("CPU {cpu} was not online; runq shows all")));
            }
        }
        let answer = answer(&found)?.with(Block::Table(queues(&found)));
        let waiting = waiting(&found);
        Ok(match waiting.rows.is_empty() {
            true => answer,
            false => answer.with(Block::Heading("Waiting".to_owned())).with(Block::Table(waiting)),
        })
    }
}

fn queues(found: &RunQueues) -> Table {
    let columns =
        [">CPU", "RQ", ">RUNNING", ">SWITCHES", ">CLOCK", ">PID", "CURRENT", ">SINCE", "IRQS"];
    let mut table = Table::new(&columns);
    for queue in &found.queues {
        let current = queue.current.as_ref();
        let clock = queue.clock_ns.map(|clock| format!("{:.6}", clock as f64 / 1e9));
        let interrupts = queue.interrupts_off.map_or("-", |off| if off { "off" } else { "on" });
        table.row([
            queue.cpu.to_string(),
            format!("{:x}", queue.address.0),
            queue.running.to_string(),
            queue.switches.map(|count| count.to_string()).unwrap_or_default(),
            clock.unwrap_or_default(),
            current.map(|task| task.pid.to_string()).unwrap_or_default(),
            current.map(|task| task.comm.clone()).unwrap_or_default(),
            current.and_then(|task| task.since_ns).map(duration).unwrap_or_default(),
            interrupts.to_owned(),
        ]);
    }
    table
}

fn waiting(found: &RunQueues) -> Table {
    let mut table = Table::new(&[">CPU", "CLASS", ">PRIO", ">PID", "TASK", ">LAST RAN", "COMM"]);
    let mut rows = |queue: &Queue, class: &str, runners: &[Runner]| {
        for runner in runners {
            table.row([
                queue.cpu.to_string(),
                class.to_owned(),
                runner.priority.to_string(),
                runner.pid.to_string(),
                format!("{:x}", runner.address.0),
                runner.since_ns.map(duration).unwrap_or_default(),
                runner.comm.clone(),
            ]);
        }
    };
    for queue in &found.queues {
        rows(queue, "deadline", &queue.deadline);
        rows(queue, "real-time", &queue.real_time);
        rows(queue, "fair", &queue.fair);
    }
    table
}
