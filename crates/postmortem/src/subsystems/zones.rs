//! Memory zones: watermarks, sizes, free blocks by order (Linux, `mm/page_alloc.c`).

use collector::Hex;
use serde::Serialize;

use super::holes::Holes;
use super::vmstat::{self, Counters};
use crate::report::{Severity, Warning, bytes};
use crate::{Error, Kernel, Object};

/// Bytes of a page.
pub(crate) const PAGE: u64 = 4096;
/// Most orders of free blocks.
const MOST_ORDERS: u64 = 32;
/// Most kinds of pages that are kept apart.
const MOST_KINDS: u64 = 16;
/// Blocks of this order and above count as large: the stack of a task has order 2, requests of
/// network drivers and of the slab allocator have order 3 (`PAGE_ALLOC_COSTLY_ORDER`).
const LARGE: usize = 3;

/// All zones that have memory.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Zones {
    /// Node by node, from the lowest zone on.
    pub zones: Vec<Zone>,
    /// Parts that could not be read.
    pub missing: Vec<String>,
}

/// A memory zone. Sizes are numbers of pages.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Zone {
    /// Number of its node.
    pub node: i64,
    /// Its name: `DMA32`, `Normal`.
    pub name: String,
    /// Address of its `struct zone`.
    pub address: Hex,
    /// Free pages.
    pub free: u64,
    /// Free pages below which only the kernel itself may take more.
    pub min: u64,
    /// Free pages below which kswapd frees memory.
    pub low: u64,
    /// Free pages at which kswapd stops.
    pub high: u64,
    /// Addition to the watermarks for a while, after memory was fragmented.
    pub boost: u64,
    /// Number of its first page.
    pub start_pfn: u64,
    /// Pages from the first to the last, with holes.
    pub spanned: u64,
    /// Pages that there are.
    pub present: u64,
    /// Pages that the allocator has.
    pub managed: u64,
    /// Free pages that requests for higher zones leave alone, by the zone of the request.
    pub protection: Vec<u64>,
    /// Numbers of free blocks, by order: a block of order n has 2^n pages.
    pub free_blocks: Vec<u64>,
    /// Free pages in the lists of the CPUs.
    pub on_cpu_lists: u64,
}

impl Zone {
    /// Pages in free blocks of this order and above.
    fn free_from(&self, order: usize) -> u64 {
        let blocks = (0..).zip(&self.free_blocks).skip(order);
        blocks.map(|(order, count)| count << order).fold(0, u64::saturating_add)
    }

    /// Part of the free memory that a request of this order cannot use, in per mille (Linux,
    /// `unusable_free_index`).
    pub fn unusable(&self, order: usize) -> u64 {
        let free = self.free_from(0);
        let unusable = free.saturating_sub(self.free_from(order));
        unusable.saturating_mul(1000).checked_div(free).unwrap_or(0)
    }
}

/// Reads all zones.
///
/// # Errors
/// The reason why not even the list of nodes can be read.
pub fn read(kernel: &Kernel<'_>) -> Result<Zones, Error> {
    let mut holes = Holes::default();
    let mut found = Vec::new();
    for node in vmstat::nodes(kernel)? {
        for zone in holes.take("zones of a node", vmstat::zones(&node)).unwrap_or_default() {
            found.extend(holes.take("zone", self::zone(&zone)));
        }
    }
    Ok(Zones { zones: found, missing: holes.into_list() })
}

fn zone(zone: &Object<'_>) -> Result<Zone, Error> {
    let number = |path: &str| zone.field(path)?.number();
    let types = zone.kernel().types();
    let marks = zone.first_of(&["_watermark", "watermark"])?;
    let boost = if zone.has("watermark_boost") { number("watermark_boost")? } else { 0 };
    let mark = |name: &str| {
        let index = types.enumerator(name)? as u64;
        Ok::<_, Error>(marks.index(index)?.number()?.saturating_add(boost))
    };
    let reserve = zone.field("lowmem_reserve")?;
    let reserve = (0..reserve.length()?.min(MOST_KINDS)).map(|at| reserve.index(at)?.number());
    Ok(Zone {
        node: zone.first_of(&["node", "zone_pgdat.node_id"])?.signed()?,
        name: zone.field("name")?.text()?,
        address: Hex(zone.address()),
        free: Counters::of_zone(zone)?.get("NR_FREE_PAGES").unwrap_or(0),
        min: mark("WMARK_MIN")?,
        low: mark("WMARK_LOW")?,
        high: mark("WMARK_HIGH")?,
        boost,
        start_pfn: number("zone_start_pfn")?,
        spanned: number("spanned_pages")?,
        present: number("present_pages")?,
        managed: number("managed_pages")?,
        protection: reserve.collect::<Result<_, _>>()?,
        free_blocks: free_blocks(zone)?,
        on_cpu_lists: on_cpu_lists(zone)?,
    })
}

fn free_blocks(zone: &Object<'_>) -> Result<Vec<u64>, Error> {
    let areas = zone.field("free_area")?;
    let count = areas.length()?.min(MOST_ORDERS);
    (0..count).map(|order| areas.index(order)?.field("nr_free")?.number()).collect()
}

fn on_cpu_lists(zone: &Object<'_>) -> Result<u64, Error> {
    let kernel = zone.kernel();
    let mut sum = 0_u64;
    for cpu in kernel.online_cpus()? {
        let lists = kernel.per_cpu_of(zone.first_of(&["per_cpu_pageset", "pageset"])?, cpu)?;
        sum = sum.saturating_add(lists.first_of(&["pcp.count", "count"])?.number()?);
    }
    Ok(sum)
}

