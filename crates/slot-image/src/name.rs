//! A segment's name, which may come from anywhere.

use core::fmt;

/// The name of a segment: at most 16 bytes, padded with NULs. Bytes that are not printable ASCII
/// show as a question mark.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Name(pub [u8; 16]);

impl Name {
    /// The first 16 bytes of `text`.
    pub fn new(text: &str) -> Self {
        let mut name = [0; 16];
        for (to, from) in name.iter_mut().zip(text.bytes()) {
            *to = from;
        }
        Self(name)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        let mut bytes = self.0.iter().copied().take_while(|byte| *byte != 0);
        bytes.try_for_each(|byte| {
            f.write_char(if byte.is_ascii_graphic() { byte.into() } else { '?' })
        })
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}
