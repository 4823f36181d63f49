//! The pages of a dump by class.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use serde_json::json;
use vmcore::Verdict;

use crate::memory::{Memory, PAGE};
use crate::selection::{Page, classify, filter};
use crate::{Error, Hex, VmcoreFile};

/// Format of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListFormat {
    /// Lines `START-END CLASS PAGES`, then the sums.
    Text,
    /// One line of JSON.
    Json,
}

/// A list that is being written.
struct List<'a> {
    out: &'a mut (dyn Write + Send),
    format: ListFormat,
    /// The range that is not written yet: start, end (page frames), class.
    open: Option<(u64, u64, &'static str)>,
    ranges: u64,
    sums: BTreeMap<&'static str, u64>,
}

impl List<'_> {
    /// Takes the next page.
    fn add(&mut self, page: u64, class: &'static str) -> io::Result<()> {
        match &mut self.open {
            Some((_, end, same)) if (*end, *same) == (page, class) => *end += 1,
            _ => {
                self.close()?;
                self.open = Some((page, page + 1, class));
            }
        }
        Ok(())
    }

    /// Writes the open range.
    fn close(&mut self) -> io::Result<()> {
        let Some((start, end, class)) = self.open.take() else { return Ok(()) };
        let pages = end - start;
        *self.sums.entry(class).or_default() += pages;
        let (start, end) = (Hex(start * PAGE), Hex(end * PAGE));
        let comma = if self.ranges > 0 { "," } else { "" };
        self.ranges += 1;
        match self.format {
            ListFormat::Text => writeln!(self.out, "{start}-{end} {class} {pages}"),
            ListFormat::Json => {
                write!(self.out, "{comma}[\"{start}\",\"{end}\",\"{class}\",{pages}]")
            }
        }
    }
}

/// Writes the ranges of physical memory by the class of their pages to `out`, ascending, and the
/// pages of each class. For a dump of all memory the filter finds the classes; for one that was
/// made at a level they are those of the pages that it lacks, `left-out` where no reason is known.
/// If `out` takes no more (a closed pipe), that is an early end and no error.
///
/// # Errors
/// As for [`VmcoreFile::open_dump`]; [`Error::NoFilter`], [`Error::Output`].
pub fn list_pages(
    path: &Path,
    number: Option<u64>,
    format: ListFormat,
    out: &mut (dyn Write + Send),
) -> Result<(), Error> {
    let vmcore = VmcoreFile::open_dump(path, number)?;
    let memory = Memory::new(&vmcore)?;
    let is_raw = memory.level.get() & !1 == 0;
    let filter = if is_raw { Some(filter(&memory)?) } else { None };
    let sums = BTreeMap::new();
    let mut list = List { out, format, open: None, ranges: 0, sums };
    let begun = match format {
        ListFormat::Text => Ok(()),
        ListFormat::Json => {
            let level = memory.level;
            write!(list.out, "{{\"version\":1,\"level\":{level},\"ranges\":[")
        }
    };
    let listed = begun.map_err(Error::Output).and_then(|()| {
        classify(&memory, filter.as_deref(), |first, pages| {
            for (page, found) in (first..).zip(pages) {
                let Some(class) = class_of(*found) else { continue };
                list.add(page, class).map_err(Error::Output)?;
            }
            Ok(())
        })
    });
    match listed.and_then(|()| finish(list).map_err(Error::Output)) {
        Err(Error::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// The word for a page; [`None`] for what is no RAM.
fn class_of(page: Page) -> Option<&'static str> {
    match page {
        Page::Hole => None,
        Page::Gone(None) => Some("left-out"),
        Page::There(Verdict::Kept) => Some("kept"),
        Page::There(Verdict::Doubt) => Some("doubt"),
        Page::Gone(Some(class)) | Page::There(Verdict::Excluded(class)) => Some(class.name()),
    }
}

fn finish(mut list: List<'_>) -> io::Result<()> {
    list.close()?;
    let List { out, format, ranges, sums, .. } = list;
    match format {
        ListFormat::Text => {
            let pages: Vec<_> =
                sums.iter().map(|(class, pages)| format!("{pages} {class}")).collect();
            writeln!(out, "pages: {} in {ranges} ranges", pages.join(", "))?;
        }
        ListFormat::Json => writeln!(out, "],\"pages\":{}}}", json!(sums))?,
    }
    out.flush()
}
