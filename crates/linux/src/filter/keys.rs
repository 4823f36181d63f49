//! Values of VMCOREINFO for the filter.

use crate::Error;
use vmcore::Vmcoreinfo;

/// The largest size or offset that is believed, in bytes: a page.
const MOST: u64 = 4096;

/// The text of VMCOREINFO.
pub(super) struct Keys<'a>(Vmcoreinfo<'a>);

impl<'a> Keys<'a> {
    pub(super) const fn new(text: &'a [u8]) -> Self {
        Self(Vmcoreinfo::new(text))
    }

    /// True if there is such a line.
    pub(super) fn has(&self, key: &str) -> bool {
        self.0.get(key).is_some()
    }

    /// An address, hexadecimal without `0x`; [`None`] if there is no such line.
    ///
    /// # Errors
    /// [`Error::BadKey`].
    pub(super) fn address(&self, key: &'static str) -> Result<Option<u64>, Error> {
        let parse = |value| u64::from_str_radix(value, 16).map_err(|_| Error::BadKey { key });
        self.0.get(key).map(parse).transpose()
    }

    /// A number, signed and decimal.
    ///
    /// # Errors
    /// [`Error::BadKey`].
    pub(super) fn number(&self, key: &'static str) -> Result<Option<i64>, Error> {
        let parse = |value: &str| value.parse().map_err(|_| Error::BadKey { key });
        self.0.get(key).map(parse).transpose()
    }

    /// A number from zero to `most`.
    ///
    /// # Errors
    /// [`Error::BadKey`].
    pub(super) fn count(&self, key: &'static str, most: u64) -> Result<Option<u64>, Error> {
        let check = |number: i64| {
            let number = u64::try_from(number).ok().filter(|number| *number <= most);
            number.ok_or(Error::BadKey { key })
        };
        self.number(key)?.map(check).transpose()
    }

    /// A size or an offset in bytes.
    ///
    /// # Errors
    /// [`Error::NotFiltered`] or [`Error::BadKey`].
    pub(super) fn offset(&self, key: &'static str) -> Result<usize, Error> {
        // A page fits in a `usize`.
        needed(key, self.count(key, MOST)?).map(|offset| offset as usize)
    }
}

/// A value that no filter can be without.
///
/// # Errors
/// [`Error::NotFiltered`].
pub(super) fn needed<T>(key: &'static str, value: Option<T>) -> Result<T, Error> {
    value.ok_or(Error::NotFiltered { key })
}
