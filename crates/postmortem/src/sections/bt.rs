//! Backtraces, as `bt` of crash(8).

use clap::Args;
use collector::Stack;
use serde::Serialize;

use super::ps::is_named;
use super::section::{Progress, Section};
use crate::report::{Answer, Block};
use crate::subsystems::stacks::{self, Registers};
use crate::subsystems::tasks;
use crate::{Error, Kernel};

/// The stacks to show: without arguments that of the CPU that crashed.
#[derive(Args, Clone, Debug)]
pub struct Arguments {
    /// Those of all CPUs, that of the CPU that crashed first
    #[arg(short = 'a', conflicts_with_all = ["all", "tasks", "cpu"])]
    cpus: bool,
    /// That of one CPU
    #[arg(short = 'c', value_name = "CPU", conflicts_with_all = ["all", "tasks"])]
    cpu: Option<u32>,
    /// Those of all tasks
    #[arg(short = 'A', conflicts_with = "tasks")]
    all: bool,
    /// PIDs, names, or addresses of a task_struct
    #[arg(value_name = "PID|COMM|TASK")]
    tasks: Vec<String>,
}

#[derive(Serialize)]
struct Data<'d> {
    stacks: &'d [Stack],
    registers: &'d [Registers],
}

impl Section for Arguments {
    fn answer(&self, kernel: &Kernel<'_>, progress: Progress<'_>) -> Result<Answer, Error> {
        let mut missing = Vec::new();
        let stacks = match self.all || !self.tasks.is_empty() {
            true => self.of_tasks(kernel, progress, &mut missing)?,
            false => {
                let mut stacks = stacks::of_cpus(kernel, self.cpu)?;
                if !self.cpus {
                    // The CPU that crashed is the first.
                    stacks.truncate(1);
                }
                stacks
            }
        };
        let shown = |registers: &Registers| {
            stacks.iter().any(|stack| stack.cpu == Some(registers.cpu) && stack.how == "registers")
        };
        let registers: Vec<_> = stacks::registers(kernel).into_iter().filter(shown).collect();
        let data = Data { stacks: &stacks, registers: &registers };
        let mut answer = Answer::new("Backtraces", &data)?;
        answer.missing = missing;
        Ok(answer.with(Block::Text(text(&stacks, &registers))))
    }
}

impl Arguments {
    fn of_tasks(
        &self,
        kernel: &Kernel<'_>,
        progress: Progress<'_>,
        missing: &mut Vec<String>,
    ) -> Result<Vec<Stack>, Error> {
        let mut found = tasks::read(kernel)?;
        missing.append(&mut found.missing);
        found
            .tasks
            .retain(|task| self.all || self.tasks.iter().any(|wanted| is_named(task, wanted)));
        if found.tasks.is_empty() {
            let wanted = self.tasks.join(", ");
            return Err(Error::Missing(format!("there is no task {wanted}; ps shows all")));
        }
        stacks::of_tasks(kernel, &found, progress)
    }
}

fn text(stacks: &[Stack], registers: &[Registers]) -> String {
    let text = |stack: &Stack| {
        let own = registers.iter().find(|own| stack.cpu == Some(own.cpu));
        let own = own.filter(|_| stack.how == "registers");
        format!("{stack}{}", own.map(of_registers).unwrap_or_default())
    };
    stacks.iter().map(text).collect::<Vec<_>>().join("\n")
}

/// The registers, four a line.
fn of_registers(registers: &Registers) -> String {
    let mut text = String::new();
    let width = if registers.get("eip").is_some() { 8 } else { 16 };
    for line in registers.values.chunks(4) {
        let cell = |(name, value): &(&str, collector::Hex)| {
            format!("{:>8}: {:0width$x}", name.to_uppercase(), value.0)
        };
        text += &line.iter().map(cell).collect::<Vec<_>>().join(" ");
        text.push('\n');
    }
    text
}
