//! VMCOREINFO, the kernel's description of itself: lines `KEY=VALUE` (Linux,
//! `Documentation/admin-guide/kdump/vmcoreinfo.rst`).
//!
//! Readers of dumps take one such note and do not look for a second. So the loader's additions, in
//! a note of their own name ([`crate::NAME_ADDENDUM`]), go into the dead kernel's text.

use alloc::vec::Vec;
use core::cell::Cell;
use core::{fmt, str};

use crate::{Error, PhysAddr, PhysRange};

/// Most bytes that are searched for lines to add, and that a loader should pass on. Linux' whole
/// text has at most 4096.
pub const MAX_ADDED: usize = 8192;

/// A range of memory that is not in the dump, and the reason. As a line of VMCOREINFO it is
/// `LEFTOUT(START-END)=REASON`: both hexadecimal without `0x`, END one past the last byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeftOut<'a> {
    /// The memory.
    pub range: PhysRange,
    /// The reason in a few words, of printable ASCII.
    pub reason: &'a str,
}

impl fmt::Display for LeftOut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (start, end) = (self.range.start().get(), self.range.end().get());
        write!(f, "LEFTOUT({start:x}-{end:x})={}", self.reason)
    }
}

impl<'a> LeftOut<'a> {
    /// Reads one line; `None` for any other line.
    pub fn parse(line: &'a str) -> Option<Self> {
        let (bounds, reason) = line.strip_prefix("LEFTOUT(")?.split_once(")=")?;
        let (start, end) = bounds.split_once('-')?;
        let address = |text| u64::from_str_radix(text, 16).ok().map(PhysAddr::new);
        let range = PhysRange::from_bounds(address(start)?, address(end)?).ok()?;
        Some(Self { range, reason })
    }
}

/// The memory that the text of a VMCOREINFO note names as left out, in its order.
pub fn left_out(text: &[u8]) -> impl Iterator<Item = LeftOut<'_>> {
    let lines = text.split(|byte| *byte == b'\n' || *byte == 0);
    lines.filter_map(|line| LeftOut::parse(str::from_utf8(line).ok()?))
}

/// The value of `key` in the text of a VMCOREINFO note, as in `OSRELEASE=6.1.0` or
/// `SYMBOL(_stext)=c1000000`. `None` when there is no such line or its value is not text.
pub fn vmcoreinfo_get<'a>(text: &'a [u8], key: &str) -> Option<&'a str> {
    str::from_utf8(find(text, key.as_bytes())?.0).ok()
}

/// The text of a VMCOREINFO note, in which many keys are looked up. Each search goes on from the
/// value found last: keys in the order in which the kernel writes them take one pass in all. If a
/// key is there twice, any of its values is found.
pub struct Vmcoreinfo<'a> {
    text: &'a [u8],
    /// Offset of the end of the line found last.
    next: Cell<usize>,
}

impl<'a> Vmcoreinfo<'a> {
    /// `text` as in [`vmcoreinfo_get`].
    pub const fn new(text: &'a [u8]) -> Self {
        Self { text, next: Cell::new(0) }
    }

    /// The value of `key`, as [`vmcoreinfo_get`] finds it.
    pub fn get(&self, key: &str) -> Option<&'a str> {
        let (before, after) = self.text.split_at(self.next.get());
        let within = |part: &'a [u8], start: usize| {
            let (value, rest) = find(part, key.as_bytes())?;
            Some((value, start + part.len() - rest.len()))
        };
        let (value, end) = within(after, before.len()).or_else(|| within(before, 0))?;
        self.next.set(end);
        str::from_utf8(value).ok()
    }
}

/// The value of `key`, and the text from the end of its line on.
fn find<'a>(mut text: &'a [u8], key: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    while !text.is_empty() {
        let (line, rest) = text.split_at(end_of_line(text));
        if let Some(value) = line.strip_prefix(key).and_then(|rest| rest.strip_prefix(b"=")) {
            return Some((value, rest));
        }
        text = rest.get(1..).unwrap_or_default();
    }
    None
}

