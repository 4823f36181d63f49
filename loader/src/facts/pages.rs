//! Pages of the running kernel by class.

use std::time::Duration;

use vmcore::{Level, PageClass, PageFilter, PhysRange, Verdict, WINDOW, WINDOW_PAGES};

const PAGE: u64 = 4096;

/// Number of pages by class, as they are now. Zeros are not looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LivePages {
    /// By class code; 0 counts the kept ones.
    by_class: [u64; PageClass::ALL.len() + 1],
    /// The kept ones whose page structs cannot be read or make no sense.
    pub in_doubt: u64,
    /// Duration of the count.
    pub took: Duration,
}

impl LivePages {
    /// Number of pages in a dump at `level`, if no page is zero.
    pub fn at(&self, level: Level) -> u64 {
        let left = PageClass::ALL.into_iter().filter(|class| level.excludes(*class));
        self.all() - left.map(|class| self.of_class(class)).sum::<u64>()
    }

    /// Number of pages of this class.
    pub fn of_class(&self, class: PageClass) -> u64 {
        self.by_class[usize::from(class.code())]
    }

    /// Number of pages that are in every dump.
    pub const fn kept(&self) -> u64 {
        self.by_class[0]
    }

    /// Number of all pages.
    pub fn all(&self) -> u64 {
        self.by_class.iter().sum()
    }

    /// Free pages, and kept ones.
    #[cfg(test)]
    pub(crate) fn free_and_kept(free: u64, kept: u64) -> Self {
        let mut pages = Self::default();
        (pages.by_class[usize::from(PageClass::Free.code())], pages.by_class[0]) = (free, kept);
        pages
    }

    /// Adds the pages of `part`, which is in one window.
    pub(super) fn with(mut self, filter: &impl PageFilter, part: &PhysRange) -> Self {
        let mut verdicts = [Verdict::Kept; WINDOW_PAGES];
        let window = part.start().align_down(WINDOW);
        filter.classify(window, &mut verdicts);
        let first = (part.start().get() - window.get()) / PAGE;
        let end = (part.end().get() - window.get()).div_ceil(PAGE);
        for verdict in &verdicts[first as usize..end as usize] {
            let class = match verdict {
                Verdict::Excluded(class) => usize::from(class.code()),
                Verdict::Kept | Verdict::Doubt => 0,
            };
            self.by_class[class] += 1;
            self.in_doubt += u64::from(*verdict == Verdict::Doubt);
        }
        self
    }

    pub(super) fn plus(mut self, other: &Self) -> Self {
        self.by_class.iter_mut().zip(other.by_class).for_each(|(sum, count)| *sum += count);
        self.in_doubt += other.in_doubt;
        self
    }
}
