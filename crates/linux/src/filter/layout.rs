//! Meaning of the bytes of a page struct, in this build of the kernel.

use super::page_type::{PageType, Types};
use crate::Error;
use crate::keys::Keys;

/// The most bytes of a page struct.
pub(super) const MOST_STRUCT: usize = 256;
/// The most orders of free blocks that are believed: blocks of up to 1 GiB.
const MOST_ORDERS: u64 = 19;

/// Offsets in a page struct, in bytes, and masks of its flags; a mask is zero if the kernel does
/// not have the flag, or does not tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// Length of a page struct.
    pub(super) size: usize,
    /// Length of a `long`: 4 or 8.
    pub(super) word: usize,
    flags: usize,
    mapping: usize,
    private: usize,
    mapcount: usize,
    refcount: usize,
    compound: usize,
    /// The pointer from a tail to its head may be a mask (`compound_info`).
    masks: bool,
    /// Number of orders of free blocks.
    pub(super) orders: u64,
    /// Flag: on the list of pages that may be reclaimed.
    pub(super) lru: u64,
    /// Flag: page cache with private data. Without it, all of the page cache may have such data.
    pub(super) private_data: Option<u64>,
    /// Flags of a page of the swap cache, all of which it has.
    pub(super) swap_cache: u64,
    /// Flag: the hardware reported the page as broken.
    pub(super) poison: u64,
    /// Flag: the first page of a compound page.
    pub(super) head: u64,
    /// Flag: memory of the slab allocator.
    pub(super) slab: u64,
    /// Page types.
    pub(super) types: Types,
    /// Mark of a huge page.
    pub(super) huge: Huge,
    /// Place of a compound page's order, in its second struct.
    order: Option<usize>,
}

/// Mark of a huge page (hugetlb) other than a page type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Huge {
    /// This byte of the second page struct has this value: to Linux 6.5.
    Destructor(usize, u8),
    /// A flag of the second page struct: Linux 6.6 to 6.8.
    Flag(u64),
    /// None.
    None,
}

/// The fields of a page struct.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) flags: u64,
    pub(super) mapcount: i32,
    pub(super) refcount: u32,
    pub(super) mapping: u64,
    pub(super) private: u64,
    pub(super) compound: u64,
}

impl Layout {
    /// Reads the layout.
    ///
    /// | missing | meaning |
    /// |---|---|
    /// | sizes and offsets, `PG_lru`, `PG_head_mask`, `LENGTH(zone.free_area)` | no filter |
    /// | `compound_head` and `compound_info` | no filter |
    /// | `PG_slab` and `PAGE_SLAB_MAPCOUNT_VALUE` | no filter: slabs look like any other memory |
    /// | one of the two | the other one counts |
    /// | `PG_private` | all of the page cache may have private data |
    /// | `PG_swapcache`, `PG_swapbacked` | the swap cache is kept |
    /// | `PG_hwpoison`, `PAGE_…_MAPCOUNT_VALUE` of a type | such pages are kept |
    /// | all marks of huge pages | huge pages are kept |
    ///
    /// # Errors
    /// [`Error::NotFiltered`] or [`Error::BadKey`].
    pub(super) fn parse(keys: &Keys<'_>) -> Result<Self, Error> {
        if !matches!(keys.number("PAGESIZE")?, None | Some(4096)) {
            return Err(Error::BadKey { key: "PAGESIZE" });
        }
        let size = keys.offset("SIZE(page)")?;
        let word = word(keys)?;
        let flag = |key| Ok::<_, Error>(bit(keys, key, word)?.unwrap_or_default());
        let lru = "NUMBER(PG_lru)";
        let heads = "NUMBER(PG_head_mask)";
        let orders = "LENGTH(zone.free_area)";
        let (compound, masks) = compound(keys)?;
        let types = Types::parse(keys)?;
        let layout = Self {
            size,
            word,
            flags: keys.offset("OFFSET(page.flags)")?,
            refcount: keys.offset("OFFSET(page._refcount)")?,
            mapping: keys.offset("OFFSET(page.mapping)")?,
            mapcount: keys.offset("OFFSET(page._mapcount)")?,
            private: keys.offset("OFFSET(page.private)")?,
            compound,
            masks,
            orders: keys.needed(orders, keys.count(orders, MOST_ORDERS)?)?,
            lru: keys.needed(lru, bit(keys, lru, word)?)?,
            private_data: bit(keys, "NUMBER(PG_private)", word)?,
            swap_cache: swap_cache(keys, word)?,
            poison: flag("NUMBER(PG_hwpoison)")?,
            head: keys.needed(heads, keys.count(heads, u32::MAX.into())?)?,
            slab: flag("NUMBER(PG_slab)")?,
            huge: huge(keys, size, word)?,
            order: order(keys, size)?,
            types,
        };
        if layout.slab == 0 && layout.types.slab.is_none() {
            return Err(Error::NotFiltered { key: "NUMBER(PAGE_SLAB_MAPCOUNT_VALUE)" });
        }
        layout.check()
    }

