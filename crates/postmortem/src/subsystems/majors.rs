//! Numbers of drivers (Linux, `fs/char_dev.c`, `block/genhd.c`), as `/proc/devices` has them.

use serde::Serialize;

use super::holes::Holes;
use crate::{Error, Kernel, Object};

/// Chains of a hash table (`CHRDEV_MAJOR_HASH_SIZE`, `BLKDEV_MAJOR_HASH_SIZE`).
const CHAINS: u64 = 255;
/// Most entries of a table.
const MOST: usize = 1 << 16;

/// Numbers of all drivers.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Majors {
    /// Those of character devices, by number.
    pub characters: Vec<Major>,
    /// Those of disks, by number.
    pub blocks: Vec<Major>,
    /// Parts that could not be read.
    pub missing: Vec<String>,
}

/// The number of a driver.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Major {
    /// The number.
    pub major: u64,
    /// Its first minor number; 0 of disks.
    pub first_minor: u64,
    /// Its name.
    pub name: String,
}

/// Reads both tables.
pub fn read(kernel: &Kernel<'_>) -> Majors {
    let mut holes = Holes::default();
    let characters = holes.take("character devices", table(kernel, "chrdevs"));
    let blocks = holes.take("block devices", table(kernel, "major_names"));
    let sorted = |found: Option<Vec<Major>>| {
        let mut list = found.unwrap_or_default();
        list.sort();
        list
    };
    let (characters, blocks) = (sorted(characters), sorted(blocks));
    Majors { characters, blocks, missing: holes.into_list() }
}

fn table(kernel: &Kernel<'_>, name: &str) -> Result<Vec<Major>, Error> {
    let chains = kernel.global(name)?;
    let mut found = Vec::new();
    for chain in 0..CHAINS {
        let mut next = chains.index(chain)?.deref_or_null()?;
        while let Some(entry) = next {
            if found.len() >= MOST {
                let why = "too many entries";
                return Err(Error::Damaged { what: "table of drivers", at: entry.address(), why });
            }
            found.push(major(&entry)?);
            next = entry.field("next")?.deref_or_null()?;
        }
    }
    Ok(found)
}

fn major(entry: &Object<'_>) -> Result<Major, Error> {
    let has_minor = entry.has("baseminor");
    let first_minor = if has_minor { entry.field("baseminor")?.number()? } else { 0 };
    let name = entry.field("name")?.text()?;
    Ok(Major { major: entry.field("major")?.number()?, first_minor, name })
}
