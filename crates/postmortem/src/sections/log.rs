//! The kernel's log.

use clap::Args;

use super::section::{Progress, Section};
use crate::report::{Answer, Block};
use crate::subsystems::log;
use crate::{Error, Kernel};

/// The part to show.
#[derive(Args, Clone, Debug)]
pub struct Arguments {
    /// Only the last N records
    #[arg(short = 'n', long, value_name = "N")]
    last: Option<u64>,
}

impl Section for Arguments {
    fn answer(&self, kernel: &Kernel<'_>, _: Progress<'_>) -> Result<Answer, Error> {
        let log = log::read(kernel, self.last)?;
        let mut answer = Answer::new("Log", &log)?;
        answer.missing.clone_from(&log.missing);
        let lines: Vec<_> = log.records.iter().map(|record| record.line.as_str()).collect();
        Ok(answer.with(Block::Text(lines.join("\n"))))
    }
}
