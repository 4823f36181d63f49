//! The verdict on each page of a vmcore.

use dumpfile::kdump_file::PageBitmap;
use linux::Filter;
use serde::Serialize;
use std::collections::BTreeMap;
use vmcore::{Level, PageClass, PageFilter, PhysAddr, Verdict, WINDOW, WINDOW_PAGES};

use crate::Error;
use crate::memory::Memory;
use crate::parallel::in_order;

/// A page frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Page {
    /// It is no RAM.
    #[default]
    Hole,
    /// It is not in the vmcore, for this reason if one is known.
    Gone(Option<PageClass>),
    /// It is there, with the filter's verdict.
    There(Verdict),
}

/// Pages of a dump by class.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PageSums {
    /// Pages in the file, without those of zeros.
    pub kept: u64,
    /// Pages of them whose structures are damaged, or cannot be read.
    pub doubt: u64,
    /// Pages that are left out, by the name of their class; also those of zeros.
    pub left: BTreeMap<&'static str, u64>,
    /// Pages that the source lacks for a reason that is not known.
    pub unknown: u64,
}

impl PageSums {
    pub(crate) fn leave_out(&mut self, class: PageClass, pages: u64) {
        *self.left.entry(class.name()).or_default() += pages;
    }
}

/// Classifies all page frames, on all cores, and hands them to `take`, ascending, window by window:
/// the number of the first one, and [`WINDOW_PAGES`] of them. Windows without RAM are passed over.
///
/// # Errors
/// Those of `take`.
pub(crate) fn classify(
    memory: &Memory<'_>,
    filter: Option<&(dyn PageFilter + Sync)>,
    mut take: impl FnMut(u64, &[Page; WINDOW_PAGES]) -> Result<(), Error> + Send,
) -> Result<(), Error> {
    let windows: Vec<u64> = windows(&memory.ram);
    let tools = || Ok([Verdict::Kept; WINDOW_PAGES]);
    let work = |verdicts: &mut [Verdict; WINDOW_PAGES], index: usize| {
        let window = windows[index];
        if let Some(filter) = filter {
            filter.classify(PhysAddr::new(window * WINDOW), verdicts);
        }
        let mut pages = Box::new([Page::Hole; WINDOW_PAGES]);
        let first = window * WINDOW_PAGES as u64;
        for (number, (page, verdict)) in (first..).zip(pages.iter_mut().zip(verdicts)) {
            *page = match () {
                () if memory.there.contains(number) => Page::There(*verdict),
                () if memory.ram.contains(number) => Page::Gone(memory.class_of(number)),
                () => Page::Hole,
            };
        }
        Ok(pages)
    };
    let each = |_: &mut _, index: usize, pages: Box<[Page; WINDOW_PAGES]>| {
        take(windows[index] * WINDOW_PAGES as u64, &pages)
    };
    in_order(windows.len(), tools, work, each)
}

/// Numbers of the windows that have a page of the set.
pub(crate) fn windows(pages: &PageBitmap) -> Vec<u64> {
    let mut windows: Vec<u64> = Vec::new();
    for (start, end, is_in) in pages.runs(0, pages.end()) {
        if is_in {
            let first = start / WINDOW_PAGES as u64;
            let next = windows.last().map_or(first, |last| first.max(last + 1));
            windows.extend(next..=(end - 1) / WINDOW_PAGES as u64);
        }
    }
    windows
}

/// The pages that a dump at `level` keeps, and the sums of the others. Zeros are not looked for.
///
/// # Errors
/// [`Error::Kdump`] without memory for the list.
pub(crate) fn select(
    memory: &Memory<'_>,
    filter: Option<&(dyn PageFilter + Sync)>,
    level: Level,
) -> Result<(PageBitmap, PageSums), Error> {
    let no_memory = |source| Error::Kdump { path: memory.vmcore.path().to_owned(), source };
    let mut kept = PageBitmap::new(memory.end).map_err(no_memory)?;
    let mut sums = PageSums::default();
    classify(memory, filter, |first, pages| {
        for (number, page) in (first..).zip(pages) {
            match *page {
                Page::Hole => {}
                Page::Gone(Some(class)) => sums.leave_out(class, 1),
                Page::Gone(None) => sums.unknown += 1,
                Page::There(Verdict::Excluded(class)) if level.excludes(class) => {
                    sums.leave_out(class, 1);
                }
                Page::There(verdict) => {
                    sums.kept += 1;
                    sums.doubt += u64::from(verdict == Verdict::Doubt);
                    kept.insert(number);
                }
            }
        }
        Ok(())
    })?;
    kept.count_pages().map_err(no_memory)?;
    Ok((kept, sums))
}

/// The filter for a vmcore of a Linux.
///
/// # Errors
/// [`Error::NoFilter`] if VMCOREINFO is missing, or does not describe the structures of pages.
pub(crate) fn filter<'a>(memory: &Memory<'a>) -> Result<Box<dyn PageFilter + Sync + 'a>, Error> {
    let vmcore = memory.vmcore;
    let error = |reason: String| Error::NoFilter { path: vmcore.path().to_owned(), reason };
    let text = vmcore.vmcoreinfo().map_err(|_| error("it has no VMCOREINFO".to_owned()))?;
    let filter = Filter::new(vmcore.bytes(), vmcore.map().clone(), text);
    let mut filter = filter.map_err(|source| error(source.to_string()))?;
    vmcore.note_areas().for_each(|area| filter.protect_stacks(vmcore.machine, area));
    Ok(Box::new(filter))
}
