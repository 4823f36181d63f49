//! `kdump-collector backtrace`.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use clap::Args;
use collector::{BacktraceFormat, BacktraceSource, Source, Stacks};

use super::console::Console;
use super::line::{LineOptions, SOURCES};
use super::progress::Progress;

/// Help text below the options.
pub(crate) fn help() -> String {
    format!(
        "DUMP is a vmcore (ELF, kdump-compressed or flattened) or a SOURCE.

{SOURCES}

Examples:
  kdump-collector backtrace vmcore
  kdump-collector backtrace dump.img --dump 2 --cpu 1
  kdump-collector backtrace vmcore --tasks --json

Exit codes:
  0  done
  1  refused or failed; the reason and the next step are on standard error
  2  the command line is wrong"
    )
}

#[derive(Args)]
pub(crate) struct Arguments {
    /// The dump; see below.
    #[arg(value_name = "DUMP", value_parser = source)]
    source: Source,
    /// The dump on a disk with this number [default: the newest complete one, else the newest].
    #[arg(long, value_name = "N")]
    dump: Option<u64>,
    /// Only the CPU with this number.
    #[arg(long, value_name = "N")]
    cpu: Option<u32>,
    /// The stacks of all tasks instead of those of the CPUs.
    #[arg(long, conflicts_with = "cpu")]
    tasks: bool,
    /// Print each stack as one line of JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    line: LineOptions,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), String> {
    let Arguments { source, dump, line, .. } = arguments;
    let stacks = match (arguments.tasks, arguments.cpu) {
        (true, _) => Stacks::Tasks,
        (false, Some(cpu)) => Stacks::Cpu(cpu),
        (false, None) => Stacks::Cpus,
    };
    let format = if arguments.json { BacktraceFormat::Json } else { BacktraceFormat::Text };
    let mut out = BufWriter::new(io::stdout().lock());
    let shown = match source {
        Source::Disk(path) => {
            let mut progress = Progress::of_tasks();
            let to = (format, &mut out as &mut dyn Write);
            let show = &mut |done, all| progress.show(done, all);
            let shown = collector::backtrace_of(path, *dump, stacks, to, show);
            progress.end();
            shown
        }
        _ if dump.is_some() => return Err(format!("{source} is no dump disk: leave out --dump")),
        link => {
            let mut console = Console::new(line.console.as_deref())?;
            let (options, timeouts) = (line.link(), line.timeouts());
            let to = (format, &mut out as &mut dyn Write);
            let shown =
                collector::backtrace_over(link, stacks, to, options, timeouts, &mut console);
            console.end();
            shown.map(|()| BacktraceSource::SmallView)
        }
    };
    if shown.map_err(super::text)? == BacktraceSource::SmallView {
        log::info!("these are the backtraces that the capture kernel stored at the crash");
    }
    Ok(())
}

/// A file of any kind, or a line.
fn source(text: &str) -> Result<Source, String> {
    match text.parse() {
        Err(_) if !text.starts_with("tcp:") => Ok(Source::Disk(PathBuf::from(text))),
        source => source,
    }
}