    /// Each field is inside of the struct.
    fn check(self) -> Result<Self, Error> {
        let Self { size, word, .. } = self;
        let words = [self.flags, self.mapping, self.private, self.compound];
        let fits = words.iter().all(|at| at + word <= size)
            && self.mapcount + 4 <= size
            && self.refcount + 4 <= size
            && self.order.is_none_or(|at| at < size)
            && !matches!(self.huge, Huge::Destructor(at, _) if at >= size);
        let key = "SIZE(page)";
        if fits && size <= MOST_STRUCT { Ok(self) } else { Err(Error::BadKey { key }) }
    }

    /// The fields of the struct in `bytes`; zeros for those that are not there.
    pub(super) fn page(&self, bytes: &[u8]) -> Page {
        Page {
            flags: self.long(bytes, self.flags),
            mapcount: u32_at(bytes, self.mapcount).cast_signed(),
            refcount: u32_at(bytes, self.refcount),
            mapping: self.long(bytes, self.mapping),
            private: self.long(bytes, self.private),
            compound: self.long(bytes, self.compound),
        }
    }

    /// True if a page in the middle of a free block may look like this: nobody uses it.
    pub(super) fn is_unused(&self, bytes: &[u8]) -> bool {
        u32_at(bytes, self.mapcount) == u32::MAX
            && u32_at(bytes, self.refcount) == 0
            && self.long(bytes, self.compound) & 1 == 0
    }

    /// Flags of the struct in `bytes`.
    pub(super) fn flags(&self, bytes: &[u8]) -> u64 {
        self.long(bytes, self.flags)
    }

    /// Address of the head of the compound page, if the struct at `at` is that of a tail and
    /// `compound` its pointer or mask. It need not be a good one.
    pub(super) fn head_of(&self, at: u64, compound: u64) -> Option<u64> {
        if compound & 1 == 0 {
            None
        } else if self.masks && compound >= LOWEST_MASK {
            Some(at & compound)
        } else {
            Some(compound - 1)
        }
    }

    /// Order of a compound page with this second struct, if the kernel tells it.
    pub(super) fn order(&self, second: &[u8]) -> Option<u8> {
        second.get(self.order?).copied()
    }

    /// True if a compound page with this head and this second struct is a huge page.
    pub(super) fn is_huge(&self, head: &Page, second: Option<&[u8]>) -> bool {
        let has = |page_type: PageType| page_type.matches(head.mapcount);
        self.types.huge.is_some_and(has)
            || second.is_some_and(|second| match self.huge {
                Huge::Destructor(at, value) => second.get(at) == Some(&value),
                Huge::Flag(flag) => self.flags(second) & flag != 0,
                Huge::None => false,
            })
    }

