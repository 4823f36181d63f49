//! Page types: marks in the field of a page struct that counts mappings (`_mapcount`), for pages
//! that no process can map (Linux, `include/linux/page-flags.h`).

use crate::Error;
use crate::keys::Keys;

/// A page type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PageType {
    /// To Linux 6.11: the whole field has this value.
    Whole(i32),
    /// Since Linux 6.12: the upper byte has this value, the rest is free for other uses.
    Byte(u8),
}

impl PageType {
    /// Reads the type from `NUMBER(PAGE_…_MAPCOUNT_VALUE)`.
    fn parse(keys: &Keys<'_>, key: &'static str) -> Result<Option<Self>, Error> {
        let Some(number) = keys.number(key)? else { return Ok(None) };
        // Some builds may print it without a sign.
        let value = i32::try_from(number).or_else(|_| u32::try_from(number).map(u32::cast_signed));
        let value = value.ok().filter(|value| *value < -1).ok_or(Error::BadKey { key })?;
        let [upper, rest @ ..] = value.to_be_bytes();
        Ok(Some(if rest == [0; 3] { Self::Byte(upper) } else { Self::Whole(value) }))
    }

    /// True if a page with this `_mapcount` has the type.
    pub(super) const fn matches(self, mapcount: i32) -> bool {
        match self {
            Self::Whole(value) => mapcount == value,
            Self::Byte(upper) => mapcount.to_be_bytes()[0] == upper,
        }
    }

    /// Types have a `_mapcount` below this.
    const fn limit(self) -> i32 {
        match self {
            // `PAGE_MAPCOUNT_RESERVE`
            Self::Whole(_) => -128,
            // `PGTY_mapcount_underflow` in the upper byte
            Self::Byte(_) => 0xff00_0000_u32.cast_signed(),
        }
    }
}

/// The types that the kernel tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Types {
    pub(super) buddy: Option<PageType>,
    pub(super) offline: Option<PageType>,
    pub(super) unaccepted: Option<PageType>,
    pub(super) slab: Option<PageType>,
    pub(super) huge: Option<PageType>,
    /// A page with a `_mapcount` below this has a type.
    limit: i32,
}

impl Types {
    /// Reads them. Those that are missing do not exist, or such pages are kept.
    ///
    /// # Errors
    /// [`Error::BadKey`].
    pub(super) fn parse(keys: &Keys<'_>) -> Result<Self, Error> {
        let parse = |key| PageType::parse(keys, key);
        let [slab, buddy, huge, offline, unaccepted] = [
            parse("NUMBER(PAGE_SLAB_MAPCOUNT_VALUE)")?,
            parse("NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)")?,
            parse("NUMBER(PAGE_HUGETLB_MAPCOUNT_VALUE)")?,
            parse("NUMBER(PAGE_OFFLINE_MAPCOUNT_VALUE)")?,
            parse("NUMBER(PAGE_UNACCEPTED_MAPCOUNT_VALUE)")?,
        ];
        let first = [buddy, offline, slab, huge, unaccepted].into_iter().flatten().next();
        let limit = first.map_or(-1, PageType::limit);
        Ok(Self { buddy, offline, unaccepted, slab, huge, limit })
    }

    /// True if a page with this `_mapcount` has a type, known or not.
    pub(super) const fn is_type(&self, mapcount: i32) -> bool {
        mapcount < self.limit
    }
}
