//! Mounts, by crash(8)'s `mount`.

use clap::Args;

use super::section::{Part, Progress, Section};
use crate::report::{Answer, Block, Table};
use crate::subsystems::mounts;
use crate::{Error, Kernel};

/// There are none: the mounts are those of the first process.
#[derive(Args, Clone, Debug)]
pub struct Arguments {}

/// Mounts on the first page: only their warnings.
pub(super) const PART: Part = Part { name: "mounts", read: first_page };

fn first_page(kernel: &Kernel<'_>, _: Progress<'_>) -> Result<Answer, Error> {
    let found = mounts::read(kernel)?;
    let answer = Answer::new("Mounts", &found)?;
    Ok(Answer { warnings: mounts::warnings(&found), missing: found.missing, ..answer })
}

impl Section for Arguments {
    fn answer(&self, kernel: &Kernel<'_>, _: Progress<'_>) -> Result<Answer, Error> {
        let found = mounts::read(kernel)?;
        let names = ["MOUNT", "SUPERBLK", "TYPE", "DEVNAME", "DIRNAME", "OPTIONS"];
        let mut table = Table::new(&names);
        for mount in &found.mounts {
            table.row([
                format!("{:x}", mount.mount.0),
                format!("{:x}", mount.super_block.0),
                mount.kind.clone(),
                mount.device.clone(),
                mount.path.clone(),
                mount.options.clone(),
            ]);
        }
        let answer = Answer::new("Mounts", &found)?.with(Block::Table(table));
        Ok(Answer { warnings: mounts::warnings(&found), missing: found.missing, ..answer })
    }
}
