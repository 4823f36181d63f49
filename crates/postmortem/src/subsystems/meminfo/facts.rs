//! Numbers that the rows of `/proc/meminfo` are made of.

use super::super::swap;
use super::super::vmstat::{self, Counters};
use super::super::zones::PAGE;
use crate::{Error, Kernel, Object};

/// KiB of a page.
pub(super) const PAGE_KIB: u64 = PAGE / 1024;
/// Most sizes of huge pages, and most swap areas.
const MOST_SIZES: u64 = 16;
const MOST_SWAP_AREAS: u64 = 64;

/// Numbers that rows are made of.
pub(super) struct Facts<'k> {
    pub(super) kernel: &'k Kernel<'k>,
    pub(super) counters: Counters,
    pub(super) buffers: Option<u64>,
    pub(super) swap_cached: Option<u64>,
}

impl<'k> Facts<'k> {
    /// The sum of the counters that the kernel has; [`None`] if it has none of them.
    pub(super) fn pages(&self, names: &[&str]) -> Option<u64> {
        let counts = names.iter().filter_map(|name| self.counters.get(name));
        counts.reduce(u64::saturating_add)
    }

    /// A variable; [`None`] if the kernel has none of this name.
    pub(super) fn variable(&self, name: &str) -> Result<Option<u64>, Error> {
        match self.kernel.has_symbol(name) {
            true => Ok(Some(self.kernel.global(name)?.number()?)),
            false => Ok(None),
        }
    }

    /// The first of these variables that the kernel has.
    pub(super) fn first(&self, names: &[&str]) -> Result<Option<u64>, Error> {
        match names.iter().find(|name| self.kernel.has_symbol(name)) {
            Some(name) => self.variable(name),
            None => Err(Error::NoSymbol(names.join(" or "))),
        }
    }

    /// Pages in transparent huge pages. Kernels before 5.12 count the huge pages; since the same
    /// change they have `NR_SWAPCACHE`.
    pub(super) fn huge(&self, name: &str) -> Option<u64> {
        let is_pages = self.counters.get("NR_SWAPCACHE").is_some();
        let pages = if is_pages { 1 } else { 512 };
        Some(self.counters.get(name)?.saturating_mul(pages))
    }

    /// Pages of the contiguous memory allocator; [`None`] if it has none.
    pub(super) fn contiguous(&self) -> Result<Option<u64>, Error> {
        // The variable is there without the allocator, too.
        if self.kernel.has_symbol("cma_alloc") { self.variable("totalcma_pages") } else { Ok(None) }
    }

    /// Sizes of huge pages: `struct hstate`.
    pub(super) fn sizes(&self) -> Result<Vec<Object<'k>>, Error> {
        if !self.kernel.has_symbol("hstates") {
            return Ok(Vec::new());
        }
        let sizes = self.kernel.global("hstates")?;
        let count = self.kernel.global("hugetlb_max_hstate")?.number()?;
        (0..count.min(MOST_SIZES)).map(|index| sizes.index(index)).collect()
    }

    pub(super) fn default_size(&self) -> Result<Option<Object<'k>>, Error> {
        let sizes = self.sizes()?;
        if sizes.is_empty() {
            return Ok(None);
        }
        let index = self.kernel.global("default_hstate_idx")?.number()?;
        Ok(sizes.get(usize::try_from(index).unwrap_or(usize::MAX)).copied())
    }

    pub(super) fn of_default_size(&self, field: &str) -> Result<Option<u64>, Error> {
        self.default_size()?.map(|size| size.field(field)?.number()).transpose()
    }

    /// Pages in huge pages of all sizes.
    pub(super) fn huge_pages(&self) -> Result<u64, Error> {
        let mut sum = 0_u64;
        for size in self.sizes()? {
            let count = size.field("nr_huge_pages")?.number()?;
            sum = sum.saturating_add(count.saturating_mul(pages_of(&size)?));
        }
        Ok(sum)
    }

    /// Pages of address space that was promised (Linux, `vm_memory_committed`).
    pub(super) fn committed(&self) -> Result<u64, Error> {
        counted(&self.kernel.global("vm_committed_as")?)
    }

    pub(super) fn mapped_directly(&self, level: &str, pages: u64) -> Result<Option<u64>, Error> {
        if !self.kernel.has_symbol("direct_pages_count") {
            return Ok(None);
        }
        let level = self.kernel.types().enumerator(level)? as u64;
        let count = self.kernel.global("direct_pages_count")?.index(level)?.number()?;
        Ok((count > 0).then_some(count.saturating_mul(pages)))
    }
}

pub(super) fn pages_of(size: &Object<'_>) -> Result<u64, Error> {
    let order = size.field("order")?.number()?;
    u32::try_from(order).ok().and_then(|order| 1_u64.checked_shl(order)).ok_or(Error::Damaged {
        what: "size of huge pages",
        at: size.address(),
        why: "its order is wrong",
    })
}

