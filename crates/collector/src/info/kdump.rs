//! The part of the summary that only kdump-compressed files have.

use dumpfile::kdump_file::PageCodec;
use serde::Serialize;

use crate::kdump_pages::KdumpPages;

/// Pages of a kdump-compressed file.
#[derive(Debug, Serialize)]
pub struct KdumpInfo {
    /// The dump level (makedumpfile `-d`).
    pub dump_level: u32,
    /// Codecs of its pages.
    pub codecs: Vec<&'static str>,
    /// Pages in the file.
    pub kept: u64,
    /// Pages of RAM that are not in the file. They read as zero.
    pub left_out: u64,
    /// True if its writer did not get to the end.
    pub incomplete: bool,
}

impl KdumpInfo {
    pub(super) fn of(pages: &KdumpPages) -> Self {
        let header = &pages.header;
        let has = |codec: &PageCodec| header.status & codec.flag() != 0;
        Self {
            dump_level: header.dump_level,
            codecs: PageCodec::ALL.into_iter().filter(has).map(PageCodec::name).collect(),
            kept: pages.stored.len(),
            left_out: pages.ram.len().saturating_sub(pages.stored.len()),
            incomplete: header.is_incomplete(),
        }
    }
}
