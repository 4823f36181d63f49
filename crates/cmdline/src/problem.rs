//! Words of the command line that could not be followed.

use core::fmt;

use vmcore::Error;

/// A word of the command line that could not be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Problem<'a> {
    /// The text before the `=`.
    pub key: &'a [u8],
    /// The text after it, or the part of it that is at fault.
    pub value: &'a [u8],
    /// The fault.
    pub trouble: Trouble,
}

/// The fault of a word on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// There is no such `kdump.` key.
    UnknownKey,
    /// The value means nothing; this would be right.
    BadValue(&'static str),
    /// The list is longer than this.
    TooMany(usize),
    /// There are more devices than this.
    TooManyDevices(usize),
    /// The memory it names cannot be noted.
    Memory(Error),
}

impl fmt::Display for Problem<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_text(f, self.key)?;
        f.write_str("=")?;
        write_text(f, self.value)?;
        match self.trouble {
            Trouble::UnknownKey => f.write_str(": no such option, ignored"),
            Trouble::BadValue(right) => write!(f, ": not understood, ignored; right is {right}"),
            Trouble::TooMany(limit) => write!(f, ": more than {limit} targets, ignored"),
            Trouble::TooManyDevices(limit) => write!(f, ": more than {limit} devices, ignored"),
            Trouble::Memory(error) => write!(f, ": ignored: {error}"),
        }
    }
}

/// Writes any bytes as one short piece of a line.
fn write_text(f: &mut fmt::Formatter<'_>, text: &[u8]) -> fmt::Result {
    const LONGEST: usize = 80;
    use fmt::Write;
    for byte in text.iter().take(LONGEST) {
        let printable = byte.is_ascii_graphic() || *byte == b' ';
        f.write_char(if printable { char::from(*byte) } else { '?' })?;
    }
    if text.len() > LONGEST { f.write_str("...") } else { Ok(()) }
}
