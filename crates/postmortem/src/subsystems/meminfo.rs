//! The numbers of `/proc/meminfo` (Linux, `fs/proc/meminfo.c`), with what each CPU has not added
//! to the sums yet.

use serde::{Serialize, Serializer};

use super::holes::Holes;
use super::swap;
use super::vmstat::{self, Counters};
use super::zones::PAGE;
use crate::report::{Severity, Warning, bytes};
use crate::{Error, Kernel, Object};

/// KiB of a page.
const PAGE_KIB: u64 = PAGE / 1024;
/// Most sizes of huge pages, and most block devices.
const MOST_SIZES: u64 = 16;
const MOST_SWAP_AREAS: u64 = 64;

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
    ("MemTotal", Counted(|facts| facts.first(&["_totalram_pages", "totalram_pages"]))),
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

/// Numbers that rows are made of.
struct Facts<'k> {
    kernel: &'k Kernel<'k>,
    counters: Counters,
    buffers: Option<u64>,
    swap_cached: Option<u64>,
}

impl<'k> Facts<'k> {
    /// The sum of the counters that the kernel has; [`None`] if it has none of them.
    fn pages(&self, names: &[&str]) -> Option<u64> {
        let counts = names.iter().filter_map(|name| self.counters.get(name));
        counts.reduce(u64::saturating_add)
    }

    /// A variable; [`None`] if the kernel has none of this name.
    fn variable(&self, name: &str) -> Result<Option<u64>, Error> {
        match self.kernel.has_symbol(name) {
            true => Ok(Some(self.kernel.global(name)?.number()?)),
            false => Ok(None),
        }
    }

    fn first(&self, names: &[&str]) -> Result<Option<u64>, Error> {
        match names.iter().find(|name| self.kernel.has_symbol(name)) {
            Some(name) => self.variable(name),
            None => Err(Error::NoSymbol(names.join(" or "))),
        }
    }

    /// Pages in transparent huge pages. Kernels before 5.12 count the huge pages; since the same
    /// change they have `NR_SWAPCACHE`.
    fn huge(&self, name: &str) -> Option<u64> {
        let is_pages = self.counters.get("NR_SWAPCACHE").is_some();
        let pages = if is_pages { 1 } else { 512 };
        Some(self.counters.get(name)?.saturating_mul(pages))
    }

    /// Pages of the contiguous memory allocator; [`None`] if it has none.
    fn contiguous(&self) -> Result<Option<u64>, Error> {
        // The variable is there without the allocator, too.
        if self.kernel.has_symbol("cma_alloc") { self.variable("totalcma_pages") } else { Ok(None) }
    }

    /// Sizes of huge pages: `struct hstate`.
    fn sizes(&self) -> Result<Vec<Object<'k>>, Error> {
        if !self.kernel.has_symbol("hstates") {
            return Ok(Vec::new());
        }
        let sizes = self.kernel.global("hstates")?;
        let count = self.kernel.global("hugetlb_max_hstate")?.number()?;
        (0..count.min(MOST_SIZES)).map(|index| sizes.index(index)).collect()
    }

    fn default_size(&self) -> Result<Option<Object<'k>>, Error> {
        let sizes = self.sizes()?;
        if sizes.is_empty() {
            return Ok(None);
        }
        let index = self.kernel.global("default_hstate_idx")?.number()?;
        Ok(sizes.get(usize::try_from(index).unwrap_or(usize::MAX)).copied())
    }

    fn of_default_size(&self, field: &str) -> Result<Option<u64>, Error> {
        self.default_size()?.map(|size| size.field(field)?.number()).transpose()
    }

    /// Pages in huge pages of all sizes.
    fn huge_pages(&self) -> Result<u64, Error> {
        let mut sum = 0_u64;
        for size in self.sizes()? {
            let count = size.field("nr_huge_pages")?.number()?;
            sum = sum.saturating_add(count.saturating_mul(pages_of(&size)?));
        }
        Ok(sum)
    }

    /// Pages of address space that was promised (Linux, `vm_memory_committed`).
    fn committed(&self) -> Result<u64, Error> {
        counted(&self.kernel.global("vm_committed_as")?)
    }

    fn mapped_directly(&self, level: &str, pages: u64) -> Result<Option<u64>, Error> {
        if !self.kernel.has_symbol("direct_pages_count") {
            return Ok(None);
        }
        let level = self.kernel.types().enumerator(level)? as u64;
        let count = self.kernel.global("direct_pages_count")?.index(level)?.number()?;
        Ok((count > 0).then_some(count.saturating_mul(pages)))
    }
}

fn pages_of(size: &Object<'_>) -> Result<u64, Error> {
    let order = size.field("order")?.number()?;
    u32::try_from(order).ok().and_then(|order| 1_u64.checked_shl(order)).ok_or(Error::Damaged {
        what: "size of huge pages",
        at: size.address(),
        why: "its order is wrong",
    })
}

fn huge_page_size(facts: &Facts<'_>) -> Result<Option<u64>, Error> {
    facts.default_size()?.map(|size| pages_of(&size)).transpose()
}

