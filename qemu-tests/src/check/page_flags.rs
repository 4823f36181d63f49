//! The kernel's own word on each page: /proc/kpageflags and /proc/kpagecount.
//!
//! The numbers of the flags are those of Linux's include/uapi/linux/kernel-page-flags.h and
//! include/linux/kernel-page-flags.h; they are the same in all versions. See also
//! Documentation/admin-guide/mm/pagemap.rst.

use anyhow::{Context, Result, ensure};
use vmcore::PageClass;

use crate::check::truth::Truth;
use crate::first::saved_pages::Area;
use crate::host::memory::GuestMemory;

const LRU: u64 = 1 << 5;
const SLAB: u64 = 1 << 7;
/// On every page of a free block.
const BUDDY: u64 = 1 << 10;
const MAPPED: u64 = 1 << 11;
const ANON: u64 = 1 << 12;
const SWAPCACHE: u64 = 1 << 13;
const COMPOUND_HEAD: u64 = 1 << 15;
const COMPOUND_TAIL: u64 = 1 << 16;
const HUGETLB: u64 = 1 << 17;
const HWPOISON: u64 = 1 << 19;
const NOPAGE: u64 = 1 << 20;
const THP: u64 = 1 << 22;
const OFFLINE: u64 = 1 << 23;
const PAGE_TABLE: u64 = 1 << 26;
const RESERVED: u64 = 1 << 32;
const PRIVATE: u64 = 1 << 35;
/// Flags that some versions show on the first page of a compound page alone, and that hold for all
/// of it.
const OF_WHOLE: u64 = LRU | SLAB | ANON | SWAPCACHE | HUGETLB | PRIVATE;

/// Flags by name, for people.
const NAMES: [(u64, &str); 15] = [
    (LRU, "lru"),
    (SLAB, "slab"),
    (BUDDY, "buddy"),
    (MAPPED, "mmap"),
    (ANON, "anonymous"),
    (SWAPCACHE, "swapcache"),
    (COMPOUND_HEAD, "head"),
    (COMPOUND_TAIL, "tail"),
    (HUGETLB, "huge"),
    (HWPOISON, "hwpoison"),
    (THP, "thp"),
    (OFFLINE, "offline"),
    (PAGE_TABLE, "page table"),
    (RESERVED, "reserved"),
    (PRIVATE, "private"),
];

/// Saved words on all pages, by page frame number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageFlags {
    flags: Vec<u64>,
    counts: Vec<u64>,
    /// Free pages in /proc/buddyinfo, which was read first.
    pub free: u64,
}

impl PageFlags {
    /// Reads what the first kernel has saved in `area`.
    ///
    /// # Errors
    /// Fails if it has saved nothing, or something has changed it since.
    pub fn read(area: &Area, memory: &GuestMemory, truth: &Truth) -> Result<Self> {
        let words = |address| {
            Ok::<_, anyhow::Error>(words(&truth.bytes(memory, address, area.length())?))
        };
        let text = truth.bytes(memory, area.buddyinfo(), area.counts() - area.buddyinfo())?;
        let text = String::from_utf8_lossy(&text);
        let free = free_pages(text.trim_end_matches('\0'))?;
        Self::new(words(area.flags())?, words(area.counts())?, free)
    }

    /// Takes the words by page frame number.
    ///
    /// # Errors
    /// Fails if they are none of a running kernel.
    pub(super) fn new(mut flags: Vec<u64>, counts: Vec<u64>, free: u64) -> Result<Self> {
        ensure!(flags.iter().any(|flags| flags & BUDDY != 0), "the kernel has saved no flags");
        let mut head = 0;
        for flags in &mut flags {
            if *flags & COMPOUND_HEAD != 0 {
                head = *flags;
            } else if *flags & COMPOUND_TAIL != 0 {
                *flags |= head & OF_WHOLE;
                // A page of a hugetlbfs is poisoned as one.
                let is_huge = head & HUGETLB != 0;
                *flags |= if is_huge { head & HWPOISON } else { 0 };
            }
        }
        Ok(Self { flags, counts, free })
    }

    /// The class of the page with this number; [`None`] for a page of the kernel's own.
    pub fn class(&self, page: u64) -> Option<PageClass> {
        let flags = self.flags(page);
        let any = |wanted: u64| flags & wanted != 0;
        match () {
            () if any(NOPAGE) => None,
            () if any(HWPOISON) => Some(PageClass::HwPoison),
            () if any(RESERVED) => None,
            () if any(BUDDY) => Some(PageClass::Free),
            () if any(OFFLINE) => Some(PageClass::Offline),
            () if any(SLAB | PAGE_TABLE) => None,
            () if any(HUGETLB | ANON) => Some(PageClass::User),
            () if any(LRU | SWAPCACHE) && any(PRIVATE) => Some(PageClass::CachePrivate),
            () if any(LRU | SWAPCACHE) => Some(PageClass::Cache),
            () => None,
        }
    }

    /// True if a process or the kernel's page tables map the page, or did when it was saved.
    pub fn is_mapped(&self, page: u64) -> bool {
        usize::try_from(page).ok().and_then(|page| self.counts.get(page)).is_some_and(|it| *it > 0)
    }

    /// True if the page is in a free block, poisoned or not.
    pub fn is_free(&self, page: u64) -> bool {
        self.flags(page) & BUDDY != 0
    }

