//! Interrupts, by crash(8)'s `irq`.

use clap::Args;

use super::section::{Part, Progress, Section};
use crate::report::{Answer, Block, Table};
use crate::subsystems::irqs::{self, Counter, Interrupts, Irq};
use crate::{Error, Kernel};

/// Names of the columns of CPUs; a table shows no more of them.
const CPUS: [&str; 16] = [
    "CPU0", "CPU1", "CPU2", "CPU3", "CPU4", "CPU5", "CPU6", "CPU7", "CPU8", "CPU9", "CPU10",
    "CPU11", "CPU12", "CPU13", "CPU14", "CPU15",
];

/// The part of the interrupts to show; all without one.
#[derive(Args, Clone, Debug, Default)]
pub struct Arguments {
    /// Only softirqs
    #[arg(short = 'b')]
    softirqs: bool,
}

/// Interrupts on the first page: only their warnings.
pub(super) const PART: Part = Part { name: "interrupts", read: first_page };

fn first_page(kernel: &Kernel<'_>, _: Progress<'_>) -> Result<Answer, Error> {
    let found = irqs::read(kernel)?;
    let answer = Answer::new("Interrupts", &found)?;
    Ok(Answer { warnings: irqs::warnings(&found), missing: found.missing, ..answer })
}

impl Section for Arguments {
    fn answer(&self, kernel: &Kernel<'_>, _: Progress<'_>) -> Result<Answer, Error> {
        let found = irqs::read(kernel)?;
        let mut answer = Answer::new("Interrupts", &found)?;
        if !self.softirqs {
            answer.blocks.push(Block::Table(interrupts(&found)));
            answer.blocks.push(Block::Heading("Softirqs".to_owned()));
        }
        let mut table = table(&found, &[]);
        found.softirqs.iter().for_each(|counter| table.row(cells(counter)));
        answer.blocks.push(Block::Table(table));
        Ok(Answer { warnings: irqs::warnings(&found), missing: found.missing, ..answer })
    }
}

fn interrupts(found: &Interrupts) -> Table {
    let mut table = table(found, &["CHIP", ">HWIRQ", "TYPE", "HANDLERS"]);
    found.irqs.iter().for_each(|irq| table.row(row(irq, found.cpus.len())));
    for counter in &found.counters {
        let rest = ["", "", "", counter.text].map(ToOwned::to_owned);
        table.row(cells(counter).chain(rest));
    }
    table
}

/// A table with a column for each CPU, or with their sum alone if there are too many.
fn table(found: &Interrupts, more: &[&'static str]) -> Table {
    let mut table = Table::new(&[">IRQ"]);
    let names = CPUS.get(..found.cpus.len()).unwrap_or(&["ALL CPUS"]);
    table.columns.extend(names.iter().map(|name| (*name, true)));
    table.columns.extend(Table::new(more).columns);
    table
}

fn counts(counts: &[u64]) -> Vec<String> {
    match counts.len() <= CPUS.len() {
        true => counts.iter().map(u64::to_string).collect(),
        false => {
            vec![counts.iter().fold(0, |sum: u64, count| sum.saturating_add(*count)).to_string()]
        }
    }
}

fn cells(counter: &Counter) -> impl Iterator<Item = String> {
    [counter.name.clone()].into_iter().chain(counts(&counter.counts))
}

fn row(irq: &Irq, cpus: usize) -> impl Iterator<Item = String> {
    let mut all = irq.counts.clone();
    all.resize(cpus, 0);
    let rest = [
        irq.chip.clone().unwrap_or_else(|| "None".to_owned()),
        irq.hardware.map(|number| number.to_string()).unwrap_or_default(),
        irq.trigger.clone(),
        irq.handlers.join(", "),
    ];
    [irq.number.to_string()].into_iter().chain(counts(&all)).chain(rest)
}
