//! Virtual addresses as physical ones, by the kernel's page tables.

use clap::Args;
use serde_json::json;

use super::place;
use super::section::{Progress, Section};
use crate::report::{Answer, Block, Table};
use crate::{Error, Kernel};

/// Names of the tables, from the last one up.
const TABLES: [&str; 5] = ["PTE", "PMD", "PUD", "P4D", "PGD"];
/// Flags of an entry by their bits (Linux, `arch/x86/include/asm/pgtable_types.h`).
const FLAGS: [(u32, &str); 11] = [
    (0, "PRESENT"),
    (1, "RW"),
    (2, "USER"),
    (3, "PWT"),
    (4, "PCD"),
    (5, "ACCESSED"),
    (6, "DIRTY"),
    (7, "PSE"),
    (8, "GLOBAL"),
    (58, "SOFT_DIRTY"),
    (63, "NX"),
];

/// Addresses.
#[derive(Args, Clone, Debug)]
pub struct Arguments {
    /// Hexadecimal address, symbol, SYMBOL+OFFSET, or SYMBOL:CPU
    #[arg(value_name = "ADDRESS|SYMBOL", required = true)]
    at: Vec<String>,
}

impl Section for Arguments {
    fn answer(&self, kernel: &Kernel<'_>, _: Progress<'_>) -> Result<Answer, Error> {
        let mut answer = Answer::default();
        let mut list = Vec::new();
        for text in &self.at {
            let at = place::address(kernel, text)?;
            let walk = kernel.dead().memory.walk(at);
            let walk = walk.map_err(|source| Error::Memory { at, source })?;
            let why = "VMCOREINFO does not tell where the kernel's page tables are";
            let walk = walk.ok_or_else(|| Error::Missing(why.to_owned()))?;
            let entries = &walk.entries[..walk.count];
            // A walk that ends early ended at a large page, or at nothing.
            let levels = levels(kernel);
            let mut table = Table::new(&["TABLE", ">ENTRY", "FLAGS"]);
            let mut shown = Vec::new();
            for (entry, level) in entries.iter().zip((0..levels).rev()) {
                let (name, flags) = (name(level, levels), flags(*entry));
                shown
                    .push(json!({ "table": name, "entry": format!("{entry:#x}"), "flags": flags }));
                table.row([name.to_owned(), format!("{entry:x}"), flags.join(" ")]);
            }
            let physical = walk.place.map(|(physical, _)| format!("{physical:x}"));
            let to = physical.clone().unwrap_or_else(|| "(not mapped)".to_owned());
            let mut first = Table::new(&["VIRTUAL", "PHYSICAL"]);
            first.row([format!("{at:x}"), to]);
            answer = answer.with(Block::Table(first)).with(Block::Table(table));
            list.push(json!({
                "virtual": format!("{at:#x}"),
                "physical": physical.map(|physical| format!("0x{physical}")),
                "entries": shown,
            }));
        }
        answer.title = "Physical addresses".to_owned();
        answer.data = list.into();
        Ok(answer)
    }
}

/// Number of levels of the kernel's page tables.
fn levels(kernel: &Kernel<'_>) -> usize {
    let get = |key| vmcore::vmcoreinfo_get(kernel.vmcoreinfo(), key);
    match (kernel.is_i386(), get("CONFIG_X86_PAE"), get("NUMBER(pgtable_l5_enabled)")) {
        (true, Some("y"), _) => 3,
        (true, ..) => 2,
        (false, _, Some("1")) => 5,
        _ => 4,
    }
}

/// The highest table is always called PGD.
fn name(level: usize, levels: usize) -> &'static str {
    if level + 1 == levels { "PGD" } else { TABLES.get(level).copied().unwrap_or("?") }
}

fn flags(entry: u64) -> Vec<&'static str> {
    let set = FLAGS.iter().filter(|(bit, _)| entry >> bit & 1 != 0);
    set.map(|(_, name)| *name).collect()
}