    /// True if `pointer` can be a pointer of the kernel.
    pub(super) const fn is_pointer(&self, pointer: u64) -> bool {
        match self.word {
            // The kernel has the upper 3 GiB at most.
            4 => pointer >= 0x4000_0000,
            // The upper half of 57 bits.
            _ => pointer >= 0xff00_0000_0000_0000,
        }
    }

    fn long(&self, bytes: &[u8], at: usize) -> u64 {
        if self.word == 4 {
            return u32_at(bytes, at).into();
        }
        let bytes = bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, u64::from_le_bytes)
    }
}

/// The lowest number that is a mask: page structs are below (the kernel's image is in the upper 2
/// GiB), and no compound page has more structs.
const LOWEST_MASK: u64 = 0xffff_ffff_c000_0000;

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let bytes = bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(0, u32::from_le_bytes)
}

/// Length of a `long`: half a `list_head`.
pub(super) fn word(keys: &Keys<'_>) -> Result<usize, Error> {
    let key = "SIZE(list_head)";
    match keys.offset(key)? {
        8 => Ok(4),
        16 => Ok(8),
        _ => Err(Error::BadKey { key }),
    }
}

/// The mask of a flag.
fn bit(keys: &Keys<'_>, key: &'static str, word: usize) -> Result<Option<u64>, Error> {
    Ok(keys.count(key, 8 * word as u64 - 1)?.map(|bit| 1 << bit))
}

/// Place of the pointer to the head, and true if it may be a mask.
fn compound(keys: &Keys<'_>) -> Result<(usize, bool), Error> {
    let info = "OFFSET(page.compound_info)";
    if keys.has(info) {
        return Ok((keys.offset(info)?, true));
    }
    Ok((keys.offset("OFFSET(page.compound_head)")?, false))
}

/// Other pages may have one of the two flags for a purpose of their own.
fn swap_cache(keys: &Keys<'_>, word: usize) -> Result<u64, Error> {
    let cache = bit(keys, "NUMBER(PG_swapcache)", word)?;
    let backed = bit(keys, "NUMBER(PG_swapbacked)", word)?;
    Ok(cache.zip(backed).map_or(0, |(cache, backed)| cache | backed))
}

/// Offset of a byte in the second page struct: the kernel gives it in a `page`, or in a `folio`,
/// which is several.
fn in_second(
    keys: &Keys<'_>,
    size: usize,
    page: &'static str,
    folio: &'static str,
) -> Result<Option<usize>, Error> {
    if keys.has(page) {
        return keys.offset(page).map(Some);
    }
    if !keys.has(folio) {
        return Ok(None);
    }
    keys.offset(folio)?.checked_sub(size).map(Some).ok_or(Error::BadKey { key: folio })
}

fn huge(keys: &Keys<'_>, size: usize, word: usize) -> Result<Huge, Error> {
    if let Some(flag) = bit(keys, "NUMBER(PG_hugetlb)", word)? {
        return Ok(Huge::Flag(flag));
    }
    let number = keys.count("NUMBER(HUGETLB_PAGE_DTOR)", u8::MAX.into())?;
    let at = in_second(keys, size, "OFFSET(page.compound_dtor)", "OFFSET(folio._folio_dtor)")?;
    Ok(match at.zip(number) {
        Some((at, number)) => Huge::Destructor(at, number as u8),
        None => Huge::None,
    })
}

/// Place of the order: a byte of its own, or the lowest byte of the flags, since `PG_hugetlb` is
/// there.
fn order(keys: &Keys<'_>, size: usize) -> Result<Option<usize>, Error> {
    let own = in_second(keys, size, "OFFSET(page.compound_order)", "OFFSET(folio._folio_order)")?;
    let in_flags =
        keys.has("NUMBER(PG_hugetlb)") || keys.has("NUMBER(PAGE_HUGETLB_MAPCOUNT_VALUE)");
    Ok(own.or(if in_flags { Some(keys.offset("OFFSET(page.flags)")?) } else { None }))
}
