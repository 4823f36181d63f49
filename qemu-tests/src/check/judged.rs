//! The judged: the opinion of our filter on each page of a raw vmcore. This file alone uses the
//! product's code; the judge has its own.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result};
use collector::VmcoreFile;
use linux::{Filter, SegmentMap};
use vmcore::{PageFilter, PhysAddr, ReadPhys, Verdict, WINDOW, WINDOW_PAGES};

use crate::check::core_file::CoreFile;
use crate::host::memory::PAGE;

/// The bytes of a vmcore, by their offset.
#[derive(Debug)]
struct Bytes(File);

impl ReadPhys for Bytes {
    fn read_phys(&self, at: PhysAddr, into: &mut [u8]) -> Result<(), vmcore::Error> {
        let read = self.0.read_exact_at(into, at.get());
        read.map_err(|_| vmcore::Error::Unreadable { at })
    }
}

/// The filter's opinion on each page that is wholly in a vmcore, by page frame number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judged {
    /// The verdicts.
    pub verdicts: BTreeMap<u64, Verdict>,
    /// The pages that hold nothing but zeros.
    pub zeros: BTreeSet<u64>,
}

impl Judged {
    /// Runs the filter over the raw vmcore at `path`.
    ///
    /// # Errors
    /// The file is no such vmcore, or the filter cannot be made for its kernel.
    pub fn of(path: &Path) -> Result<Self> {
        let core = CoreFile::open(path)?;
        let filter = filter(path)?;
        let mut judged = Self::default();
        let mut window = (u64::MAX, [Verdict::Kept; WINDOW_PAGES]);
        for load in &core.loads {
            let end = load.paddr.saturating_add(load.filesz) / PAGE;
            for page in load.paddr.div_ceil(PAGE)..end {
                let start = page * PAGE / WINDOW * WINDOW;
                if window.0 != start {
                    window.0 = start;
                    filter.classify(PhysAddr::new(start), &mut window.1);
                }
                judged.verdicts.insert(page, window.1[((page * PAGE - start) / PAGE) as usize]);
                let mut bytes = [0; PAGE as usize];
                core.read_at(load.offset + (page * PAGE - load.paddr), &mut bytes)?;
                if bytes.iter().all(|byte| *byte == 0) {
                    judged.zeros.insert(page);
                }
            }
        }
        Ok(judged)
    }
}

fn filter(path: &Path) -> Result<Filter<Bytes>> {
    let vmcore = VmcoreFile::open(path).context("opening the vmcore")?;
    let segments = SegmentMap::new(vmcore.segments.iter().copied().map(Ok));
    let bytes = Bytes(File::open(path)?);
    let filter = Filter::new(bytes, segments.context("its segments")?, vmcore.vmcoreinfo()?);
    filter.context("a filter for its kernel")
}
