//! Values of VMCOREINFO, looked up one after the other.

use crate::Error;
use vmcore::Vmcoreinfo;

/// The largest size or offset that is believed, in bytes: a page.
const MOST: u64 = 4096;

/// The text of VMCOREINFO.
pub(crate) struct Keys<'a> {
    lines: Vmcoreinfo<'a>,
    /// The error for a line that is missing.
    missing: fn(&'static str) -> Error,
}

impl<'a> Keys<'a> {
    pub(crate) const fn new(text: &'a [u8], missing: fn(&'static str) -> Error) -> Self {
        Self { lines: Vmcoreinfo::new(text), missing }
    }

    /// True if there is such a line.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.lines.get(key).is_some()
    }

    /// An address, hexadecimal without `0x`; [`None`] if there is no such line.
    ///
    /// # Errors
    /// [`Error::BadKey`].
    pub(crate) fn address(&self, key: &'static str) -> Result<Option<u64>, Error> {
        let parse = |value| u64::from_str_radix(value, 16).map_err(|_| Error::BadKey { key });
        self.lines.get(key).map(parse).transpose()
    }

    /// A number, signed and decimal.
    ///
    /// # Errors
    /// [`Error::BadKey`].
    pub(crate) fn number(&self, key: &'static str) -> Result<Option<i64>, Error> {
        let parse = |value: &str| value.parse().map_err(|_| Error::BadKey { key });
        self.lines.get(key).map(parse).transpose()
    }

    /// A number from zero to `most`.
    ///
    /// # Errors
    /// [`Error::BadKey`].
    pub(crate) fn count(&self, key: &'static str, most: u64) -> Result<Option<u64>, Error> {
        let check = |number: i64| {
            let number = u64::try_from(number).ok().filter(|number| *number <= most);
            number.ok_or(Error::BadKey { key })
        };
        self.number(key)?.map(check).transpose()
    }

    /// A size or an offset in bytes.
    ///
    /// # Errors
    /// The error for a missing line, or [`Error::BadKey`].
    pub(crate) fn offset(&self, key: &'static str) -> Result<usize, Error> {
        // A page fits in a `usize`.
        Ok(self.needed(key, self.count(key, MOST)?)? as usize)
    }
    /// `value` of the line `key`, which must be there.
    ///
    /// # Errors
    /// The error for a missing line.
    pub(crate) fn needed<T>(&self, key: &'static str, value: Option<T>) -> Result<T, Error> {
        value.ok_or_else(|| (self.missing)(key))
    }
}
