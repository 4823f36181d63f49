//! `kdump-collector read`.

use std::io::{self, Write};

use clap::Args;

use super::console::Console;
use super::line::{Line, SOURCES};

/// Help text below the options.
pub(crate) fn help() -> String {
    format!(
        "{SOURCES}\n
Example:
  kdump-collector read unix:port.sock --view oldmem --range 0x1000+4K | xxd

Exit codes:
  0  done
  1  refused or failed; the reason and the next step are on standard error
  2  the command line is wrong"
    )
}

#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    line: Line,
    /// The view: oldmem, vmcore, dmesg, ...
    #[arg(long, value_name = "NAME", default_value = "oldmem")]
    view: String,
    /// Range of the view: START+LENGTH, with 0x for hexadecimal and K, M, G. START is an address in
    /// oldmem, an offset in other views.
    #[arg(long, value_name = "RANGE", value_parser = range)]
    range: (u64, u64),
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), String> {
    let Arguments { line, view, range: (start, length) } = arguments;
    let mut console = Console::new(line.options.console.as_deref())?;
    let part = (view.as_str(), *start, *length);
    let (options, timeouts) = (line.options.link(), line.options.timeouts());
    let bytes = collector::read(&line.source, part, options, timeouts, &mut console);
    console.end();
    let written = io::stdout().write_all(&bytes.map_err(super::text)?);
    written.map_err(|error| format!("cannot write to standard output: {error}"))
}

/// `START+LENGTH`, as (start, length).
fn range(text: &str) -> Result<(u64, u64), String> {
    let wrong = || "not START+LENGTH, as in 0x1000+4K".to_owned();
    let (start, rest) = cmdline::memparse(text.as_bytes()).ok_or_else(wrong)?;
    let rest = rest.strip_prefix(b"+").ok_or_else(wrong)?;
    match cmdline::memparse(rest) {
        Some((length, [])) if length > 0 => Ok((start, length)),
        _ => Err(wrong()),
    }
}
