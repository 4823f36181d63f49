//! Open files of tasks, by crash(8)'s `files`.

use clap::Args;

use super::section::{Progress, Section};
use crate::report::{Answer, Block, Table};
use crate::subsystems::files::{self, Files};
use crate::subsystems::tasks;
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
        let found = files::read(kernel, task.address.0)?;
        let title = format!("Files of {} {}", task.pid, task.title());
        let unknown = || "?".to_owned();
        let facts = vec![
            ("ROOT", found.root.clone().unwrap_or_else(unknown)),
            ("CWD", found.folder.clone().unwrap_or_else(unknown)),
        ];
        let answer = Answer::new(title, &found)?.with(Block::Facts(facts));
        let answer = answer.with(Block::Table(table(&found)));
        Ok(Answer { missing: found.missing, ..answer })
    }
}

fn table(found: &Files) -> Table {
    let mut table = Table::new(&[">FD", "FILE", "INODE", "TYPE", ">POSITION", "PATH"]);
    for file in &found.files {
        table.row([
            file.descriptor.to_string(),
            format!("{:x}", file.file.0),
            format!("{:x}", file.inode.0),
            file.kind.to_owned(),
            file.position.to_string(),
            file.path.clone(),
        ]);
    }
    table
}
