//! The numbers of pages of a dump, as the console has them.

use core::fmt;
use dumpfile::disk::PageCounts;
use vmcore::{Level, PageClass};

/// The pages of a dump, and the bytes that they are on the target.
pub(super) struct Pages {
    /// The level that they were selected by.
    pub(super) level: Level,
    pub(super) pages: PageCounts,
    /// Number of bytes that have left the machine for them.
    pub(super) bytes: u64,
}

impl fmt::Display for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { level, pages, bytes } = self;
        write!(f, "level {level}: {} pages kept", pages.kept())?;
        for class in PageClass::ALL.into_iter().filter(|class| pages.of(*class) > 0) {
            write!(f, ", {} {class}", pages.of(class))?;
        }
        if pages.in_doubt() > 0 {
            write!(f, "; {} in doubt were not left out", pages.in_doubt())?;
        }
        write!(f, "; {bytes} bytes out")
    }
}