    /// True if the page can be none but the kernel's for as long as it runs: it was set aside at
    /// boot, such as its image and its struct pages.
    pub fn is_reserved(&self, page: u64) -> bool {
        self.flags(page) & RESERVED != 0
    }

    /// Number of pages with this class.
    pub fn count(&self, class: PageClass) -> u64 {
        (0..self.flags.len() as u64).filter(|page| self.class(*page) == Some(class)).count() as u64
    }

    /// The names of a page's flags.
    pub fn show(&self, page: u64) -> String {
        let flags = self.flags(page);
        let names = NAMES.iter().filter(|(flag, _)| flags & flag != 0).map(|(_, name)| *name);
        let names: Vec<_> = names.collect();
        format!("{flags:#x} ({})", names.join(" "))
    }

    fn flags(&self, page: u64) -> u64 {
        let at = usize::try_from(page).ok();
        at.and_then(|page| self.flags.get(page)).copied().unwrap_or(NOPAGE)
    }
}

fn words(bytes: &[u8]) -> Vec<u64> {
    bytes.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)).collect()
}

/// Sum over the lines of /proc/buddyinfo: `Node 0, zone DMA32  3  2  0 …`, the number of free
/// blocks by order.
fn free_pages(buddyinfo: &str) -> Result<u64> {
    let mut pages = 0;
    for line in buddyinfo.lines() {
        let (_, zone) = line.split_once(", zone").context("a line of buddyinfo without a zone")?;
        for (order, blocks) in zone.split_whitespace().skip(1).enumerate() {
            let blocks: u64 = blocks.parse().with_context(|| format!("buddyinfo: {line}"))?;
            pages += blocks << order;
        }
    }
    ensure!(pages > 0, "/proc/buddyinfo knows no free page");
    Ok(pages)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers as `page-types` of the kernel's tools shows them: locked 0, referenced 2, uptodate
    /// 3, lru 5, active 6, slab 7, buddy 10, mmap 11, anonymous 12, swapcache 13, swapbacked 14,
    /// compound head 15 and tail 16, huge 17, hwpoison 19, thp 22, offline 23, pgtable 26, reserved
    /// 32, private 35.
    fn bits(bits: &[u32]) -> u64 {
        bits.iter().map(|bit| 1 << bit).sum()
    }

    #[test]
    fn flags_say_the_class() {
        let table = [
            (&[][..], None),
            (&[20], None),
            (&[10], Some(PageClass::Free)),
            (&[7], None),
            (&[7, 15], None),
            (&[26, 11], None),
            (&[11], None),
            (&[2, 3, 5, 11], Some(PageClass::Cache)),
            (&[3, 5, 35], Some(PageClass::CachePrivate)),
            (&[3, 35], None),
            (&[3, 5, 6, 11, 12, 14], Some(PageClass::User)),
            (&[11, 12, 14], Some(PageClass::User)),
            (&[3, 13, 14], Some(PageClass::Cache)),
            (&[3, 5, 12, 13, 14], Some(PageClass::User)),
            (&[15, 17], Some(PageClass::User)),
            (&[23], Some(PageClass::Offline)),
            (&[19], Some(PageClass::HwPoison)),
            (&[19, 12], Some(PageClass::HwPoison)),
            (&[32], None),
            (&[32, 5], None),
            (&[32, 19], Some(PageClass::HwPoison)),
        ];
        for (flags, class) in table {
            let pages = PageFlags::new(vec![bits(&[10]), bits(flags)], vec![0, 0], 1).unwrap();
            assert_eq!(pages.class(1), class, "{flags:?}");
            assert_eq!(pages.class(2), None, "not in the file");
        }
    }

    /// Up to 6.9 the tails of a huge page of a tmpfs and of a slab show less than the head.
    #[test]
    fn tails_belong_to_their_head() {
        let flags = [&[10][..], &[5, 14, 15, 22], &[16, 22], &[7, 15], &[16], &[3, 5], &[16]];
        let pages = PageFlags::new(flags.map(bits).to_vec(), vec![0; 7], 1).unwrap();
        let classes: Vec<_> = (1..7).map(|page| pages.class(page)).collect();
        let cache = Some(PageClass::Cache);
        assert_eq!(classes, [cache, cache, None, None, cache, None]);
    }

    #[test]
    fn a_page_of_a_hugetlbfs_is_poisoned_as_one() {
        let flags = [&[10][..], &[15, 17, 19], &[16, 17], &[12, 15, 19, 22], &[12, 16, 22]];
        let pages = PageFlags::new(flags.map(bits).to_vec(), vec![0; 5], 1).unwrap();
        let classes: Vec<_> = (1..5).map(|page| pages.class(page)).collect();
        let poisoned = Some(PageClass::HwPoison);
        assert_eq!(classes, [poisoned, poisoned, poisoned, Some(PageClass::User)]);
    }

    #[test]
    fn an_empty_area_is_no_word() {
        assert!(PageFlags::new(vec![0; 8], vec![0; 8], 1).is_err());
        assert!(free_pages("").is_err());
    }

    #[test]
    fn buddyinfo_counts_blocks_by_order() {
        let text = "Node 0, zone      DMA      1      0      2\nNode 0, zone    DMA32      5\n";
        assert_eq!(free_pages(text).unwrap(), 1 + 2 * 4 + 5);
        assert!(free_pages("Node 0, zone DMA x").is_err());
    }
}
