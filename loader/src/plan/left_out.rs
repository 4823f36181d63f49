//! RAM that the dump will not have, in words and as lines of VMCOREINFO.

use std::fmt::Write;

use vmcore::LeftOut;

use crate::facts::iomem::LeftOutRam;

/// The most ranges that are named to a person one by one.
const NAMED: usize = 8;
/// The longest reason, in bytes.
const LONGEST_REASON: usize = 64;
/// Room for the line that counts the ranges which are not named, in bytes.
pub(crate) const COUNT_LINE: usize = 80;

/// A warning for each range, the longest first; the rest counted.
pub(crate) fn warnings(left_out: &[LeftOutRam]) -> Vec<String> {
    let sorted = longest_first(left_out);
    let (named, counted) = sorted.split_at(sorted.len().min(NAMED));
    let name = |left: &&LeftOutRam| {
        let LeftOutRam { range, reason } = left;
        format!("memory that the dump will lack: {range}, which is {reason:?} in /proc/iomem")
    };
    let mut warnings: Vec<String> = named.iter().map(name).collect();
    if !counted.is_empty() {
        let bytes: u64 = counted.iter().map(|left| left.range.length()).sum();
        let count = counted.len();
        warnings
            .push(format!("memory that the dump will lack: {count} more ranges, {bytes} bytes"));
    }
    warnings
}

/// `LEFTOUT(START-END)=REASON` for each range, the longest first, in at most `room` bytes; ranges
/// without room are counted in a last line.
pub(crate) fn lines(left_out: &[LeftOutRam], room: usize) -> String {
    let mut text = String::new();
    let (mut count, mut bytes) = (0_u64, 0_u64);
    for LeftOutRam { range, reason } in longest_first(left_out) {
        let reason = printable(reason);
        let line = format!("{}\n", LeftOut { range: *range, reason: &reason });
        if count == 0 && text.len() + line.len() + COUNT_LINE <= room {
            text += &line;
        } else {
            (count, bytes) = (count + 1, bytes.saturating_add(range.length()));
        }
    }
    if count > 0 {
        // A string takes all that is written to it.
        let _ = writeln!(text, "LEFTOUT(more)={count} ranges, {bytes} bytes");
    }
    text
}

/// The first lines of `text` that fit in `room` bytes.
pub(crate) fn whole_lines(text: &str, room: usize) -> &str {
    let start = text.as_bytes().get(..room).unwrap_or(text.as_bytes());
    let length = start.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    &text[..length]
}

fn longest_first(left_out: &[LeftOutRam]) -> Vec<&LeftOutRam> {
    let mut sorted: Vec<&LeftOutRam> = left_out.iter().collect();
    sorted.sort_by_key(|left| (u64::MAX - left.range.length(), left.range.start()));
    sorted
}

/// The text as VMCOREINFO can have it.
fn printable(reason: &str) -> String {
    let printable = |letter: char| if (' '..='~').contains(&letter) { letter } else { '?' };
    reason.chars().map(printable).take(LONGEST_REASON).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use vmcore::{PhysAddr, PhysRange};

    fn left(start: u64, length: u64, reason: &str) -> LeftOutRam {
        let range = PhysRange::new(PhysAddr::new(start), length).expect("a range");
        LeftOutRam { range, reason: reason.to_owned() }
    }

    #[test]
    fn each_range_is_named_in_both() {
        let list = [left(0x3000_0000, 0x1000, "Reserved"), left(0x2000_0000, 0x400_0000, "GART")];
        let expected = "LEFTOUT(20000000-24000000)=GART\nLEFTOUT(30000000-30001000)=Reserved\n";
        assert_eq!(lines(&list, 8192), expected);
        let warnings = warnings(&list);
        assert_eq!(warnings.len(), 2);
        assert!(warnings[0].contains("0x20000000..0x24000000, which is \"GART\""), "{warnings:?}");
    }

    #[test]
    fn lines_that_do_not_fit_are_dropped_as_a_whole() {
        let text = "A=1\nBB=22\nC=3\n";
        for (room, expected) in [(0, ""), (3, ""), (4, "A=1\n"), (9, "A=1\n"), (10, "A=1\nBB=22\n")]
        {
            assert_eq!(whole_lines(text, room), expected, "{room}");
        }
        assert_eq!(whole_lines(text, 99), text);
    }

    #[test]
    fn nothing_is_left_out_without_a_word_when_there_is_no_room() {
        let many: Vec<_> = (1..1000).map(|page| left(page << 13, 0x1000, "Rese\nrved")).collect();
        let text = lines(&many, 8192);
        assert!(text.len() <= 8192, "{}", text.len());
        let named = vmcore::left_out(text.as_bytes()).count() as u64;
        let last = text.lines().last().expect("a line");
        let (count, bytes) = (999 - named, (999 - named) << 12);
        assert_eq!(last, format!("LEFTOUT(more)={count} ranges, {bytes} bytes"));
        assert!(text.starts_with("LEFTOUT(2000-3000)=Rese?rved\n"));
        let warnings = warnings(&many);
        assert_eq!(warnings.len(), NAMED + 1);
        assert!(warnings[NAMED].ends_with(": 991 more ranges, 4059136 bytes"), "{warnings:?}");
    }
}
