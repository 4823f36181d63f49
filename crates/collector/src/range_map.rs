//! The map beside a partial file: what of a dump is there already. A text that can be read by people:
//!
//! ```text
//! kdump-rs ranges 1
//! dump 30313233343536373839616263646566
//! view vmcore 1048576
//! have 0 4096
//! ```
//!
//! All numbers are bytes: the length of a view; start and length of a range.

use std::fmt::Write as _;

use dumpfile::DiskId;
use dumpfile::wire::{Held, Ranges, ViewInfo};

const FIRST_LINE: &str = "kdump-rs ranges 1";

/// The map as text.
pub(crate) fn to_text(held: &Held) -> String {
    let mut text = format!("{FIRST_LINE}\ndump {}\n", DiskId(held.id));
    for (name, length, have) in &held.views {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "view {name} {length}");
        for (start, end) in have.iter() {
            let _ = writeln!(text, "have {start} {}", end - start);
        }
    }
    text
}

/// The map that `text` is, if it is one.
pub(crate) fn from_text(text: &str) -> Option<Held> {
    let mut lines = text.lines();
    if lines.next()? != FIRST_LINE {
        return None;
    }
    let id: DiskId = lines.next()?.strip_prefix("dump ")?.parse().ok()?;
    let mut held = Held { id: id.0, views: Vec::new() };
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["view", name, length] if ViewInfo::is_name(name.as_bytes()) => {
                held.views.push((name.to_owned(), length.parse().ok()?, Ranges::new()));
            }
            ["have", start, length] => {
                let (_, whole, have) = held.views.last_mut()?;
                let start: u64 = start.parse().ok()?;
                let end = start.checked_add(length.parse().ok()?).filter(|end| end <= whole)?;
                have.insert(start, end).then_some(())?;
            }
            _ => return None,
        }
    }
    Some(held)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "kdump-rs ranges 1\ndump 30313233343536373839616263646566\n\
                        view dmesg 700\nview vmcore 1048576\nhave 0 4096\nhave 8192 100\n";

    #[test]
    fn text_and_back() {
        let held = from_text(TEXT).expect("a map");
        assert_eq!(held.id, *b"0123456789abcdef");
        assert_eq!(held.views[0], ("dmesg".to_owned(), 700, Ranges::new()));
        assert_eq!(held.views[1].2.iter().collect::<Vec<_>>(), [(0, 4096), (8192, 8292)]);
        assert_eq!(to_text(&held), TEXT);
    }

    #[test]
    fn anything_else_is_no_map() {
        for (from, to) in [
            ("ranges 1", "ranges 2"),
            ("dump 3", "dump 4x"),
            ("vmcore", "../vmcore"),
            ("8192 100", "1048576 1"),
            ("8192 100", "18446744073709551615 1"),
            ("8192 100", "8192"),
            ("view dmesg 700\n", "have 1 2\n"),
        ] {
            assert_eq!(from_text(&TEXT.replacen(from, to, 1)), None, "{to}");
        }
        assert_eq!(from_text(""), None);
    }
}
