//! The numbers of `/proc/meminfo` (Linux, `fs/proc/meminfo.c`), with what each CPU has not added
//! to the sums yet.

mod facts;

use serde::{Serialize, Serializer};

use super::holes::Holes;
use super::vmstat::Counters;
use crate::report::{Severity, Warning, bytes};
use crate::{Error, Kernel};
use facts::{
    Facts, PAGE_KIB, available, buffers, cached, commit_limit, free_high, huge_page_size, low_free,
    low_total, per_cpu, swap_cached, swap_free, total, vmalloc_used,
};

/// Memory as a whole.
#[derive(Clone, Debug, Default, Serialize)]
pub struct MemoryInfo {
    /// In the order of `/proc/meminfo`. A kernel has not all rows. As JSON an object of their names
    /// and values.
    #[serde(serialize_with = "by_name")]
    pub rows: Vec<Row>,
    /// Rows that could not be read.
    pub missing: Vec<String>,
}

/// A number.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its name in `/proc/meminfo`.
    pub name: &'static str,
    /// The number, in KiB or in pages of its kind.
    pub value: u64,
    /// True for KiB.
    pub is_kib: bool,
}

fn by_name<S: Serializer>(rows: &[Row], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(rows.iter().map(|row| (row.name, row.value)))
}

impl MemoryInfo {
    /// The value of a row.
    pub fn get(&self, name: &str) -> Option<u64> {
        self.rows.iter().find(|row| row.name == name).map(|row| row.value)
    }
}

