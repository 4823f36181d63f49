//! The text that the capture kernel stored: the small view `backtrace`.

use std::io::Write;
use std::path::Path;

use serde::Serialize;

use super::output::{BacktraceFormat, Stacks, written};
use crate::dump_disk::{DumpDisk, LONGEST_VIEW};
use crate::read::read_view;
use crate::text::printable;
use crate::{Error, LinkOptions, Observer, Source, Timeouts};

/// The name of the small view.
const NAME: &str = "backtrace";

/// The text beside a dump on a disk; [`None`] if there is none, or it is damaged.
///
/// # Errors
/// As for [`DumpDisk::open`], [`DumpDisk::choose`].
pub(super) fn on_disk(path: &Path, number: Option<u64>) -> Result<Option<Vec<u8>>, Error> {
    DumpDisk::open(path)?.small_view(number, NAME)
}

/// The text at the other end of a line.
///
/// # Errors
/// The reason why it did not come.
pub(super) fn over_line(
    source: &Source,
    options: LinkOptions,
    timeouts: Timeouts,
    observer: &mut dyn Observer,
) -> Result<Vec<u8>, Error> {
    read_view(source, (NAME, LONGEST_VIEW as usize), options, timeouts, observer)
}

#[derive(Serialize)]
struct JsonLine<'a> {
    text: &'a str,
}

/// Writes the text, or the part of one CPU, without characters that control a terminal.
///
/// # Errors
/// [`Error::NoCpu`], [`Error::Output`].
pub(super) fn write(
    name: &str,
    text: &[u8],
    wanted: Stacks,
    format: BacktraceFormat,
    out: &mut dyn Write,
) -> Result<(), Error> {
    let text = String::from_utf8_lossy(text);
    let lines = lines(&text, wanted);
    if let (Stacks::Cpu(cpu), []) = (wanted, &lines[..]) {
        return Err(Error::NoCpu { name: name.to_owned(), cpu });
    }
    let written_lines = lines.into_iter().try_for_each(|line| match format {
        BacktraceFormat::Text => writeln!(out, "{}", printable(line).collect::<String>()),
        BacktraceFormat::Json => {
            serde_json::to_writer(&mut *out, &JsonLine { text: line })?;
            writeln!(out)
        }
    });
    written(written_lines.and_then(|()| out.flush()))
}

/// The lines of the text that are wanted.
fn lines(text: &str, wanted: Stacks) -> Vec<&str> {
    let Stacks::Cpu(cpu) = wanted else { return text.lines().collect() };
    let mut is_wanted = false;
    let mut of_cpu = |line: &&str| {
        is_wanted = cpu_of(line).map_or(is_wanted, |number| number == cpu);
        is_wanted
    };
    text.lines().filter(|line| of_cpu(line)).collect()
}

/// The number in a line that begins the part of a CPU.
fn cpu_of(line: &str) -> Option<u32> {
    line.strip_prefix("cpu ")?.split_whitespace().next()?.parse().ok()
}
