//! The map beside a partial file: the parts of a dump that are there already. A text that people
//! can read:
//!
//! ```text
//! kdump-rs ranges 2
//! dump 30313233343536373839616263646566
//! view vmcore 1048576
//! level 31
//! have 0 4096
//! left 1024 4096 free
//! pages kept 200
//! pages free 56
//! ```
//!
//! The numbers of `view`, `have` and `left` are bytes: the length of a view; start and length of a
//! range. `left` ranges are zero in the file; `level` is the dump level, if that is not 0; `pages`
//! counts the pages of the view by class, as the other end has selected them. Beside a complete
//! dump the map stays if something is left out.

use std::fmt::Write as _;

use std::fs;
use std::path::Path;

use dumpfile::DiskId;
use dumpfile::chunk::IN_DOUBT;
use dumpfile::wire::{CLASSES, Held, HeldView, ViewInfo};
use vmcore::{Level, PageClass};

use crate::text::with_suffix;

const FIRST_LINE: &str = "kdump-rs ranges 2";
/// Word for the pages that are kept.
const KEPT: &str = "kept";
/// Word for the pages that are kept because their class is in doubt. They are also counted by what
/// became of them.
pub(crate) const DOUBT: &str = "in-doubt";

/// The map as text.
pub(crate) fn to_text(held: &Held) -> String {
    let mut text = format!("{FIRST_LINE}\ndump {}\n", DiskId(held.id));
    for HeldView { name, length, have, left, totals, level } in &held.views {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "view {name} {length}");
        if *level > 0 {
            let _ = writeln!(text, "level {level}");
        }
        for (start, end) in have.iter() {
            let _ = writeln!(text, "have {start} {}", end - start);
        }
        for range in left.iter() {
            let _ = writeln!(text, "left {} {} {}", range.start, range.len(), range.class);
        }
        for (class, pages) in totals.iter().flat_map(by_class) {
            let _ = writeln!(text, "pages {class} {pages}");
        }
    }
    text
}

/// Numbers of pages with the names of their classes: the kept ones first, classes without pages
/// left out.
pub fn by_class(totals: &[u64; CLASSES]) -> impl Iterator<Item = (&'static str, u64)> {
    let name = |code| match code {
        0 => KEPT,
        code if usize::from(code) == IN_DOUBT => DOUBT,
        code => PageClass::from_code(code).map_or("unknown", PageClass::name),
    };
    let pages = (0..).zip(*totals).filter(|(_, pages)| *pages > 0);
    pages.map(move |(code, pages)| (name(code), pages))
}

/// The view that is stored at `path`, if there is a map beside it that has one of this length.
pub(crate) fn beside(path: &Path, length: u64) -> Option<HeldView> {
    let map = |base: &Path| from_text(&fs::read_to_string(with_suffix(base, ".ranges")).ok()?);
    let partial = path.to_str().and_then(|path| path.strip_suffix(".partial")?.rsplit_once('.'));
    let mut views = match partial {
        Some((base, name)) => {
            map(Path::new(base))?.views.into_iter().filter(|view| view.name == name).collect()
        }
        None => map(path)?.views,
    };
    views.retain(|view| view.length == length);
    views.into_iter().max_by_key(|view| view.name == "vmcore")
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
                let (start, end) = range(start, length, view.length)?;
                view.have.insert((start, end)).ok()?;
            }
            ["left", start, length, class] => {
                let view = held.views.last_mut()?;
                let (start, end) = range(start, length, view.length)?;
                view.left.insert(start, end, PageClass::from_name(class)?).then_some(())?;
            }
            ["level", level] => {
                held.views.last_mut()?.level = level.parse::<Level>().ok()?.get();
            }
            ["pages", class, pages] => {
                let totals = held.views.last_mut()?.totals.get_or_insert_default();
                let code = match class {
                    KEPT => 0,
                    DOUBT => IN_DOUBT as u8,
                    class => PageClass::from_name(class)?.code(),
                };
                *totals.get_mut(usize::from(code))? = pages.parse().ok()?;
            }
            _ => return None,
        }
    }
    Some(held)
}

/// Returns start and end of the range in a line, which is within a view of `whole` bytes.
fn range(start: &str, length: &str, whole: u64) -> Option<(u64, u64)> {
    let start: u64 = start.parse().ok()?;
    let end = start.checked_add(length.parse().ok()?).filter(|end| *end <= whole)?;
    Some((start, end))
}

#[cfg(test)]
mod tests {
    use dumpfile::LeftRange;

    use super::*;

    const TEXT: &str = "kdump-rs ranges 2\ndump 30313233343536373839616263646566\n\
                        view dmesg 700\nview vmcore 1048576\nlevel 31\nhave 0 4096\nhave 8192 100\n\
                        left 8192 64 unreadable\npages kept 250\npages unreadable 6\n\
                        pages in-doubt 3\n";

    #[test]
    fn text_and_back() {
        let held = from_text(TEXT).expect("a map");
        assert_eq!(held.id, *b"0123456789abcdef");
        let dmesg = HeldView { name: "dmesg".to_owned(), length: 700, ..HeldView::default() };
        assert_eq!(held.views[0], dmesg);
        assert_eq!(held.views[1].have.iter().collect::<Vec<_>>(), [(0, 4096), (8192, 8292)]);
        let left: Vec<_> = held.views[1].left.iter().collect();
        assert_eq!(left, [LeftRange { start: 8192, end: 8256, class: PageClass::Unreadable }]);
        let totals = held.views[1].totals.expect("two lines");
        assert_eq!((totals[0], totals[9], totals[15]), (250, 6, 3));
        assert_eq!((totals.iter().sum::<u64>(), held.views[1].level), (259, 31));
        assert_eq!(to_text(&held), TEXT);
    }

    #[test]
    fn anything_else_is_no_map() {
        for (from, to) in [
            ("ranges 2", "ranges 1"),
            ("unreadable\n", "unreadabel\n"),
            ("level 31", "level 32"),
            ("pages kept", "pages left"),
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
