//! The crash in the words of the kernel's log.

use linux::{Dmesg, KernelMemory};

use crate::{Error, Kernel, printable};

/// Records at the end of the log that are read: an oops has some fifty, and other CPUs theirs.
/// After a panic's words, `panic_print=` shows all tasks.
const MOST_RECORDS: u64 = 1 << 15;
/// Lines before that of an oops's number in which its first line is.
const BEFORE: usize = 12;
const PANIC: &str = "Kernel panic - not syncing: ";
/// Beginnings of the first line of an oops.
const FIRST: [&str; 3] = ["BUG: ", "kernel BUG at", "traps: PANIC"];

/// The log's words on the crash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Report {
    /// The words of `panic()`.
    pub(super) panic: Option<String>,
    /// The first line of the last oops.
    pub(super) oops: Option<String>,
    /// The line with the place of the instruction.
    pub(super) place: Option<String>,
    /// The task that slept for too long.
    pub(super) hung_pid: Option<u32>,
    /// True if read-copy-update was held up by the CPU that noticed it.
    pub(super) is_own_stall: bool,
    /// Functions of the call trace, innermost first, without guesses.
    pub(super) functions: Vec<String>,
}

/// Reads the end of the log.
///
/// # Errors
/// There is none, or it cannot be read.
pub(super) fn read(kernel: &Kernel<'_>) -> Result<Report, Error> {
    let memory = KernelMemory::new(kernel.dump(), kernel.dump().map());
    let mut log = Dmesg::open(memory, kernel.vmcoreinfo())?;
    log.keep_last_records(MOST_RECORDS);
    let mut lines = Vec::new();
    while let Some(record) = log.next_record() {
        lines.extend(record.text.split(|byte| *byte == b'\n').map(printable));
    }
    Ok(Report::of(&lines))
}

impl Report {
    /// The report in these lines: the last one of several.
    pub(super) fn of(lines: &[String]) -> Self {
        let panic = lines.iter().rposition(|line| line.contains(PANIC));
        let oops = first_of_oops(&lines[..panic.unwrap_or(lines.len())]);
        let words = |line: usize| lines[line].split_once(PANIC).map(|(_, words)| words.to_owned());
        let panic_words = panic.and_then(words);
        let is_fatal = panic_words.as_deref().is_none_or(|words| words.starts_with("Fatal exc"));
        let oops = oops.filter(|_| is_fatal);
        let start = oops.or(panic).unwrap_or(lines.len());
        let rest = &lines[start..];
        let place = rest.iter().find(|line| is_place(line)).map(|line| line.trim().to_owned());
        let mut functions: Vec<_> =
            place.iter().filter_map(|line| function_of_place(line)).collect();
        functions.extend(trace(rest));
        let last = |word: &str| lines.iter().rev().find(|line| line.contains(word));
        let stall = last("rcu: INFO: ").or_else(|| last("self-detected stall"));
        Self {
            panic: panic_words,
            oops: oops.map(|line| lines[line].trim().to_owned()),
            place,
            hung_pid: last(" blocked for more than ").and_then(|line| hung_pid(line)),
            is_own_stall: stall.is_some_and(|line| line.contains("self-detected")),
            functions,
        }
    }
}

/// Number of the first line of the last oops: each has a line with its count, `[#1]`.
fn first_of_oops(lines: &[String]) -> Option<usize> {
    let number = lines.iter().rposition(|line| line.contains(" [#") && line.contains(": "))?;
    let before = &lines[number.saturating_sub(BEFORE)..number];
    let is_first = |line: &String| FIRST.iter().any(|first| line.trim_start().starts_with(first));
    let first = before.iter().rposition(is_first);
    Some(first.map_or(number, |first| number.saturating_sub(BEFORE) + first))
}

/// True for `RIP: 0010:name+0x1/0x2` and `EIP: name+0x1/0x2`, the place in the kernel.
fn is_place(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with("RIP: 0010:") || line.starts_with("EIP: ") && line.contains("+0x")
}

fn function_of_place(line: &str) -> Option<String> {
    let place = line.trim_start().trim_start_matches("RIP: 0010:").trim_start_matches("EIP: ");
    function(place)
}

/// The functions of the first call trace, without guesses.
fn trace(lines: &[String]) -> Vec<String> {
    let start = lines.iter().position(|line| line.contains("Call Trace:"));
    let Some(start) = start else { return Vec::new() };
    let rest = lines[start + 1..].iter().map(|line| line.trim());
    let is_trace = |line: &&str| line.starts_with(['<', '?']) || function(line).is_some();
    // A guess has a `?` in front, which is no name.
    rest.take_while(is_trace).filter_map(function).collect()
}

/// The name in `name+0x1/0x2`.
fn function(text: &str) -> Option<String> {
    let (name, rest) = text.trim().split_once("+0x")?;
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || "_.".contains(letter);
    (rest.contains("/0x") && name.chars().all(is_name)).then(|| name.to_owned())
}

/// The number in `INFO: task NAME:NUMBER blocked for more than`.
fn hung_pid(line: &str) -> Option<u32> {
    let (before, _) = line.split_once(" blocked for more than ")?;
    before.rsplit_once(':')?.1.parse().ok()
}
