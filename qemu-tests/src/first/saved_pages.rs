//! The word of a Linux first kernel on each of its pages, saved right before the crash, and the
//! uses of memory before that.
//!
//! A part of guest memory is reserved (`memmap=SIZE$ADDRESS`), and /dev/mem writes to it. So
//! nothing is allocated for what is saved, no driver is needed, and the host finds it in the file
//! of guest memory.

use std::ops::Range;
use std::path::Path;

use anyhow::Result;

use crate::first::initramfs::Contents;
use crate::first::virtio_modules;
use crate::host::memory::{GuestMemory, PAGE};

/// First address of the reserved part (physical): in directly mapped memory of every kernel, behind
/// the usual slot. Linux moves itself to another place (its KASLR knows `memmap=`).
const ADDRESS: u64 = 64 << 20;
/// The reserved part is a multiple of this (bytes).
const ALIGNMENT: u64 = 1 << 20;
/// Room for the kernel's word in /proc (bytes).
const WORDS: u64 = 4 << 20;
/// Bytes for each page in /proc/kpagecount and /proc/kpageflags.
const ENTRY: u64 = 8;
/// The functions of all loads.
const LOADS: &str = include_str!("loads.sh");

/// A use of memory before the crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// Page cache of a tmpfs and of a block device, with and without private data.
    Cache,
    /// Programs with large and small buffers: transparent huge pages, where the kernel has them.
    Anonymous,
    /// A file in a hugetlbfs, and free huge pages.
    HugeTlb,
    /// Pages that are poisoned as if the hardware had reported them.
    Poison,
    /// All memory but the rest that the kernel keeps for itself; then it dies of want of memory, by
    /// `panic_on_oom`. For [`Crash::Expected`](crate::Crash::Expected).
    OutOfMemory,
}

impl Load {
    /// Its function in `loads.sh`, and the module that it needs.
    const fn parts(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Cache => ("cache", Some("drivers/block/brd.ko")),
            Self::Anonymous => ("anonymous", None),
            Self::HugeTlb => ("hugetlb", None),
            Self::Poison => ("poison", Some("mm/hwpoison-inject.ko")),
            Self::OutOfMemory => ("out_of_memory", None),
        }
    }
}

/// A Linux first kernel saves its own word on every page right before it is crashed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SavedPages {
    /// The uses of memory before that, in their order.
    pub loads: Vec<Load>,
}

/// The parts of the reserved memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Area {
    /// The whole of it (physical).
    pub range: Range<u64>,
    /// Number of pages up to the end of RAM.
    pub pages: u64,
    /// Room for the kernel's word in /proc, in bytes.
    words: u64,
}

impl Area {
    /// The part of `memory` that is reserved, with room for the kernel's word in /proc if
    /// `has_words`.
    pub fn of(memory: &GuestMemory, has_words: bool) -> Self {
        let end = memory.ranges().iter().map(|range| range.end).max().unwrap_or(0);
        let words = if has_words { WORDS } else { 0 };
        let mut area = Self { range: ADDRESS..ADDRESS, pages: end / PAGE, words };
        area.range.end = area.words().end.next_multiple_of(ALIGNMENT);
        area
    }

    /// Address of the text of /proc/buddyinfo, a page (physical).
    pub const fn buddyinfo(&self) -> u64 {
        self.range.start
    }

    /// Address of /proc/kpagecount (physical).
    pub const fn counts(&self) -> u64 {
        self.buddyinfo() + PAGE
    }

    /// Address of /proc/kpageflags (physical).
    pub const fn flags(&self) -> u64 {
        self.counts() + self.length()
    }

    /// The place of the kernel's word in /proc (physical).
    pub const fn words(&self) -> Range<u64> {
        let start = self.flags() + self.length();
        start..start + self.words
    }

    /// Room for one of the two, in bytes: a multiple of a page.
    pub const fn length(&self) -> u64 {
        (self.pages * ENTRY).next_multiple_of(PAGE)
    }

    /// The word on the first kernel's command line that reserves it.
    pub(crate) fn word(&self) -> String {
        let Range { start, end } = self.range;
        format!("memmap={:#x}${start:#x}", end - start)
    }
}

impl SavedPages {
    /// Most pages that change between the kernel's word and its end: those of the programs that
    /// save it, and of the path to the crash; or those that fill the rest of memory.
    pub(crate) fn most_changed(&self) -> u64 {
        if self.loads.contains(&Load::OutOfMemory) { 8192 } else { 64 }
    }

    /// Puts all that it takes into the initramfs for the bzImage at `kernel`. Modules that its
    /// package lacks are left out.
    ///
    /// # Errors
    /// A module cannot be read.
    pub(crate) fn pack(
        &self,
        area: &Area,
        kernel: &Path,
        contents: &mut Contents<'_>,
    ) -> Result<()> {
        let (page, blocks) = (area.buddyinfo() / PAGE, area.length() / PAGE);
        contents.saved_pages = Some(format!("{page} {blocks}\n"));
        for module in self.loads.iter().filter_map(|load| load.parts().1) {
            contents.load_modules.extend(virtio_modules::packed(kernel, module)?);
        }
        if !self.loads.is_empty() {
            let names: String =
                self.loads.iter().map(|load| format!("{}\n", load.parts().0)).collect();
            contents.before_crash = format!("{LOADS}\n{names}\n{}", contents.before_crash);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_has_room_for_every_page() {
        let folder = tempfile::tempdir().unwrap();
        let memory = GuestMemory::create(256 << 20, folder.path()).unwrap();
        let area = Area::of(&memory, false);
        assert_eq!(area.pages, 65_536);
        assert_eq!(area.counts(), area.buddyinfo() + PAGE);
        assert_eq!(area.flags() - area.counts(), 65_536 * 8);
        assert_eq!(area.word(), "memmap=0x200000$0x4000000");
        let memory = memory.and_hot(512 << 20, 1 << 32, folder.path()).unwrap();
        let area = Area::of(&memory, true);
        assert_eq!(area.pages, (4 << 18) + (512 << 8));
        assert_eq!(area.words().start, area.flags() + area.length());
        assert!(area.words().end - area.words().start == WORDS);
        assert!(area.words().end <= area.range.end);
    }
}
