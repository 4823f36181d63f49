//! Memory, by crash(8)'s `kmem`.

use clap::Args;
use serde::Serialize;

use super::section::{Part, Progress, Section};
use crate::report::{Answer, Block, Table, bytes};
use crate::subsystems::meminfo::{self, MemoryInfo};
use crate::subsystems::slabs::{self, Slabs};
use crate::subsystems::swap;
use crate::subsystems::vmalloc::{self, Areas};
use crate::subsystems::zones::{self, FreeLists, Zone, Zones};
use crate::{Error, Kernel};

/// The parts of memory to show; memory as a whole without any.
#[derive(Args, Clone, Debug, Default)]
pub struct Arguments {
    /// Memory as a whole, with the numbers of /proc/meminfo
    #[arg(short = 'i')]
    info: bool,
    /// Zones: watermarks, sizes, free blocks by order
    #[arg(short = 'z')]
    zones: bool,
    /// Free blocks by order and kind; the lists are walked
    #[arg(short = 'f')]
    free: bool,
    /// Slab caches, with the numbers of /proc/slabinfo
    #[arg(short = 's')]
    slabs: bool,
    /// Areas of vmalloc, with the numbers of /proc/vmallocinfo
    #[arg(short = 'v')]
    areas: bool,
}

/// Memory on the first page.
pub(super) const PART: Part = Part { name: "memory", read: first_page };

/// The most important numbers, and the warnings about memory.
fn first_page(kernel: &Kernel<'_>, _: Progress<'_>) -> Result<Answer, Error> {
    let info = meminfo::read(kernel)?;
    let size = |name| info.get(name).map(|kib: u64| (name, bytes(kib.saturating_mul(1024))));
    let names = ["MemTotal", "MemFree", "MemAvailable", "Cached", "AnonPages", "Slab"];
    let mut rows: Vec<_> = names.into_iter().filter_map(size).collect();
    let swap = ["SwapTotal", "SwapFree"].into_iter().filter_map(size);
    rows.extend(swap.filter(|_| info.get("SwapTotal").is_some_and(|kib| kib > 0)));
    let mut answer = Answer::new("Memory", &info)?.with(Block::Facts(rows));
    answer.warnings.extend(meminfo::warnings(&info));
    answer.missing = info.missing;
    match zones::read(kernel) {
        Ok(zones) => {
            answer.warnings.extend(zones::warnings(&zones));
            answer.missing.extend(zones.missing);
        }
        Err(error) => answer.missing.push(format!("zones: {error}")),
    }
    if let Ok(slabs) = slabs::sizes(kernel) {
        answer.warnings.extend(slabs::warnings(&slabs, memory(kernel)));
    }
    if let Ok(swap) = swap::read(kernel) {
        answer.warnings.extend(swap::warnings(&swap));
    }
    Ok(answer)
}

/// The parts that were asked for.
#[derive(Debug, Default, Serialize)]
struct Data {
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<MemoryInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    zones: Option<Zones>,
    #[serde(skip_serializing_if = "Option::is_none")]
    free: Option<Vec<FreeLists>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    slabs: Option<Slabs>,
    #[serde(skip_serializing_if = "Option::is_none")]
    areas: Option<Areas>,
}

/// Blocks and the rest of an answer, part by part.
#[derive(Default)]
struct Parts {
    answer: Answer,
    data: Data,
}

impl Section for Arguments {
    fn answer(&self, kernel: &Kernel<'_>, _: Progress<'_>) -> Result<Answer, Error> {
        let mut parts = Parts::default();
        if self.info || !(self.zones || self.free || self.slabs || self.areas) {
            parts.add_memory(kernel)?;
        }
        if self.zones {
            parts.add_zones(kernel)?;
        }
        if self.free {
            parts.add_free(kernel)?;
        }
        if self.slabs {
            parts.add_slabs(kernel)?;
        }
        if self.areas {
            parts.add_areas(kernel)?;
        }
        let Parts { answer, data } = parts;
        Ok(Answer {
            blocks: answer.blocks,
            warnings: answer.warnings,
            missing: answer.missing,
            ..Answer::new("Memory", &data)?
        })
    }
}

