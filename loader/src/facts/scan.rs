//! Counts the pages of the running kernel by class, from its own page structs in `/proc/kcore`.

use std::num::NonZero;
use std::panic::resume_unwind;
use std::path::Path;
use std::thread;
use std::time::Instant;

use linux::Filter;
use vmcore::{PhysAddr, PhysRange, WINDOW};

use crate::facts::error::PagesError;
use crate::facts::kcore::Offsets;
use crate::facts::live_memory::LiveMemory;
use crate::facts::pages::LivePages;
use crate::facts::system::System;

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
    let LiveMemory { mem, map, vmcoreinfo } = LiveMemory::open(root, system)?;
    Ok(Filter::new(mem, map, &vmcoreinfo)?)
}

/// The parts of a range in each window.
fn windows(range: PhysRange) -> impl Iterator<Item = PhysRange> {
    let first = range.start().get() / WINDOW;
    let windows = (first..range.end().get().div_ceil(WINDOW)).map(|number| number * WINDOW);
    windows.filter_map(move |start| {
        PhysRange::new(PhysAddr::new(start), WINDOW).ok()?.intersect(range)
    })
}