/// The source of a row.
enum Source {
    /// The sum of these counters, in pages. The row is left out if the kernel has none of them.
    Pages(&'static [&'static str]),
    /// A counter in KiB.
    Kib(&'static str),
    /// Pages that a function counts; [`None`] if the kernel has no such row.
    Counted(fn(&Facts<'_>) -> Result<Option<u64>, Error>),
    /// A number that is no size.
    Number(fn(&Facts<'_>) -> Result<Option<u64>, Error>),
}

use Source::{Counted, Kib, Number, Pages};

const ROWS: &[(&str, Source)] = &[
    ("MemTotal", Counted(total)),
    ("MemFree", Pages(&["NR_FREE_PAGES"])),
    ("MemAvailable", Counted(available)),
    ("Buffers", Counted(|facts| facts.buffers.map_or(Ok(None), |pages| Ok(Some(pages))))),
    ("Cached", Counted(cached)),
    ("SwapCached", Counted(|facts| Ok(facts.swap_cached))),
    ("Active", Pages(&["NR_ACTIVE_ANON", "NR_ACTIVE_FILE"])),
    ("Inactive", Pages(&["NR_INACTIVE_ANON", "NR_INACTIVE_FILE"])),
    ("Active(anon)", Pages(&["NR_ACTIVE_ANON"])),
    ("Inactive(anon)", Pages(&["NR_INACTIVE_ANON"])),
    ("Active(file)", Pages(&["NR_ACTIVE_FILE"])),
    ("Inactive(file)", Pages(&["NR_INACTIVE_FILE"])),
    ("Unevictable", Pages(&["NR_UNEVICTABLE"])),
    ("Mlocked", Pages(&["NR_MLOCK"])),
    ("HighTotal", Counted(|facts| facts.variable("_totalhigh_pages"))),
    ("HighFree", Counted(free_high)),
    ("LowTotal", Counted(low_total)),
    ("LowFree", Counted(low_free)),
    ("SwapTotal", Counted(|facts| facts.variable("total_swap_pages"))),
    ("SwapFree", Counted(swap_free)),
    ("Dirty", Pages(&["NR_FILE_DIRTY"])),
    ("Writeback", Pages(&["NR_WRITEBACK"])),
    ("AnonPages", Pages(&["NR_ANON_MAPPED"])),
    ("Mapped", Pages(&["NR_FILE_MAPPED"])),
    ("Shmem", Pages(&["NR_SHMEM"])),
    ("KReclaimable", Pages(&["NR_SLAB_RECLAIMABLE_B", "NR_KERNEL_MISC_RECLAIMABLE"])),
    ("Slab", Pages(&["NR_SLAB_RECLAIMABLE_B", "NR_SLAB_UNRECLAIMABLE_B"])),
    ("SReclaimable", Pages(&["NR_SLAB_RECLAIMABLE_B"])),
    ("SUnreclaim", Pages(&["NR_SLAB_UNRECLAIMABLE_B"])),
    ("KernelStack", Kib("NR_KERNEL_STACK_KB")),
    ("PageTables", Pages(&["NR_PAGETABLE"])),
    ("SecPageTables", Pages(&["NR_SECONDARY_PAGETABLE"])),
    ("Bounce", Pages(&["NR_BOUNCE"])),
    ("WritebackTmp", Pages(&["NR_WRITEBACK_TEMP"])),
    ("CommitLimit", Counted(commit_limit)),
    ("Committed_AS", Counted(|facts| facts.committed().map(Some))),
    ("VmallocUsed", Counted(vmalloc_used)),
    ("Percpu", Counted(per_cpu)),
    ("HardwareCorrupted", Counted(|facts| facts.variable("num_poisoned_pages"))),
    ("AnonHugePages", Counted(|facts| Ok(facts.huge("NR_ANON_THPS")))),
    ("ShmemHugePages", Counted(|facts| Ok(facts.huge("NR_SHMEM_THPS")))),
    ("ShmemPmdMapped", Counted(|facts| Ok(facts.huge("NR_SHMEM_PMDMAPPED")))),
    ("FileHugePages", Counted(|facts| Ok(facts.huge("NR_FILE_THPS")))),
    ("FilePmdMapped", Counted(|facts| Ok(facts.huge("NR_FILE_PMDMAPPED")))),
    ("CmaTotal", Counted(|facts| facts.contiguous())),
    ("CmaFree", Counted(|facts| Ok(facts.contiguous()?.and(facts.pages(&["NR_FREE_CMA_PAGES"]))))),
    ("Unaccepted", Pages(&["NR_UNACCEPTED"])),
    ("Balloon", Pages(&["NR_BALLOON_PAGES"])),
    ("GPUActive", Pages(&["NR_GPU_ACTIVE"])),
    ("GPUReclaim", Pages(&["NR_GPU_RECLAIM"])),
    ("HugePages_Total", Number(|facts| facts.of_default_size("nr_huge_pages"))),
    ("HugePages_Free", Number(|facts| facts.of_default_size("free_huge_pages"))),
    ("HugePages_Rsvd", Number(|facts| facts.of_default_size("resv_huge_pages"))),
    ("HugePages_Surp", Number(|facts| facts.of_default_size("surplus_huge_pages"))),
    ("Hugepagesize", Counted(huge_page_size)),
    ("Hugetlb", Counted(|facts| facts.huge_pages().map(Some))),
    ("DirectMap4k", Counted(|facts| facts.mapped_directly("PG_LEVEL_4K", 1))),
    ("DirectMap2M", Counted(|facts| facts.mapped_directly("PG_LEVEL_2M", 512))),
    ("DirectMap1G", Counted(|facts| facts.mapped_directly("PG_LEVEL_1G", 512 * 512))),
];

/// Reads all rows.
///
/// # Errors
/// The reason why the counters of pages cannot be read.
pub fn read(kernel: &Kernel<'_>) -> Result<MemoryInfo, Error> {
    let mut holes = Holes::default();
    let counters = Counters::read(kernel)?;
    let buffers = holes.take("Buffers", buffers(kernel));
    let swap_cached = holes.take("SwapCached", swap_cached(kernel, &counters));
    let facts = Facts { kernel, counters, buffers, swap_cached };
    let mut rows = Vec::new();
    for (name, source) in ROWS {
        let value = match source {
            Pages(names) => Ok(facts.pages(names)),
            Kib(name) => Ok(facts.counters.get(name)),
            Counted(count) | Number(count) => count(&facts),
        };
        let Some(value) = holes.take(name, value).flatten() else { continue };
        let is_pages = matches!(source, Pages(_) | Counted(_));
        let value = if is_pages { value.saturating_mul(PAGE_KIB) } else { value };
        rows.push(Row { name, value, is_kib: !matches!(source, Number(_)) });
    }
    Ok(MemoryInfo { rows, missing: holes.into_list() })
}

/// A warning about huge pages that take half of memory and lie idle.
pub fn warnings(info: &MemoryInfo) -> Vec<Warning> {
    let get = |name| info.get(name).unwrap_or(0);
    let idle = get("HugePages_Free").saturating_sub(get("HugePages_Rsvd"));
    let idle = idle.saturating_mul(get("Hugepagesize"));
    let text = format!("idle huge pages take {} of memory", bytes(idle.saturating_mul(1024)));
    let is_much = idle > get("MemTotal") / 2 && idle > 0;
    is_much
        .then_some(Warning { severity: Severity::Warning, text, section: "kmem -i" })
        .into_iter()
        .collect()
}