/// Length of the first line. It looks at four bytes at a time: the capture kernel searches some 3
/// KiB for each of some twenty keys before its first byte leaves.
fn end_of_line(text: &[u8]) -> usize {
    const LOW: u32 = 0x0101_0101;
    let has_zero = |word: u32| word.wrapping_sub(LOW) & !word & (LOW << 7) != 0;
    let is_end = |byte: &u8| *byte == b'\n' || *byte == 0;
    let has_end = |word: &[u8; 4]| {
        let word = u32::from_ne_bytes(*word);
        has_zero(word) || has_zero(word ^ (LOW * b'\n' as u32))
    };
    let words = text.as_chunks::<4>().0;
    let from = 4 * words.iter().position(has_end).unwrap_or(words.len());
    let end = text[from..].iter().position(is_end);
    end.map_or(text.len(), |end| from + end)
}

/// Adds those of `lines` to `text` whose key is not in it. Lines that are not printable ASCII of
/// the form `KEY=VALUE` are skipped. Without an addition the text stays as it is.
///
/// # Errors
/// [`Error::NoMemory`] when the heap has no room.
pub(crate) fn add_lines(text: &mut Vec<u8>, lines: &[u8]) -> Result<(), Error> {
    let lines = &lines[..lines.len().min(MAX_ADDED)];
    // Lines are looked for once: a search of the whole text for each key would take longer than
    // the way to the first byte of the dump.
    let padding = text.iter().rev().take_while(|byte| **byte == 0).count();
    let mut starts = starts_of_lines(&text[..text.len() - padding])?;
    for line in lines.split(|byte| *byte == b'\n' || *byte == 0) {
        let is_new = |key: &[u8]| {
            let has_key = |start: &usize| {
                let rest = text.get(*start..).and_then(|line| line.strip_prefix(key));
                rest.is_some_and(|rest| rest.first() == Some(&b'='))
            };
            !starts.iter().any(has_key)
        };
        if key(line).is_some_and(is_new) {
            add_line(text, line)?;
            starts.try_reserve(1).map_err(|_| Error::NoMemory)?;
            starts.push(text.len() - line.len() - 1);
        }
    }
    Ok(())
}

/// Offsets of all lines.
fn starts_of_lines(text: &[u8]) -> Result<Vec<usize>, Error> {
    let mut starts = Vec::new();
    let mut start = 0;
    while start < text.len() {
        starts.try_reserve(1).map_err(|_| Error::NoMemory)?;
        starts.push(start);
        start += end_of_line(&text[start..]) + 1;
    }
    Ok(starts)
}

/// The key of a line that may be added.
fn key(line: &[u8]) -> Option<&[u8]> {
    let printable = line.iter().all(|byte| (b' '..=b'~').contains(byte));
    let end = line.iter().position(|byte| *byte == b'=')?;
    (printable && end > 0).then(|| &line[..end])
}