/// Free blocks of a zone by the kind of their pages.
#[derive(Clone, Debug, Default, Serialize)]
pub struct FreeLists {
    /// Number of the node.
    pub node: i64,
    /// Name of the zone.
    pub zone: String,
    /// Name of the kind: `MIGRATE_MOVABLE`.
    pub kind: String,
    /// Numbers of blocks, by order.
    pub blocks: Vec<u64>,
}

/// Counts the free blocks of each kind, as `/proc/pagetypeinfo` does: the lists are walked.
///
/// # Errors
/// The reason why not even the list of nodes can be read.
pub fn free_lists(kernel: &Kernel<'_>) -> Result<(Vec<FreeLists>, Vec<String>), Error> {
    let mut holes = Holes::default();
    let mut all = Vec::new();
    for node in vmstat::nodes(kernel)? {
        for zone in vmstat::zones(&node)? {
            let found = free_lists_of(&zone, &mut holes);
            all.extend(holes.take("free lists", found).unwrap_or_default());
        }
    }
    Ok((all, holes.into_list()))
}

fn free_lists_of(zone: &Object<'_>, holes: &mut Holes) -> Result<Vec<FreeLists>, Error> {
    let node = zone.first_of(&["node", "zone_pgdat.node_id"])?.signed()?;
    let name = zone.field("name")?.text()?;
    let areas = zone.field("free_area")?;
    let orders = areas.length()?.min(MOST_ORDERS);
    let kinds = kinds(zone)?;
    let mut lists: Vec<_> = kinds.iter().map(|kind| (kind, Vec::new())).collect();
    for order in 0..orders {
        let heads = areas.index(order)?.field("free_list")?;
        for (index, (_, counts)) in (0..).zip(&mut lists) {
            let nodes = heads.index(index)?.nodes();
            counts.push(holes.walk("free list", nodes).len() as u64);
        }
    }
    let list = |(kind, blocks): (&String, _)| FreeLists {
        node,
        zone: name.clone(),
        kind: kind.clone(),
        blocks,
    };
    Ok(lists.into_iter().map(list).collect())
}

/// Names of the kinds of pages, by number; without a name the number.
fn kinds(zone: &Object<'_>) -> Result<Vec<String>, Error> {
    let types = zone.kernel().types();
    let count = zone.field("free_area")?.index(0)?.field("free_list")?.length()?.min(MOST_KINDS);
    let found = types.get(types.find("enum migratetype")?)?;
    let crate::types::Type::Enumeration(items) = &*found else {
        return Err(Error::NoType("enum migratetype".to_owned()));
    };
    let counts = ["MIGRATE_PCPTYPES", "MIGRATE_TYPES"];
    let name = |value: i64| {
        let mut names = items.values.iter().filter(|(_, other)| *other == value);
        names.find(|(name, _)| !counts.contains(&name.as_str())).map(|(name, _)| name.clone())
    };
    Ok((0..count as i64).map(|value| name(value).unwrap_or_else(|| value.to_string())).collect())
}

/// Warnings about zones with little free memory, and with free memory in small pieces only.
pub fn warnings(zones: &Zones) -> Vec<Warning> {
    zones.zones.iter().filter_map(warning).collect()
}

fn warning(zone: &Zone) -> Option<Warning> {
    let name = format!("node {} zone {}", zone.node, zone.name);
    let free = bytes(zone.free.saturating_mul(PAGE));
    let at = |pages: u64| bytes(pages.saturating_mul(PAGE));
    let (severity, text) = if zone.managed == 0 {
        return None;
    } else if zone.free < zone.min {
        let min = at(zone.min);
        (Severity::Critical, format!("{name} has {free} free, below its watermark min of {min}"))
    } else if zone.free < zone.low {
        let low = at(zone.low);
        (Severity::Warning, format!("{name} has {free} free, below its watermark low of {low}"))
    } else if zone.free_blocks.len() > LARGE && zone.free_from(LARGE) == 0 {
        let block = at(1 << LARGE);
        let text = format!("{name} is fragmented: {free} free, but no block of {block} or more");
        (Severity::Warning, text)
    } else {
        return None;
    };
    Some(Warning { severity, text, section: "kmem -z" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(free: u64, free_blocks: &[u64]) -> Zone {
        let free_blocks = free_blocks.to_vec();
        let name = "Normal".to_owned();
        Zone { name, free, min: 10, low: 20, managed: 1000, free_blocks, ..Zone::default() }
    }

    /// The index is that of Linux's `extfrag/unusable_index`: 0 of a zone without free pages.
    #[test]
    fn little_and_fragmented_memory_is_a_warning() {
        let cases = [
            (
                zone(5, &[5]),
                "node 0 zone Normal has 20.0 KiB free, below its watermark min",
                [0; 2],
            ),
            (
                zone(19, &[19]),
                "node 0 zone Normal has 76.0 KiB free, below its watermark low",
                [0; 2],
            ),
            (
                zone(40, &[20, 4, 3, 0, 0]),
                "is fragmented: 160.0 KiB free, but no block of 32.0 KiB",
                [500, 1000],
            ),
            (zone(40, &[20, 4, 1, 1, 0]), "", [500, 800]),
            (Zone::default(), "", [0; 2]),
        ];
        for (zone, expected, indices) in cases {
            let warning = warning(&zone);
            let text = warning.as_ref().map_or("", |warning| &warning.text);
            assert_eq!(text.is_empty(), expected.is_empty(), "{zone:?}: {text}");
            assert!(text.contains(expected), "{text}");
            if zone.free_blocks.len() > LARGE {
                assert_eq!([zone.unusable(1), zone.unusable(3)], indices);
            }
        }
    }
}
