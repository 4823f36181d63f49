//! The guest's first serial port: read line by line, stamped with the host's time, kept in a file.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::mpsc::Sender;
use std::time::Instant;

use anyhow::{Context, Result};
use handoff::Stage;
use handoff::stage::LINE_PREFIX;

use crate::event::{Event, Line};

/// A line longer than this is cut, so that a guest that prints for ever costs no memory (bytes).
const LONGEST_LINE: usize = 64 << 10;
/// The test guest's message that it is about to die.
const GUEST_PANIC: &str = "guest: panic";
/// The same message of Linux.
const LINUX_PANIC: &str = "Kernel panic - not syncing";
/// Part of each line that begins an oops, before the number of oopses so far, as in `[#1]` (Linux,
/// `__die_header`).
const OOPS: &str = " [#";
/// Prefix of facts for the host, from `/init` of a Linux first kernel and from the test guest.
const FACT_PREFIX: &str = "first-kernel: ";
/// Prefix of the capture kernel's line after its backtraces.
const BACKTRACES: &str = "kdump: backtraces: ";

/// Meaning of a line to the harness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning<'a> {
    /// The capture has reached a stage.
    Stage(Stage),
    /// The first kernel has panicked: the zero of the timeline.
    Panic,
    /// The first kernel has an oops, of which it dies without a panic where `panic_on_oops` is set
    /// and a capture kernel is loaded.
    Oops,
    /// The stack pointer of a CPU that an oops shows.
    StackPointer(u64),
    /// The first kernel reports a fact about itself.
    Fact(&'a str),
    /// The first kernel waits for the word to crash.
    Ready,
    /// The first kernel lives, and was to be dead by now.
    Survived,
    /// The first kernel cannot do its part, for this reason.
    Failed(&'a str),
    /// The capture kernel has sent this number of bytes for the pages that a dump level keeps.
    BytesOut(u64),
    /// The capture kernel has shown its backtraces; the lines before this one have them.
    Backtraces,
    /// Anything else.
    Text,
}

/// Returns the meaning of a line. A stage line counts even after the rest of a broken-off line.
pub fn meaning(text: &str) -> Meaning<'_> {
    if let Some((_, stage)) = text.split_once(LINE_PREFIX) {
        let name = stage.split_whitespace().next().unwrap_or_default();
        return Stage::from_name(name).map_or(Meaning::Text, Meaning::Stage);
    }
    if text.starts_with(BACKTRACES) {
        return Meaning::Backtraces;
    }
    if text.starts_with(GUEST_PANIC) || text.contains(LINUX_PANIC) {
        return Meaning::Panic;
    }
    match text.strip_prefix(FACT_PREFIX) {
        Some("ready") => Meaning::Ready,
        Some("survived") => Meaning::Survived,
        Some(fact) => match fact.strip_prefix("failed ") {
            Some(reason) => Meaning::Failed(reason),
            None => Meaning::Fact(fact),
        },
        None => bytes_out(text).map_or_else(|| of_oops(text), Meaning::BytesOut),
    }
}

fn bytes_out(text: &str) -> Option<u64> {
    let line = text.strip_prefix("kdump: level ")?.strip_suffix(" bytes out")?;
    line.rsplit(' ').next()?.parse().ok()
}

/// The time stamp counter in a stage line: `kdump: stage=NAME tsc=TICKS`.
pub fn counter(text: &str) -> Option<u64> {
    let (_, stage) = text.split_once(LINE_PREFIX)?;
    stage.split_whitespace().find_map(|word| word.strip_prefix("tsc=")?.parse().ok())
}

/// The two lines of an oops that count: `Oops: 0002 [#1] SMP` and `RSP: 0018:ffffa51b40013e18
/// EFLAGS: …`, or `ESI: … EDI: … EBP: … ESP: c1c8bf2c` on i386.
fn of_oops(text: &str) -> Meaning<'_> {
    if text.contains(OOPS) {
        return Meaning::Oops;
    }
    let x86_64 = text.split_once("RSP: ").and_then(|(_, rest)| rest.split_once(':'));
    let pointer = match x86_64 {
        Some((_, pointer)) => Some(pointer),
        None => text.split_once("ESP: ").map(|(_, pointer)| pointer),
    };
    let pointer = pointer.and_then(|rest| rest.split_whitespace().next());
    let pointer = pointer.and_then(|digits| u64::from_str_radix(digits, 16).ok());
    pointer.map_or(Meaning::Text, Meaning::StackPointer)
}

