//! Old memory whose pages have classes.

use super::{Pointers, physical};
use crate::selection::Selection;
use core::ops::Range;
use std::rc::Rc;
use std::vec::Vec;
use vmcore::{PageFilter, PhysAddr, Verdict, WINDOW_PAGES};

const PAGE: usize = 4096;

/// Whole pages of memory, at an address that is a multiple of 4096.
pub(crate) struct Pages {
    bytes: Vec<u8>,
    part: Range<usize>,
}

impl Pages {
    /// Memory with these bytes.
    pub(crate) fn new(contents: &[u8]) -> Self {
        let mut bytes = std::vec![0; contents.len() + PAGE];
        let skip = bytes.as_ptr().align_offset(PAGE);
        let part = skip..skip + contents.len();
        bytes[part.clone()].copy_from_slice(contents);
        Self { bytes, part }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[self.part.clone()]
    }

    /// A selection by these verdicts on its pages. All other memory is kept.
    pub(crate) fn selection(&self, verdicts: &[Verdict]) -> Selection {
        let first = physical(self.bytes()).get() / PAGE as u64;
        let classes = Rc::new(Classes { first, verdicts: verdicts.to_vec() });
        Selection::new(&Pointers, move || Some(classes.clone()))
    }
}

/// Verdicts on the pages from number `first` on.
#[derive(Debug)]
struct Classes {
    first: u64,
    verdicts: Vec<Verdict>,
}

impl PageFilter for Classes {
    fn classify(&self, window: PhysAddr, into: &mut [Verdict; WINDOW_PAGES]) {
        for (page, verdict) in (window.get() / PAGE as u64..).zip(into) {
            let index = page.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
            *verdict =
                index.and_then(|index| self.verdicts.get(index)).copied().unwrap_or_default();
        }
    }
}