impl Parts {
    fn add_memory(&mut self, kernel: &Kernel<'_>) -> Result<(), Error> {
        let info = meminfo::read(kernel)?;
        self.answer.warnings.extend(meminfo::warnings(&info));
        self.answer.missing.extend(info.missing.iter().cloned());
        self.answer.blocks.push(Block::Table(summary(&info)));
        let value = |row: &meminfo::Row| match row.is_kib {
            true => format!("{} kB", row.value),
            false => row.value.to_string(),
        };
        let rows = info.rows.iter().map(|row| (row.name, value(row))).collect();
        self.answer.blocks.push(Block::Heading("As /proc/meminfo".to_owned()));
        self.answer.blocks.push(Block::Facts(rows));
        self.data.memory = Some(info);
        Ok(())
    }

    fn add_zones(&mut self, kernel: &Kernel<'_>) -> Result<(), Error> {
        let zones = zones::read(kernel)?;
        self.answer.warnings.extend(zones::warnings(&zones));
        self.answer.missing.extend(zones.missing.iter().cloned());
        for zone in &zones.zones {
            let title = format!("Node {}, zone {} at {:#x}", zone.node, zone.name, zone.address.0);
            self.answer.blocks.push(Block::Heading(title));
            self.answer.blocks.push(Block::Facts(facts(zone)));
            self.answer.blocks.push(Block::Table(blocks(zone)));
        }
        self.data.zones = Some(zones);
        Ok(())
    }

    fn add_free(&mut self, kernel: &Kernel<'_>) -> Result<(), Error> {
        let (lists, missing) = zones::free_lists(kernel)?;
        let orders = lists.iter().map(|list| list.blocks.len()).max().unwrap_or(0);
        let mut table = Table::new(&[">NODE", "ZONE", "KIND"]);
        let names = &ORDERS[..orders.min(ORDERS.len())];
        table.columns.extend(names.iter().map(|name| (*name, true)));
        for list in &lists {
            let counts = list.blocks.iter().take(names.len()).map(u64::to_string);
            let first = [list.node.to_string(), list.zone.clone(), list.kind.clone()];
            table.row(first.into_iter().chain(counts));
        }
        self.answer.missing.extend(missing);
        self.answer.blocks.push(Block::Table(table));
        self.data.free = Some(lists);
        Ok(())
    }

    fn add_slabs(&mut self, kernel: &Kernel<'_>) -> Result<(), Error> {
        let slabs = slabs::read(kernel)?;
        let names =
            ["CACHE", ">OBJSIZE", ">ALLOCATED", ">TOTAL", ">SLABS", ">SSIZE", ">SIZE", "NAME"];
        let mut table = Table::new(&names);
        for cache in &slabs.caches {
            let slab = cache.bytes().checked_div(cache.slabs);
            table.row([
                format!("{:x}", cache.address.0),
                cache.object_size.to_string(),
                cache.active_objects.map(|count| count.to_string()).unwrap_or_default(),
                cache.objects.to_string(),
                cache.slabs.to_string(),
                slab.map(bytes).unwrap_or_default(),
                bytes(cache.bytes()),
                cache.name.clone(),
            ]);
        }
        self.answer.warnings.extend(slabs::warnings(&slabs, memory(kernel)));
        self.answer.missing.extend(slabs.missing.iter().cloned());
        self.answer.blocks.push(Block::Table(table));
        self.data.slabs = Some(slabs);
        Ok(())
    }

