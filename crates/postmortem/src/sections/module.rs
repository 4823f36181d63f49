//! Modules, by crash(8)'s `mod`.

use clap::Args;

use super::section::{Part, Progress, Section};
use crate::report::{Answer, Block, Table};
use crate::subsystems::modules::{self, Module};
use crate::{Error, Kernel};

/// A choice of modules; all without one.
#[derive(Args, Clone, Debug, Default)]
pub struct Arguments {
    /// Only modules that taint the kernel
    #[arg(short = 't')]
    tainted: bool,
}

/// Modules on the first page: their number, and the notes.
pub(super) const PART: Part = Part { name: "modules", read: first_page };

fn first_page(kernel: &Kernel<'_>, _: Progress<'_>) -> Result<Answer, Error> {
    let found = modules::read(kernel)?;
    let tainted = found.modules.iter().filter(|module| !module.taints.is_empty()).count();
    let text = format!("{}, of them with taints {tainted}", found.modules.len());
    let facts = Block::Facts(vec![("loaded", text)]);
    let answer = Answer::new("Modules", &found)?.with(facts);
    Ok(Answer { warnings: modules::warnings(&found), missing: found.missing, ..answer })
}

impl Section for Arguments {
    fn answer(&self, kernel: &Kernel<'_>, _: Progress<'_>) -> Result<Answer, Error> {
        let mut found = modules::read(kernel)?;
        if self.tainted {
            found.modules.retain(|module| !module.taints.is_empty());
        }
        let names = ["MODULE", "NAME", "TEXT_BASE", ">SIZE", ">REFS", "STATE", "TAINT", "USED BY"];
        let mut table = Table::new(&names);
        found.modules.iter().for_each(|module| table.row(row(module)));
        let answer = Answer::new("Modules", &found)?.with(Block::Table(table));
        Ok(Answer { warnings: modules::warnings(&found), missing: found.missing, ..answer })
    }
}

fn row(module: &Module) -> [String; 8] {
    let mut users = module.used_by.clone();
    if module.is_permanent {
        users.push("[permanent]".to_owned());
    }
    [
        format!("{:x}", module.module.0),
        module.name.clone(),
        format!("{:x}", module.address.0),
        module.size.to_string(),
        module.references.map_or_else(|| "-".to_owned(), |count| count.to_string()),
        module.state.to_owned(),
        module.taints.clone(),
        users.join(","),
    ]
}