pub(super) fn huge_page_size(facts: &Facts<'_>) -> Result<Option<u64>, Error> {
    facts.default_size()?.map(|size| pages_of(&size)).transpose()
}

/// The value of a `struct percpu_counter`, with what the CPUs have not added yet.
pub(super) fn counted(counter: &Object<'_>) -> Result<u64, Error> {
    let kernel = counter.kernel();
    let mut sum = counter.field("count")?.signed()?;
    for cpu in kernel.online_cpus()? {
        let part = kernel.per_cpu_of(counter.field("counters")?, cpu)?;
        sum = sum.wrapping_add(part.signed()?);
    }
    Ok(sum.try_into().unwrap_or(0))
}

/// An estimate of what new programs can get (Linux, `si_mem_available`).
pub(super) fn available(facts: &Facts<'_>) -> Result<Option<u64>, Error> {
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
pub(super) fn buffers(kernel: &Kernel<'_>) -> Result<u64, Error> {
    let super_block = kernel.global("blockdev_superblock")?.deref()?;
    let mut sum = 0_u64;
    for inode in super_block.field("s_inodes")?.list("struct inode", "i_sb_list")? {
        sum = sum.saturating_add(inode?.field("i_mapping.nrpages")?.number()?);
    }
    Ok(sum)
}

/// Pages of the swap cache: a counter since 5.12, before that the sum of the swap areas' pages.
pub(super) fn swap_cached(kernel: &Kernel<'_>, counters: &Counters) -> Result<u64, Error> {
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

/// Pages of memory; kernels before 5.0 have another variable.
pub(super) fn total(facts: &Facts<'_>) -> Result<Option<u64>, Error> {
    facts.first(&["_totalram_pages", "totalram_pages"])
}

/// Free pages that the kernel has no addresses for; [`None`] of a kernel that has addresses for
/// all memory.
pub(super) fn free_high(facts: &Facts<'_>) -> Result<Option<u64>, Error> {
    if !facts.kernel.has_symbol("_totalhigh_pages") {
        return Ok(None);
    }
    let mut sum = 0_u64;
    for node in vmstat::nodes(facts.kernel)? {
        for zone in vmstat::zones(&node)? {
            if zone.field("name")?.text()? == "HighMem" {
                let free = Counters::of_zone(&zone)?.get("NR_FREE_PAGES").unwrap_or(0);
                sum = sum.saturating_add(free);
            }
        }
    }
    Ok(Some(sum))
}

pub(super) fn low_total(facts: &Facts<'_>) -> Result<Option<u64>, Error> {
    let high = facts.variable("_totalhigh_pages")?;
    Ok(high.zip(total(facts)?).map(|(high, all)| all.saturating_sub(high)))
}

pub(super) fn low_free(facts: &Facts<'_>) -> Result<Option<u64>, Error> {
    let all = facts.pages(&["NR_FREE_PAGES"]);
    Ok(free_high(facts)?.zip(all).map(|(high, all)| all.saturating_sub(high)))
}

pub(super) fn cached(facts: &Facts<'_>) -> Result<Option<u64>, Error> {
    let Some(pages) = facts.pages(&["NR_FILE_PAGES"]) else { return Ok(None) };
    // Without these the row would be wrong; both are named as missing.
    let Some(other) = facts.buffers.zip(facts.swap_cached) else { return Ok(None) };
    Ok(Some(pages.saturating_sub(other.0).saturating_sub(other.1)))
}

pub(super) fn swap_free(facts: &Facts<'_>) -> Result<Option<u64>, Error> {
    let Some(free) = facts.variable("nr_swap_pages")? else { return Ok(None) };
    Ok(Some(free.saturating_add(swap::turned_off_pages(facts.kernel)?)))
}

/// Linux, `vm_commit_limit`.
pub(super) fn commit_limit(facts: &Facts<'_>) -> Result<Option<u64>, Error> {
    let fixed = facts.variable("sysctl_overcommit_kbytes")?.unwrap_or(0);
    let allowed = if fixed > 0 {
        fixed / PAGE_KIB
    } else {
        let Some(ratio) = facts.variable("sysctl_overcommit_ratio")? else { return Ok(None) };
        total(facts)?.unwrap_or(0).saturating_sub(facts.huge_pages()?).saturating_mul(ratio) / 100
    };
    let swap = facts.variable("total_swap_pages")?.unwrap_or(0);
    Ok(Some(allowed.saturating_add(swap)))
}

pub(super) fn vmalloc_used(facts: &Facts<'_>) -> Result<Option<u64>, Error> {
    match facts.counters.get("NR_VMALLOC") {
        Some(pages) => Ok(Some(pages)),
        None => facts.variable("nr_vmalloc_pages"),
    }
}

pub(super) fn per_cpu(facts: &Facts<'_>) -> Result<Option<u64>, Error> {
    let units = facts.variable("pcpu_nr_units")?;
    let pages = facts.variable("pcpu_nr_populated")?;
    Ok(units.zip(pages).map(|(units, pages)| pages.saturating_mul(units)))
}