/// The value of a `struct percpu_counter`, with what the CPUs have not added yet.
fn counted(counter: &Object<'_>) -> Result<u64, Error> {
    let kernel = counter.kernel();
    let mut sum = counter.field("count")?.signed()?;
    for cpu in kernel.online_cpus()? {
        let part = kernel.per_cpu_of(counter.field("counters")?, cpu)?;
        sum = sum.wrapping_add(part.signed()?);
    }
    Ok(sum.try_into().unwrap_or(0))
}

/// An estimate of what new programs can get (Linux, `si_mem_available`).
fn available(facts: &Facts<'_>) -> Result<Option<u64>, Error> {
    let mut low = 0_u64;
    for node in vmstat::nodes(facts.kernel)? {
        for zone in vmstat::zones(&node)? {
            let marks = zone.first_of(&["_watermark", "watermark"])?;
            let mark = marks.index(facts.kernel.types().enumerator("WMARK_LOW")? as u64)?;
            let has_boost = zone.has("watermark_boost");
            let boost = if has_boost { zone.field("watermark_boost")?.number()? } else { 0 };
            low = low.saturating_add(mark.number()?).saturating_add(boost);
        }
    }
    let pages = |names: &[&str]| facts.pages(names).unwrap_or(0);
    let reserve = facts.variable("totalreserve_pages")?.unwrap_or(0);
    let cache = pages(&["NR_ACTIVE_FILE", "NR_INACTIVE_FILE"]);
    let slab = pages(&["NR_SLAB_RECLAIMABLE_B", "NR_KERNEL_MISC_RECLAIMABLE"]);
    let part = |pages: u64| pages - (pages / 2).min(low);
    let all = pages(&["NR_FREE_PAGES"]).saturating_add(part(cache)).saturating_add(part(slab));
    Ok(Some(all.saturating_sub(reserve)))
}

/// Pages of the page cache that belong to block devices (Linux, `nr_blockdev_pages`).
fn buffers(kernel: &Kernel<'_>) -> Result<u64, Error> {
    let super_block = kernel.global("blockdev_superblock")?.deref()?;
    let mut sum = 0_u64;
    for inode in super_block.field("s_inodes")?.list("struct inode", "i_sb_list")? {
        sum = sum.saturating_add(inode?.field("i_mapping.nrpages")?.number()?);
    }
    Ok(sum)
}

/// Pages of the swap cache: a counter since 5.12, before that the sum of the swap areas' pages.
fn swap_cached(kernel: &Kernel<'_>, counters: &Counters) -> Result<u64, Error> {
    if let Some(pages) = counters.get("NR_SWAPCACHE") {
        return Ok(pages);
    }
    let (counts, spaces) = (kernel.global("nr_swapper_spaces")?, kernel.global("swapper_spaces")?);
    let areas = kernel.global("nr_swapfiles")?.number()?.min(MOST_SWAP_AREAS);
    let mut sum = 0_u64;
    for area in 0..areas {
        let Some(parts) = spaces.index(area)?.deref_or_null()? else { continue };
        // 64 MiB of swap have a space of their own.
        for part in 0..counts.index(area)?.number()?.min(1 << 20) {
            let size = parts.size()?;
            let at = parts.address().wrapping_add(size.wrapping_mul(part));
            let pages = Object::new(kernel, parts.type_id(), at).field("nrpages")?.number()?;
            sum = sum.saturating_add(pages);
        }
    }
    Ok(sum)
}

fn cached(facts: &Facts<'_>) -> Result<Option<u64>, Error> {
    let Some(pages) = facts.pages(&["NR_FILE_PAGES"]) else { return Ok(None) };
    // Without these the row would be wrong; both are named as missing.
    let Some(other) = facts.buffers.zip(facts.swap_cached) else { return Ok(None) };
    Ok(Some(pages.saturating_sub(other.0).saturating_sub(other.1)))
}

fn swap_free(facts: &Facts<'_>) -> Result<Option<u64>, Error> {
    let Some(free) = facts.variable("nr_swap_pages")? else { return Ok(None) };
    Ok(Some(free.saturating_add(swap::turned_off_pages(facts.kernel)?)))
}

/// Linux, `vm_commit_limit`.
fn commit_limit(facts: &Facts<'_>) -> Result<Option<u64>, Error> {
    let fixed = facts.variable("sysctl_overcommit_kbytes")?.unwrap_or(0);
    let allowed = if fixed > 0 {
        fixed / PAGE_KIB
    } else {
        let Some(ratio) = facts.variable("sysctl_overcommit_ratio")? else { return Ok(None) };
        let total = facts.first(&["_totalram_pages", "totalram_pages"])?.unwrap_or(0);
        total.saturating_sub(facts.huge_pages()?).saturating_mul(ratio) / 100
    };
    let swap = facts.variable("total_swap_pages")?.unwrap_or(0);
    Ok(Some(allowed.saturating_add(swap)))
}

fn vmalloc_used(facts: &Facts<'_>) -> Result<Option<u64>, Error> {
    match facts.counters.get("NR_VMALLOC") {
        Some(pages) => Ok(Some(pages)),
        None => facts.variable("nr_vmalloc_pages"),
    }
}

fn per_cpu(facts: &Facts<'_>) -> Result<Option<u64>, Error> {
    let units = facts.variable("pcpu_nr_units")?;
    let pages = facts.variable("pcpu_nr_populated")?;
    Ok(units.zip(pages).map(|(units, pages)| pages.saturating_mul(units)))
}