fn add_line(text: &mut Vec<u8>, line: &[u8]) -> Result<(), Error> {
    text.try_reserve(line.len() + 2).map_err(|_| Error::NoMemory)?;
    while text.last() == Some(&0) {
        text.pop();
    }
    if text.last().is_some_and(|last| *last != b'\n') {
        text.push(b'\n');
    }
    text.extend_from_slice(line);
    text.push(b'\n');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_line_ends_at_its_first_end(
            text in prop::collection::vec(prop::sample::select(&b"a=\n\0\x01\x0b\x80\x8a\xff"[..]), 0..20),
            key in "[a]{0,3}",
        ) {
            let text = &text[..];
            let lines = text.split(|byte| *byte == b'\n' || *byte == 0);
            prop_assert_eq!(end_of_line(text), lines.clone().next().map_or(0, <[u8]>::len));
            let with_value = [text, b"\na=1\naa=2\0aaa=3"].concat();
            let mut lines = with_value.split(|byte| *byte == b'\n' || *byte == 0);
            let found = lines.find_map(|line| line.strip_prefix(key.as_bytes())?.strip_prefix(b"="));
            prop_assert_eq!(find(&with_value, key.as_bytes()).map(|(value, _)| value), found);
        }
    }

    proptest! {
        /// Each key once, as Linux has them, looked up in any order, some of them twice and some in
        /// vain.
        #[test]
        fn many_keys_are_found_in_any_order(
            lines in 0..9_usize,
            ends in "[\\n\\x00]{9}",
            keys in prop::collection::vec(0..12_usize, 0..30),
        ) {
            let ends = ends.as_bytes();
            let line = |n| [alloc::format!("K{n}=v{n}").as_bytes(), &ends[n..=n]].concat();
            let text: Vec<u8> = (0..lines).flat_map(line).collect();
            let values = Vmcoreinfo::new(&text);
            for key in keys {
                let found = values.get(&alloc::format!("K{key}")).map(alloc::string::String::from);
                prop_assert_eq!(found, (key < lines).then(|| alloc::format!("v{key}")));
            }
        }
    }

    #[test]
    fn values_are_found_by_their_keys() {
        let text =
            b"OSRELEASE=6.1.0-9-686-pae\nPAGESIZE=4096\nSYMBOL(_stext)=c1000000\nBAD=\xff\n\0X=1";
        assert_eq!(vmcoreinfo_get(text, "OSRELEASE"), Some("6.1.0-9-686-pae"));
        assert_eq!(vmcoreinfo_get(text, "SYMBOL(_stext)"), Some("c1000000"));
        assert_eq!(vmcoreinfo_get(text, "PAGE"), None);
        assert_eq!(vmcoreinfo_get(text, "SIZE"), None);
        assert_eq!(vmcoreinfo_get(text, "BAD"), None);
    }

    #[test]
    fn memory_that_is_left_out_is_found_again() {
        let range = PhysRange::new(PhysAddr::new(0x1_4000_0000), 0x20_0000).expect("a range");
        let left = LeftOut { range, reason: "unplugged" };
        let line = alloc::format!("{left}");
        assert_eq!(line, "LEFTOUT(140000000-140200000)=unplugged");
        let text = alloc::format!("A=1\n{line}\nLEFTOUT(2-1)=x\nLEFTOUT(1-g)=x\nLEFTOUT(1)=x\n");
        assert_eq!(left_out(text.as_bytes()).collect::<Vec<_>>(), [left]);
    }

    fn added(text: &[u8], lines: &[u8]) -> Vec<u8> {
        let mut text = text.to_vec();
        add_lines(&mut text, lines).expect("room");
        text
    }

    #[test]
    fn what_is_missing_is_added() {
        assert_eq!(added(b"A=1\n", b"KERNELOFFSET=5000000\n"), b"A=1\nKERNELOFFSET=5000000\n");
        assert_eq!(added(b"A=1", b"B=2\nC=\n"), b"A=1\nB=2\nC=\n", "an end of line is put in");
        assert_eq!(
            added(b"A=1\n\0\0", b"B=2"),
            b"A=1\nB=2\n",
            "padding stays at no place but the end"
        );
        assert_eq!(added(b"", b"B=2\nB=3\n"), b"B=2\n", "a key comes once");
        assert_eq!(added(b"AB=1\n", b"A=2\n"), b"AB=1\nA=2\n", "a part of a key is another");
        assert_eq!(added(b"A=1\n\0\0\0", b"XB=2\nB=3"), b"A=1\nXB=2\nB=3\n");
    }

    #[test]
    fn what_the_kernel_says_itself_is_never_changed() {
        for lines in [&b"KERNELOFFSET=2\n"[..], b"", b"no key\n", b"=1\n", b"B=\x07\n", b"B=\xff\n"]
        {
            let text = b"KERNELOFFSET=1\n\0";
            assert_eq!(added(text, lines), text);
        }
    }

    #[test]
    fn lines_have_a_bound() {
        let mut lines = vec![b'x'; MAX_ADDED];
        lines[1] = b'=';
        assert_eq!(added(b"", &lines).len(), MAX_ADDED + 1);
        lines[MAX_ADDED - 1] = b'\n';
        lines.extend(b"B=2\n");
        assert_eq!(vmcoreinfo_get(&added(b"", &lines), "B"), None);
    }

    proptest! {
        #[test]
        fn the_text_stays_in_front(text in "([A-C]=[a-z]{0,3}\n){0,4}", lines in prop::collection::vec(prop_oneof![Just(b'='), Just(b'\n'), b'A'..b'F', any::<u8>()], 0..60)) {
            let result = added(text.as_bytes(), &lines);
            let rest = result.strip_prefix(text.as_bytes());
            prop_assert!(rest.is_some());
            let rest = rest.unwrap_or_default();
            prop_assert!(rest.is_empty() || rest.ends_with(b"\n"));
            prop_assert!(rest.iter().all(|byte| *byte == b'\n' || (b' '..=b'~').contains(byte)));
        }
    }
}
