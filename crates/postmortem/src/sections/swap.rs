//! Swap areas, by crash(8)'s `swap`.

use clap::Args;

use super::section::{Progress, Section};
use crate::report::{Answer, Block, Table};
use crate::subsystems::swap;
use crate::{Error, Kernel};

/// There are none.
#[derive(Args, Clone, Debug)]
pub struct Arguments {}

impl Section for Arguments {
    fn answer(&self, kernel: &Kernel<'_>, _: Progress<'_>) -> Result<Answer, Error> {
        let swap = swap::read(kernel)?;
        let names = ["SWAP_INFO_STRUCT", "TYPE", ">SIZE", ">USED", ">PCT", ">PRI", "FILENAME"];
        let mut table = Table::new(&names);
        for area in &swap.areas {
            let percent = area.used_kib.saturating_mul(100).checked_div(area.size_kib);
            table.row([
                format!("{:x}", area.address.0),
                area.kind.to_owned(),
                format!("{}k", area.size_kib),
                format!("{}k", area.used_kib),
                format!("{}%", percent.unwrap_or(0)),
                area.priority.to_string(),
                area.file.clone(),
            ]);
        }
        let answer = Answer::new("Swap areas", &swap)?.with(Block::Table(table));
        Ok(Answer { warnings: swap::warnings(&swap), missing: swap.missing, ..answer })
    }
}
