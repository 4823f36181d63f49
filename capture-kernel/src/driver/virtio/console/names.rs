//! Names of ports, short enough for an error: a device may say anything.

use arrayvec::ArrayString;
use core::fmt::{self, Write};

/// Longest name of a port that `kdump.target=` can ask for, in bytes.
const LONGEST_NAME: usize = 64;
/// Bytes of the list: an error stays below 128.
const LIST: usize = 44;
/// Placeholder for the names that do not fit.
const MORE: &str = " ...";

/// A name as it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortName(ArrayString<LONGEST_NAME>);

impl PortName {
    /// The name, or as much of it as there is room for.
    pub fn new(name: &str) -> Self {
        let mut text = ArrayString::new();
        for character in name.chars() {
            let _ = text.try_push(character);
        }
        Self(text)
    }

    /// True if this is the name, as a device sends it.
    pub fn is(&self, name: &[u8]) -> bool {
        self.0.as_bytes() == name
    }
}

impl fmt::Display for PortName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The names that were found, as many as fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortList(ArrayString<LIST>);

impl PortList {
    /// Adds a name as a device sends it; unprintable characters become `?`.
    pub fn add(&mut self, name: &[u8]) {
        let mut text = ArrayString::<LIST>::new();
        let printable = name.iter().map(|byte| match byte {
            0x20..=0x7e => char::from(*byte),
            _ => '?',
        });
        let fits = printable.into_iter().all(|character| text.try_push(character).is_ok());
        self.add_text(&text, fits);
    }

    /// Adds all names of another list.
    pub fn join(&mut self, other: &Self) {
        if !other.0.is_empty() {
            self.add_text(&other.0, true);
        }
    }

    fn add_text(&mut self, text: &str, fits: bool) {
        if self.0.ends_with(MORE) {
            return;
        }
        let comma = if self.0.is_empty() { "" } else { ", " };
        let room = self.0.remaining_capacity() - MORE.len().min(self.0.remaining_capacity());
        match fits && comma.len() + text.len() <= room {
            true => {
                let _ = write!(self.0, "{comma}{text}");
            }
            false => self.0.push_str(MORE),
        }
    }
}

impl fmt::Display for PortList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "none" } else { &self.0 })
    }
}
