//! Sizes of address spaces.

use std::collections::HashMap;

use crate::{Kernel, Object};

/// Kinds of pages that count as resident (Linux, `include/linux/mm_types_task.h`): those of files,
/// of no file, and of shared memory. Swapped pages are in between.
const KINDS: [(&str, u64); 3] = [("MM_FILEPAGES", 0), ("MM_ANONPAGES", 1), ("MM_SHMEMPAGES", 3)];

/// The address space of a task.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    /// Bytes of all of it.
    pub(super) whole: u64,
    /// Bytes of it that are in memory.
    pub(super) resident: u64,
    /// Bytes of the machine's memory; 0 if it is not known.
    total: u64,
}

impl Size {
    /// Resident bytes in percent of all memory.
    pub(super) fn percent(&self) -> Option<f64> {
        let percent = 100.0 * self.resident as f64 / self.total as f64;
        (self.total > 0).then_some((percent * 100.0).round() / 100.0)
    }
}

/// The sizes of all address spaces.
#[derive(Debug, Default)]
pub(super) struct Resident {
    page: u64,
    total: u64,
    kinds: Vec<u64>,
    /// Pages that threads counted and did not yet add to those of their address space (before 6.2).
    counted: HashMap<u64, i64>,
}

impl Resident {
    pub(super) fn new(kernel: &Kernel<'_>, tasks: &[Object<'_>]) -> Self {
        let kind = |(name, usual): (&str, u64)| {
            kernel
                .types()
                .enumerator(name)
                .ok()
                .and_then(|kind| kind.try_into().ok())
                .unwrap_or(usual)
        };
        let page = super::super::page_size(kernel);
        let pages = kernel.global("_totalram_pages").and_then(|pages| pages.number());
        let total = pages.unwrap_or(0).saturating_mul(page);
        let kinds = KINDS.map(kind).to_vec();
        let mut new = Self { page, total, kinds, counted: HashMap::new() };
        for task in tasks.iter().filter(|task| task.has("rss_stat.count")) {
            let Ok(mm) = task.field("mm").and_then(|mm| mm.number()) else { continue };
            let pages = new.sum(|kind| task.field("rss_stat.count")?.index(kind)?.signed());
            *new.counted.entry(mm).or_default() += pages;
        }
        new
    }

    fn sum(&self, pages: impl Fn(u64) -> Result<i64, crate::Error>) -> i64 {
        self.kinds.iter().map(|kind| pages(*kind).unwrap_or(0)).fold(0, i64::wrapping_add)
    }

    /// The address space of a task; [`None`] for a thread of the kernel, or what cannot be read.
    pub(super) fn of(&self, task: &Object<'_>) -> Option<Size> {
        let mm = task.field("mm").ok()?.deref().ok()?;
        let counted = self.counted.get(&mm.address()).copied().unwrap_or(0);
        let pages = self.sum(|kind| match mm.has("rss_stat.count") {
            true => mm.field("rss_stat.count")?.index(kind)?.signed(),
            false => counter(&mm.field("rss_stat")?.index(kind)?),
        });
        let resident = pages.saturating_add(counted).max(0) as u64;
        let whole = mm.field("total_vm").and_then(|pages| pages.number()).ok()?;
        Some(Size {
            whole: whole.saturating_mul(self.page),
            resident: resident.saturating_mul(self.page),
            total: self.total,
        })
    }
}

/// The sum of a `percpu_counter`: what all CPUs have added, and what each has not yet.
fn counter(counter: &Object<'_>) -> Result<i64, crate::Error> {
    let kernel = counter.kernel();
    let mut sum = counter.field("count")?.signed()?;
    for cpu in kernel.possible_cpus()? {
        sum = sum.wrapping_add(kernel.per_cpu_of(counter.field("counters")?, cpu)?.signed()?);
    }
    Ok(sum)
}
