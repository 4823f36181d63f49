//! The number of free pages in the counters of the dead kernel's zones.

use anyhow::{Context, Result, ensure};

use crate::check::core_file::CoreFile;
use crate::check::evidence::Evidence;
use crate::check::notes::vmcoreinfo_text;
use crate::check::page_tables::translate;

/// More zones and orders than these no kernel has.
const MOST_ZONES: u64 = 8;
const MOST_ORDERS: u64 = 16;

/// The sum of `nr_free` over all zones and orders of the first node, in pages: the free pages at
/// the moment of the dump.
///
/// # Errors
/// VMCOREINFO lacks something, or the vmcore lacks the counters.
pub fn in_zones(evidence: &Evidence<'_>) -> Result<u64> {
    let info = vmcoreinfo_text(evidence.core)?;
    let number = |key: &str| value(&info, key)?.parse::<u64>().with_context(|| key.to_string());
    let node = node(evidence, &info)?;
    let zones = read(evidence, node + number("OFFSET(pglist_data.nr_zones)")?, 4)?;
    let orders = number("LENGTH(zone.free_area)")?;
    ensure!(zones <= MOST_ZONES && orders <= MOST_ORDERS, "{zones} zones with {orders} orders");
    // nr_free follows the lists, one for each kind of pages.
    let lists = number("LENGTH(free_area.free_list)")? * number("SIZE(list_head)")?;
    let first =
        node + number("OFFSET(pglist_data.node_zones)")? + number("OFFSET(zone.free_area)")?;
    let (zone_size, area_size) = (number("SIZE(zone)")?, number("SIZE(free_area)")?);
    let mut pages = 0;
    for zone in 0..zones {
        for order in 0..orders {
            let area = first + zone * zone_size + order * area_size;
            pages += read(evidence, area + lists, word(evidence.core))? << order;
        }
    }
    Ok(pages)
}

/// Virtual address of the first node's `struct pglist_data`.
fn node(evidence: &Evidence<'_>, info: &str) -> Result<u64> {
    let symbol = |name: &str| {
        let value = value(info, &format!("SYMBOL({name})"))?;
        u64::from_str_radix(value, 16).with_context(|| name.to_string())
    };
    // A kernel without NUMA has the only one itself, others have pointers to theirs.
    match symbol("contig_page_data") {
        Ok(node) => Ok(node),
        Err(_) => read(evidence, symbol("node_data")?, word(evidence.core)),
    }
}

/// Bytes of `unsigned long`.
fn word(core: &CoreFile) -> usize {
    let registers = core.notes.iter().find_map(|note| note.registers());
    registers.map_or(8, |registers| registers.word)
}

/// A number of `length` bytes at a virtual address of the dead kernel.
fn read(evidence: &Evidence<'_>, address: u64, length: usize) -> Result<u64> {
    let physical = match evidence.dead.page_tables {
        Some(tables) => translate(evidence.core, tables, address)?,
        None => address.wrapping_sub(evidence.dead.virtual_base),
    };
    let mut bytes = [0; 8];
    evidence.core.read_physical(physical, &mut bytes[..length])?;
    Ok(u64::from_le_bytes(bytes))
}

fn value<'t>(info: &'t str, key: &str) -> Result<&'t str> {
    let found = info.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    found.with_context(|| format!("VMCOREINFO has no {key}"))
}
