//! The map beside a partial file: what of a dump is there already. A text that can be read by people:
//!
//! ```text
//! kdump-rs ranges 1
//! dump 30313233343536373839616263646566
//! view vmcore 1048576
//! have 0 4096
//! hole 64 64
//! ```
//!
//! All numbers are bytes: the length of a view; start and length of a range.

use std::fmt::Write as _;

use dumpfile::DiskId;
use dumpfile::wire::{Held, HeldView, Ranges, ViewInfo};

const FIRST_LINE: &str = "kdump-rs ranges 1";

/// The map as text.
pub(crate) fn to_text(held: &Held) -> String {
    let mut text = format!("{FIRST_LINE}\ndump {}\n", DiskId(held.id));
    for HeldView { name, length, have, holes } in &held.views {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "view {name} {length}");
        for (word, ranges) in [("have", have), ("hole", holes)] {
            for (start, end) in ranges.iter() {
                let _ = writeln!(text, "{word} {start} {}", end - start);
            }
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
                let (name, length) = (name.to_owned(), length.parse().ok()?);
                held.views.push(HeldView { name, length, ..HeldView::default() });
            }
            ["have", start, length] => {
                let view = held.views.last_mut()?;
                insert(&mut view.have, (start, length), view.length)?;
            }
            ["hole", start, length] => {
                let view = held.views.last_mut()?;
                insert(&mut view.holes, (start, length), view.length)?;
            }
            _ => return None,
        }
    }
    Some(held)
}

/// Adds the range of a line, which lies within a view of `whole` bytes.
fn insert(ranges: &mut Ranges, (start, length): (&str, &str), whole: u64) -> Option<()> {
    let start: u64 = start.parse().ok()?;
    let end = start.checked_add(length.parse().ok()?).filter(|end| *end <= whole)?;
    ranges.insert(start, end).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "kdump-rs ranges 1\ndump 30313233343536373839616263646566\n\
                        view dmesg 700\nview vmcore 1048576\nhave 0 4096\nhave 8192 100\nhole 8192 64\n";

    #[test]
    fn text_and_back() {
        let held = from_text(TEXT).expect("a map");
        assert_eq!(held.id, *b"0123456789abcdef");
        let dmesg = HeldView { name: "dmesg".to_owned(), length: 700, ..HeldView::default() };
        assert_eq!(held.views[0], dmesg);
        assert_eq!(held.views[1].have.iter().collect::<Vec<_>>(), [(0, 4096), (8192, 8292)]);
        assert_eq!(held.views[1].holes.iter().collect::<Vec<_>>(), [(8192, 8256)]);
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
