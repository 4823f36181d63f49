//! The pages of the running kernel by class, from its own page structs in `/proc/kcore`.

use std::fs::File;
use std::num::NonZero;
use std::panic::resume_unwind;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use linux::{Filter, KernelMemory, SegmentMap};
use vmcore::{
    Level, PageClass, PageFilter, PhysAddr, PhysRange, ReadPhys, Segment, Verdict, WINDOW,
    WINDOW_PAGES,
};

use crate::facts::error::PagesError;
use crate::facts::kcore::{KcoreFile, Offsets, vmcoreinfo_in};
use crate::facts::memory::linear_map;
use crate::facts::system::System;

const PAGE: u64 = 4096;
/// Most bytes of an area with VMCOREINFO.
const MOST_VMCOREINFO: u64 = 64 << 10;

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
    /// Counts the pages of `ram`, on all CPUs. `root` is `/`, or a folder with a copy of
    /// `proc/kcore`.
    ///
    /// # Errors
    /// [`PagesError`]: there is no `/proc/kcore`, or the kernel does not describe its page structs.
    pub fn count(
        root: &Path,
        system: &System,
        ram: impl Iterator<Item = PhysRange>,
    ) -> Result<Self, PagesError> {
        let started = Instant::now();
        let parts: Vec<_> = ram.flat_map(windows).collect();
        let each = parts.len().div_ceil(thread::available_parallelism().map_or(1, NonZero::get));
        // Linux copies through a buffer of the open file, and two readers of one would disturb each
        // other (`fs/proc/kcore.c`).
        let counted = |parts: &[PhysRange]| {
            let filter = filter(root, system)?;
            let add = |sum: Self, part| sum.with(&filter, part);
            Ok::<_, PagesError>(parts.iter().fold(Self::default(), add))
        };
        let mut pages = thread::scope(|scope| {
            let parts = parts.chunks(each.max(1));
            let threads: Vec<_> = parts.map(|parts| scope.spawn(|| counted(parts))).collect();
            threads.into_iter().try_fold(Self::default(), |sum, thread| {
                let counted = thread.join().unwrap_or_else(|panic| resume_unwind(panic));
                counted.map(|pages| sum.plus(&pages))
            })
        })?;
        pages.took = started.elapsed();
        if pages.in_doubt > 0 && pages.in_doubt == pages.all() {
            return Err(PagesError::NoStructs);
        }
        Ok(pages)
    }

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
    fn with(mut self, filter: &impl PageFilter, part: &PhysRange) -> Self {
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

    fn plus(mut self, other: &Self) -> Self {
        self.by_class.iter_mut().zip(other.by_class).for_each(|(sum, count)| *sum += count);
        self.in_doubt += other.in_doubt;
        self
    }
}

impl System {
    /// Counts the pages of memory that is in a dump, for [`Self::pages`]. `root` is that of
    /// [`Self::read`].
    pub fn count_pages(&mut self, root: &Path) {
        let Self { memory, .. } = self;
        let ram = vmcore::crash_memory_ranges(memory.ram.iter().copied(), &memory.reservations);
        let pages = ram.map_err(PagesError::Headers);
        let pages = pages.and_then(|ram| LivePages::count(root, self, ram.iter()));
        self.pages = Some(pages.map_err(|error| error.to_string()));
    }
}

/// The filter of the running kernel.
fn filter(root: &Path, system: &System) -> Result<Filter<Offsets>, PagesError> {
    let file = File::open(root.join("proc/kcore")).map_err(PagesError::Kcore)?;
    let file = KcoreFile::read(Offsets(file)).map_err(PagesError::Headers)?;
    let map = SegmentMap::new(file.segments.iter().map(|segment| Ok(known(segment))))?;
    let text = file.vmcoreinfo().or_else(|| noted(&file.mem, &map, system));
    Ok(Filter::new(file.mem, map, &text.ok_or(PagesError::NoVmcoreinfo)?)?)
}

/// The parts of a range in each window.
fn windows(range: PhysRange) -> impl Iterator<Item = PhysRange> {
    let first = range.start().get() / WINDOW;
    let windows = (first..range.end().get().div_ceil(WINDOW)).map(|number| number * WINDOW);
    windows.filter_map(move |start| {
        PhysRange::new(PhysAddr::new(start), WINDOW).ok()?.intersect(range)
    })
}

/// A segment of `/proc/kcore` without a physical address that it does not have: zero before Linux
/// 4.11, else all ones.
fn known(segment: &Segment) -> Segment {
    let has_paddr = ![0, u32::MAX.into()].contains(&segment.paddr.get());
    let paddr = if has_paddr { segment.paddr } else { PhysAddr::new(u64::MAX) };
    Segment { paddr, ..*segment }
}

/// VMCOREINFO where the kernel has it: the notes of `/proc/kcore` have it since Linux 4.19.
fn noted(mem: &impl ReadPhys, map: &SegmentMap, system: &System) -> Option<Vec<u8>> {
    let area = system.vmcoreinfo.filter(|area| area.length() <= MOST_VMCOREINFO)?;
    let at = linear_map(system).ok()?.page_offset.checked_add(area.start().get())?;
    let mut bytes = vec![0; area.length() as usize];
    KernelMemory::new(mem, map).read(at, &mut bytes).ok()?;
    vmcoreinfo_in(&bytes)
}
