//! `crashkernel=` on the first kernel's command line, and the reason why it reserved nothing.
//!
//! Source: Linux, `Documentation/admin-guide/kdump/kdump.rst` and `kernel-parameters.txt`:
//! `SIZE[@OFFSET]`, `RANGE:SIZE[,RANGE:SIZE…][@OFFSET]` with `START-[END]` as range, `SIZE,high`,
//! `SIZE,low`, `SIZE,cma`.

use cmdline::memparse;

/// Newer kernels round the size of memory up to a multiple of this before they look for a range.
const ROUNDING: u64 = 128 << 20;

/// Meaning of the last word that asks for a place.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    /// So many bytes, at a place of its own or not.
    Size { bytes: u64, has_place: bool },
    /// No range holds for the machine's memory.
    NoRange,
    /// Only memory that nothing is loaded into (`,low` and `,cma`).
    NotToLoadInto,
    /// Something else.
    Nonsense,
}

/// The last `crashkernel=` on a command line, the reason why it reserved nothing on a machine with
/// `memory` bytes, and the next step.
pub(crate) fn why_nothing(command_line: &str, memory: u64) -> Option<(String, String)> {
    let words = command_line.split_whitespace().filter(|word| word.starts_with("crashkernel="));
    let words: Vec<&str> = words.collect();
    let beside = |word: &&&str| word.ends_with(",low") || word.ends_with(",cma");
    let word = words.iter().rfind(|word| !beside(word)).or(words.last())?;
    let value = word.strip_prefix("crashkernel=").unwrap_or_default();
    let why = match asked(value, memory) {
        Asked::Size { bytes: 0, .. } => "its size is zero; boot with crashkernel=32M".to_owned(),
        Asked::Size { has_place: true, .. } => "the kernel found that place taken (under UEFI the \
             kernel itself often lies there); boot with crashkernel=32M"
            .to_owned(),
        Asked::Size { .. } => {
            "the kernel found no room (see its log for \"crashkernel\"); ask for \
             less memory, as with crashkernel=32M, and boot again"
                .to_owned()
        }
        Asked::NoRange => format!(
            "no range in it holds for this machine's memory ({} MiB); boot with crashkernel=32M",
            memory >> 20
        ),
        Asked::NotToLoadInto => {
            "nothing is loaded into such memory; boot with crashkernel=32M".to_owned()
        }
        Asked::Nonsense => {
            "the kernel does not understand it; boot with crashkernel=32M".to_owned()
        }
    };
    Some(((*word).to_owned(), why))
}

fn asked(value: &str, memory: u64) -> Asked {
    if value.ends_with(",low") || value.ends_with(",cma") {
        return Asked::NotToLoadInto;
    }
    let (sizes, has_place) = match value.split_once('@') {
        Some((sizes, _)) => (sizes, true),
        None => (value.strip_suffix(",high").unwrap_or(value), false),
    };
    if !sizes.contains(':') {
        let bytes = size(sizes);
        return bytes.map_or(Asked::Nonsense, |bytes| Asked::Size { bytes, has_place });
    }
    let Some(ranges) = sizes.split(',').map(range).collect::<Option<Vec<_>>>() else {
        return Asked::Nonsense;
    };
    let holds = |memory| {
        let mut found = ranges.iter().filter(|(from, to, _)| (*from..*to).contains(&memory));
        found.next().map(|(_, _, bytes)| *bytes)
    };
    match holds(memory).or_else(|| holds(memory.next_multiple_of(ROUNDING))) {
        Some(bytes) => Asked::Size { bytes, has_place },
        None => Asked::NoRange,
    }
}

/// `START-[END]:SIZE`, in bytes; without an end it has none.
fn range(text: &str) -> Option<(u64, u64, u64)> {
    let (bounds, bytes) = text.split_once(':')?;
    let (from, to) = bounds.split_once('-')?;
    let to = if to.is_empty() { u64::MAX } else { size(to)? };
    Some((size(from)?, to, size(bytes)?))
}

/// A number with its suffix, and nothing after it.
fn size(text: &str) -> Option<u64> {
    memparse(text.as_bytes()).filter(|(_, rest)| rest.is_empty()).map(|(bytes, _)| bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_named() {
        for (line, memory, said) in [
            ("quiet crashkernel=1G-2G:32M,2G-:64M ro", 512 << 20, "no range in it holds"),
            ("crashkernel=1G-2G:32M,2G-:64M", 512 << 20, "(512 MiB)"),
            ("crashkernel=512M-:32M", (512 << 20) - 0x2_0000, "no room"),
            ("crashkernel=1G-2G:0,2G-:64M", 1 << 30, "size is zero"),
            ("crashkernel=0", 1 << 30, "size is zero"),
            ("crashkernel=0M@16M", 1 << 30, "size is zero"),
            ("crashkernel=32M@16M", 1 << 30, "that place taken"),
            ("crashkernel=64M-:32M@16M", 1 << 30, "that place taken"),
            ("crashkernel=4G", 1 << 30, "no room"),
            ("crashkernel=4G,high crashkernel=64M,low", 1 << 30, "no room"),
            ("crashkernel=64M,low", 1 << 30, "nothing is loaded into"),
            ("crashkernel=64M,cma", 1 << 30, "nothing is loaded into"),
            ("crashkernel=auto", 1 << 30, "does not understand"),
            ("crashkernel=32M crashkernel=0", 1 << 30, "size is zero"),
        ] {
            let (word, why) = why_nothing(line, memory).expect("a word");
            assert!(line.contains(&word) && why.contains(said), "{line}: {word}: {why}");
            assert!(why.contains("crashkernel=32M") && !why.contains("32M@16M"), "{why}");
        }
        assert_eq!(why_nothing("quiet", 1 << 30), None);
    }
}
