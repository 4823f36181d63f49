//! `crashinfo`: answers from a dump, without a debug file.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use postmortem::report::Answer;
use postmortem::sections::{Command, Section};
use postmortem::{Dump, Error, Kernel, render};

/// Time after which progress is shown.
const SILENCE: Duration = Duration::from_secs(2);

/// Read a dump of a Linux kernel without a debug file
#[derive(Debug, Parser)]
#[command(
    name = "crashinfo",
    version,
    subcommand_value_name = "SECTION",
    subcommand_help_heading = "Sections"
)]
struct Cli {
    /// JSON, for programs
    #[arg(long, global = true)]
    json: bool,
    /// Number of the dump on a dump disk; the newest without it
    #[arg(long, value_name = "N")]
    dump_number: Option<u64>,
    /// A vmcore of any format, a dump disk, or /proc/kcore
    dump: PathBuf,
    /// The first page without one
    #[command(subcommand)]
    section: Option<Command>,
}

/// Messages of the libraries, to standard error.
struct Messages;

impl log::Log for Messages {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        eprintln!("crashinfo: {}", record.args());
    }

    fn flush(&self) {}
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if log::set_logger(&Messages).is_ok() {
        log::set_max_level(log::LevelFilter::Warn);
    }
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        // A closed pipe: the reader has all that it wants.
        Err(Error::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("crashinfo: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<(), Error> {
    let dump = Dump::open(&cli.dump, cli.dump_number)?;
    let kernel = Kernel::open(&dump)?;
    let started = Instant::now();
    let mut shown = false;
    let mut progress = |done: u64, all: u64| {
        if io::stderr().is_terminal() && (shown || started.elapsed() > SILENCE) {
            eprint!("\r{done} of {all} ");
            shown = true;
        }
    };
    let answer = match &cli.section {
        Some(section) => section.answer(&kernel, &mut progress)?,
        None => return Ok(()),
    };
    if shown {
        eprint!("\r\x1b[K");
    }
    write(cli, &answer)
}

fn write(cli: &Cli, answer: &Answer) -> Result<(), Error> {
    let mut out = BufWriter::new(io::stdout().lock());
    match cli.json {
        true => {
            serde_json::to_writer_pretty(&mut out, answer).map_err(io::Error::from)?;
            writeln!(out)?;
        }
        false => render::text(answer, &mut out)?,
    }
    Ok(out.flush()?)
}
