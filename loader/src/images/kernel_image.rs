//! The capture kernel's image: its segments with their addresses, and whether it may be moved.

use goblin::elf::header::{ET_DYN, ET_EXEC};
use handoff::layout::{PAGE_SIZE, SLOT_ALIGN};

use crate::images::elf::{Elf32, Load};
use crate::images::error::ImageError;

/// Most PT_LOADs: one kexec_load call takes 16 segments (`KEXEC_SEGMENT_MAX`), and five of them are
/// ours: command line, boot_params, purgatory, elfcorehdr and backup region.
pub const MAX_KERNEL_SEGMENTS: usize = 16 - 5;

/// A capture kernel that can be placed.
pub(crate) struct KernelImage<'a> {
    /// The PT_LOADs, lowest physical address first; no two share a page.
    pub(crate) loads: Vec<Load<'a>>,
    /// The 32-bit entry point, a physical address as the image is linked.
    pub(crate) entry: u32,
    /// ET_DYN: it finds out by itself where it runs. ET_EXEC: it runs at `p_paddr` only.
    pub(crate) movable: bool,
    /// Unit of the distance from its linked address, in bytes; a power of two.
    pub(crate) align: u64,
    /// The setup header of a bzImage, which goes into boot_params.
    pub(crate) setup_header: Option<&'a [u8]>,
}

impl<'a> KernelImage<'a> {
    /// Reads and checks an ELF file.
    pub(crate) fn from_elf(bytes: &'a [u8]) -> Result<Self, ImageError> {
        let elf = Elf32::parse(bytes)?;
        let movable = match elf.header.e_type {
            ET_DYN => true,
            ET_EXEC => false,
            e_type => return Err(ImageError::WrongType { e_type, wanted: "ET_EXEC or ET_DYN" }),
        };
        let mut loads = elf.loads()?;
        loads.sort_by_key(|load| load.paddr);
        check_loads(&loads)?;
        let entry = elf.header.e_entry;
        let entry = u32::try_from(entry).map_err(|_| ImageError::Damaged { what: "ELF header" })?;
        let image = Self { loads, entry, movable, align: SLOT_ALIGN, setup_header: None };
        image.check_entry()?;
        Ok(image)
    }

    /// First and one-past-last byte of the whole image as it is linked, in whole pages.
    pub(crate) fn span(&self) -> (i64, i64) {
        let first = self.loads.first().map_or(0, first_page);
        let end = self.loads.last().map_or(0, last_page_end);
        (first as i64, end as i64)
    }

    /// Start of the image after a move into a slot that starts at `slot`: as far after a boundary
    /// of its alignment as it is linked.
    pub(crate) fn moved_start(&self, slot: i64) -> i64 {
        let align = self.align as i64;
        let behind = self.span().0 % align;
        (slot - behind + align - 1) / align * align + behind
    }

    /// The entry code must be in the file, not only in memory.
    fn check_entry(&self) -> Result<(), ImageError> {
        let covers = |load: &Load<'_>| {
            let offset = self.entry.checked_sub(load.paddr);
            offset.is_some_and(|offset| (offset as usize) < load.bytes.len())
        };
        let found = self.loads.iter().any(covers);
        found.then_some(()).ok_or(ImageError::EntryOutside { entry: self.entry })
    }
}

/// The page that the segment's first byte is in.
pub(crate) fn first_page(load: &Load<'_>) -> u64 {
    u64::from(load.paddr) / PAGE_SIZE * PAGE_SIZE
}

/// The end of the page that the segment's last byte is in.
pub(crate) fn last_page_end(load: &Load<'_>) -> u64 {
    (u64::from(load.paddr) + u64::from(load.memsz)).next_multiple_of(PAGE_SIZE)
}

fn check_loads(loads: &[Load<'_>]) -> Result<(), ImageError> {
    match loads.len() {
        0 => return Err(ImageError::NothingToLoad),
        1..=MAX_KERNEL_SEGMENTS => {}
        count => return Err(ImageError::TooManySegments { count, limit: MAX_KERNEL_SEGMENTS }),
    }
    let shared = loads.windows(2).find(|pair| last_page_end(&pair[0]) > first_page(&pair[1]));
    match shared {
        Some(pair) => {
            let (first, second) = (pair[0].paddr, pair[1].paddr);
            Err(ImageError::SegmentsShareAPage { first, second })
        }
        None => Ok(()),
    }
}