    fn add_areas(&mut self, kernel: &Kernel<'_>) -> Result<(), Error> {
        let found = vmalloc::read(kernel)?;
        let names = ["VMAP_AREA", "VM_STRUCT", "START", "END", ">SIZE", ">PAGES", "KIND", "CALLER"];
        let mut table = Table::new(&names);
        for area in &found.areas {
            table.row([
                format!("{:x}", area.vmap_area.0),
                format!("{:x}", area.vm_struct.0),
                format!("{:x}", area.start.0),
                format!("{:x}", area.end.0),
                area.size().to_string(),
                area.pages.to_string(),
                area.kind.clone(),
                area.caller.clone(),
            ]);
        }
        self.answer.missing.extend(found.missing.iter().cloned());
        self.answer.blocks.push(Block::Table(table));
        self.data.areas = Some(found);
        Ok(())
    }
}

/// Names of columns by order.
const ORDERS: [&str; 16] =
    ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15"];

/// Bytes of memory; 0 if they are not known.
fn memory(kernel: &Kernel<'_>) -> u64 {
    let names = ["_totalram_pages", "totalram_pages"];
    let pages = names.iter().find_map(|name| kernel.global(name).ok()?.number().ok());
    pages.unwrap_or(0).saturating_mul(zones::PAGE)
}

/// The rows of crash's `kmem -i`.
fn summary(info: &MemoryInfo) -> Table {
    let get = |name: &str| info.get(name);
    let total = get("MemTotal");
    let swap = get("SwapTotal");
    let limit = get("CommitLimit");
    let used = |all: Option<u64>, free: Option<u64>| Some(all?.saturating_sub(free?));
    let rows = [
        ("TOTAL MEM", total, None),
        ("FREE", get("MemFree"), total),
        ("USED", used(total, get("MemFree")), total),
        ("SHMEM", get("Shmem"), total),
        ("BUFFERS", get("Buffers"), total),
        ("CACHED", get("Cached"), total),
        ("SLAB", get("Slab"), total),
        ("TOTAL SWAP", swap, None),
        ("SWAP USED", used(swap, get("SwapFree")), swap),
        ("SWAP FREE", get("SwapFree"), swap),
        ("COMMIT LIMIT", limit, None),
        ("COMMITTED", get("Committed_AS"), limit),
    ];
    let mut table = Table::new(&["", ">PAGES", ">TOTAL", ">PART"]);
    for (name, value, of) in rows {
        let Some(value) = value else { continue };
        let percent = |of: u64| value.saturating_mul(100).checked_div(of);
        let part = of.and_then(percent).map_or("----".to_owned(), |part| format!("{part} %"));
        let size = bytes(value.saturating_mul(1024));
        table.row([name.to_owned(), (value / (zones::PAGE / 1024)).to_string(), size, part]);
    }
    table
}

fn facts(zone: &Zone) -> Vec<(&'static str, String)> {
    let pages = |count: u64| format!("{count} ({})", bytes(count.saturating_mul(zones::PAGE)));
    let list = |values: &[u64]| values.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
    let part = |order| format!("{:.3}", zone.unusable(order) as f64 / 1000.0);
    vec![
        ("free", pages(zone.free)),
        ("min", pages(zone.min)),
        ("low", pages(zone.low)),
        ("high", pages(zone.high)),
        ("boost", zone.boost.to_string()),
        ("spanned", pages(zone.spanned)),
        ("present", pages(zone.present)),
        ("managed", pages(zone.managed)),
        ("start pfn", zone.start_pfn.to_string()),
        ("protection", list(&zone.protection)),
        ("in CPUs' lists", zone.on_cpu_lists.to_string()),
        ("unusable for order 3", part(3)),
        ("unusable for order 9", part(9)),
    ]
}

fn blocks(zone: &Zone) -> Table {
    let mut table = Table::new(&[">ORDER", ">SIZE", ">BLOCKS", ">PAGES"]);
    for (order, count) in (0..).zip(&zone.free_blocks) {
        let size = bytes(zones::PAGE << order);
        let pages = count.saturating_mul(1 << order);
        table.row([order.to_string(), size, count.to_string(), pages.to_string()]);
    }
    table
}
