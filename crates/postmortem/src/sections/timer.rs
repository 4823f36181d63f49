//! Timers, as `timer` of crash(8).

use clap::Args;

use super::section::{Part, Progress, Section};
use crate::report::{Answer, Block, Table};
use crate::subsystems::timers::{self, Sleeper, Timers};
use crate::{Error, Kernel};

/// The timers to show.
#[derive(Args, Clone, Debug)]
pub struct Arguments {
    /// Only high-resolution timers
    #[arg(short = 'r')]
    queues: bool,
    /// Only the timers of one CPU
    #[arg(short = 'C', value_name = "CPU")]
    cpu: Option<u32>,
}

/// Its part of the first page: only warnings.
pub(super) const PART: Part =
    Part { name: "timer", read: |kernel, _| answer(&timers::read(kernel)?) };

fn answer(found: &Timers) -> Result<Answer, Error> {
    let mut answer = Answer::new("Timers", found)?;
    answer.warnings = timers::warnings(found);
    answer.missing.clone_from(&found.missing);
    Ok(answer)
}

impl Section for Arguments {
    fn answer(&self, kernel: &Kernel<'_>, _: Progress<'_>) -> Result<Answer, Error> {
        let mut found = timers::read(kernel)?;
        if let Some(cpu) = self.cpu {
            found.cpus.retain(|own| own.cpu == cpu);
            if found.cpus.is_empty() {
                return Err(Error::Missing(format!("CPU {cpu} was not online; timer shows all")));
            }
        }
        if self.queues {
            found.cpus.iter_mut().for_each(|cpu| cpu.wheels.clear());
        }
        let answer = answer(&found)?;
        let answer = match self.queues {
            true => answer,
            false => answer
                .with(Block::Heading(format!("Timers by ticks (now {})", found.jiffies)))
                .with(Block::Table(wheels(&found))),
        };
        let now = found.now_ns.map(|now| format!(" (now {now} ns)")).unwrap_or_default();
        let heading = Block::Heading(format!("High-resolution timers{now}"));
        Ok(answer.with(heading).with(Block::Table(queues(&found))))
    }
}

fn of_sleeper(sleeper: Option<&Sleeper>) -> String {
    sleeper.map(|task| format!("{} ({})", task.comm, task.pid)).unwrap_or_default()
}

fn wheels(found: &Timers) -> Table {
    let columns = [">CPU", ">WHEEL", ">EXPIRES", ">IN TICKS", "TIMER", "FUNCTION", "TASK OR WORK"];
    let mut table = Table::new(&columns);
    for cpu in &found.cpus {
        for wheel in &cpu.wheels {
            for timer in &wheel.timers {
                table.row([
                    cpu.cpu.to_string(),
                    wheel.index.to_string(),
                    timer.expires.to_string(),
                    timer.in_ticks.to_string(),
                    format!("{:x}", timer.address.0),
                    timer.name.clone(),
                    timer.work.clone().unwrap_or_else(|| of_sleeper(timer.sleeper.as_ref())),
                ]);
            }
        }
    }
    table
}

fn queues(found: &Timers) -> Table {
    let columns =
        [">CPU", "CLOCK", ">SOFT EXPIRES", ">EXPIRES", ">IN S", "TIMER", "FUNCTION", "TASK"];
    let mut table = Table::new(&columns);
    for cpu in &found.cpus {
        for clock in &cpu.clocks {
            for timer in &clock.timers {
                let seconds = timer.in_ns.map(|time| format!("{:.6}", time as f64 / 1e9));
                let soft = if clock.is_soft { " (soft)" } else { "" };
                table.row([
                    cpu.cpu.to_string(),
                    format!("{}{soft}", clock.clock),
                    timer.soft_expires_ns.to_string(),
                    timer.expires_ns.to_string(),
                    seconds.unwrap_or_default(),
                    format!("{:x}", timer.address.0),
                    timer.name.clone(),
                    of_sleeper(timer.sleeper.as_ref()),
                ]);
            }
        }
    }
    table
}
