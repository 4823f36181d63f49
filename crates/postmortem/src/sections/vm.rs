//! The address space of a process, by crash(8)'s `vm`.

use clap::Args;

use super::section::{Progress, Section};
use crate::report::{Answer, Block, Table, bytes};
use crate::subsystems::{address_space, tasks};
use crate::{Error, Kernel};

/// The task.
#[derive(Args, Clone, Debug)]
pub struct Arguments {
    /// Number of the task
    #[arg(value_name = "PID")]
    pid: u32,
}

impl Section for Arguments {
    fn answer(&self, kernel: &Kernel<'_>, _: Progress<'_>) -> Result<Answer, Error> {
        let task = tasks::with_pid(kernel, self.pid)?;
        let found = address_space::read(kernel, task.address.0)?;
        let title = format!("Address space of {} {}", task.pid, task.title());
        let facts = vec![
            ("MM", format!("{:x}", found.mm.0)),
            ("PGD", format!("{:x}", found.pgd.0)),
            ("TOTAL_VM", bytes(found.total_bytes)),
        ];
        let mut table = Table::new(&["VMA", "START", "END", "MODE", ">FLAGS", ">OFFSET", "FILE"]);
        for area in &found.areas {
            table.row([
                format!("{:x}", area.area.0),
                format!("{:x}", area.start.0),
                format!("{:x}", area.end.0),
                area.mode.clone(),
                format!("{:x}", area.flags.0),
                format!("{:x}", area.offset),
                area.name.clone(),
            ]);
        }
        let answer = Answer::new(title, &found)?.with(Block::Facts(facts));
        Ok(Answer { missing: found.missing, ..answer.with(Block::Table(table)) })
    }
}
