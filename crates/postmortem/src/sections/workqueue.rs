//! Pools of workers, and the work that waits for them.

use clap::Args;

use super::section::{Part, Progress, Section};
use crate::report::{Answer, Block, Table, duration};
use crate::subsystems::workqueues::{self, Pool};
use crate::{Error, Kernel};

/// There are none.
#[derive(Args, Clone, Debug)]
pub struct Arguments {}

/// Pools on the first page: only their warnings.
pub(super) const PART: Part = Part { name: "workqueues", read: first_page };

fn first_page(kernel: &Kernel<'_>, _: Progress<'_>) -> Result<Answer, Error> {
    let found = workqueues::read(kernel)?;
    let answer = Answer::new("Work queues", &found)?;
    Ok(Answer { warnings: workqueues::warnings(&found), missing: found.missing, ..answer })
}

impl Section for Arguments {
    fn answer(&self, kernel: &Kernel<'_>, _: Progress<'_>) -> Result<Answer, Error> {
        let found = workqueues::read(kernel)?;
        let names = [">POOL", "WORKER_POOL", "CPU", ">WORKERS", ">IDLE", ">WAITING", ">STALLED"];
        let mut table = Table::new(&names);
        for pool in &found.pools {
            table.row([
                pool.number.to_string(),
                format!("{:x}", pool.address.0),
                pool.cpu.map_or("several".to_owned(), |cpu| cpu.to_string()),
                pool.workers.to_string(),
                pool.idle.to_string(),
                pool.waiting.len().to_string(),
                pool.stalled_ns.map(duration).unwrap_or_default(),
            ]);
        }
        let mut answer = Answer::new("Work queues", &found)?.with(Block::Table(table));
        let work = work(&found.pools);
        if !work.rows.is_empty() {
            answer.blocks.extend([Block::Heading("Work".to_owned()), Block::Table(work)]);
        }
        Ok(Answer { warnings: workqueues::warnings(&found), missing: found.missing, ..answer })
    }
}

/// Work that runs, and work that waits.
fn work(pools: &[Pool]) -> Table {
    let mut table = Table::new(&[">POOL", "STATE", ">PID", "QUEUE", "FUNCTION"]);
    for pool in pools {
        let number = || pool.number.to_string();
        for worker in &pool.busy {
            let (queue, function) = (worker.queue.clone(), worker.function.clone());
            let pid = worker.pid.map(|pid| pid.to_string()).unwrap_or_default();
            table.row([number(), "runs".to_owned(), pid, queue, function]);
        }
        for function in &pool.waiting {
            let none = String::new;
            table.row([number(), "waits".to_owned(), none(), none(), function.clone()]);
        }
    }
    table
}