/// Starts the thread that reads the console until the guest is gone. Every line is sent as an
/// [`Event::Line`] and written to `log` with the seconds since `start` in front.
///
/// # Errors
/// Fails if `log` cannot be made.
pub fn follow(
    stream: impl Read + Send + 'static,
    log: &Path,
    start: Instant,
    events: Sender<Event>,
) -> Result<()> {
    let mut log = File::create(log).with_context(|| format!("creating {}", log.display()))?;
    std::thread::spawn(move || {
        read_lines(stream, |line| {
            let seconds = line.at.saturating_duration_since(start).as_secs_f64();
            // A full disk must not end the cycle: the log is a by-product.
            let _ = writeln!(log, "[{seconds:9.4}] {}", line.text);
            // The receiver is gone when the cycle is over.
            let _ = events.send(Event::Line(line));
        });
        let _ = events.send(Event::ConsoleClosed);
    });
    Ok(())
}

fn read_lines(mut stream: impl Read, mut take: impl FnMut(Line)) {
    let mut buffer = [0; 4096];
    let mut line: Vec<u8> = Vec::new();
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        let at = Instant::now();
        for &byte in &buffer[..length] {
            if byte == b'\n' || line.len() == LONGEST_LINE {
                take(Line { at, text: text_of(&line) });
                line.clear();
            }
            if byte != b'\n' {
                line.push(byte);
            }
        }
    }
    if !line.is_empty() {
        take(Line { at: Instant::now(), text: text_of(&line) });
    }
}

fn text_of(line: &[u8]) -> String {
    String::from_utf8_lossy(line).replace('\r', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_line_has_the_counter() {
        assert_eq!(counter("kdump: stage=first_byte tsc=7684029787"), Some(7_684_029_787));
        assert_eq!(counter("[ 4.5] end kdump: stage=purgatory tsc=1"), Some(1));
        for odd in ["kdump: stage=first_byte", "kdump: stage=first_byte tsc=x", "tsc=5", ""] {
            assert_eq!(counter(odd), None, "{odd}");
        }
    }

    #[test]
    fn lines_have_their_meaning() {
        assert_eq!(meaning("kdump: stage=first_byte tsc=123"), Meaning::Stage(Stage::FirstByte));
        assert_eq!(
            meaning("[    4.5] ---[ end kdump: stage=purgatory tsc=1"),
            Meaning::Stage(Stage::Purgatory)
        );
        assert_eq!(meaning("kdump: stage=lunch tsc=1"), Meaning::Text);
        assert_eq!(
            meaning("[    4.2] Kernel panic - not syncing: sysrq triggered crash"),
            Meaning::Panic
        );
        assert_eq!(meaning("guest: panic"), Meaning::Panic);
        assert_eq!(meaning("first-kernel: cpus 2"), Meaning::Fact("cpus 2"));
        assert_eq!(meaning("first-kernel: ready"), Meaning::Ready);
        assert_eq!(meaning("first-kernel: survived"), Meaning::Survived);
        assert_eq!(meaning("first-kernel: failed no slot"), Meaning::Failed("no slot"));
        assert_eq!(meaning("kdump: backtraces: 12 ms"), Meaning::Backtraces);
        assert_eq!(meaning("[    0.1] ordinary"), Meaning::Text);
    }

    /// Lines of 6.1, amd64 and i386.
    #[test]
    fn an_oops_and_its_stack_pointer_are_seen() {
        let oops = "[    3.1] invalid opcode: 0000 [#1] PREEMPT SMP NOPTI";
        assert_eq!(meaning(oops), Meaning::Oops);
        assert_eq!(meaning("[    3.1] Oops: 0002 [#2] SMP"), Meaning::Oops);
        let amd64 = "[    3.1] RSP: 0018:ffffa51b40013e18 EFLAGS: 00010246";
        assert_eq!(meaning(amd64), Meaning::StackPointer(0xffff_a51b_4001_3e18));
        let i386 = "[    3.1] ESI: 00000007 EDI: 00000000 EBP: c1c8bf44 ESP: c1c8bf2c";
        assert_eq!(meaning(i386), Meaning::StackPointer(0xc1c8_bf2c));
        assert_eq!(meaning("RSP: 0018:what"), Meaning::Text);
    }

    #[test]
    fn lines_are_split_and_an_unfinished_one_is_not_lost() {
        let mut lines = Vec::new();
        read_lines(&b"one\r\n\r\ntwo\xff\nthr"[..], |line| lines.push(line.text));
        assert_eq!(lines, ["one", "", "two\u{fffd}", "thr"]);
    }

    #[test]
    fn an_endless_line_is_cut() {
        let mut lengths = Vec::new();
        let endless = vec![b'x'; LONGEST_LINE + 10];
        read_lines(endless.as_slice(), |line| lengths.push(line.text.len()));
        assert_eq!(lengths, [LONGEST_LINE, 10]);
    }
}
