//! The text of VMCOREINFO.

use clap::Args;

use super::section::{Progress, Section};
use crate::report::{Answer, Block};
use crate::{Error, Kernel, printable};

/// There are none.
#[derive(Args, Clone, Debug)]
pub struct Arguments {}

impl Section for Arguments {
    fn answer(&self, kernel: &Kernel<'_>, _: Progress<'_>) -> Result<Answer, Error> {
        let text = kernel.vmcoreinfo();
        let lines: Vec<_> = text.split(|byte| *byte == b'\n').map(printable).collect();
        let answer = Answer::new("VMCOREINFO", &lines)?;
        Ok(answer.with(Block::Text(lines.join("\n"))))
    }
}
