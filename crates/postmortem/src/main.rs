//! `crashinfo`: answers from a dump, without a debug file.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use collector::{LinkOptions, Timeouts};
use postmortem::cli::Cli;
use postmortem::report::Answer;
use postmortem::sections::{Command, Section, first_page};
use postmortem::{Dump, Error, Kernel, Vmlinux, render};

/// Time after which progress is shown.
const SILENCE: Duration = Duration::from_secs(2);

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
    let options = LinkOptions { listen: cli.listen, baud: cli.baud };
    let timeouts = Timeouts { wait: Duration::from_secs(cli.wait), timeout: None };
    let dump = Dump::open_source(&cli.dump, cli.dump_number, options, timeouts)?;
    let kernel = match &cli.vmlinux {
        None => Kernel::open(&dump)?,
        Some(path) => {
            let (types, symbols) = Vmlinux::open(path, &dump)?.into_sources();
            Kernel::with_sources(&dump, types, symbols)?
        }
    };
    let mut meter = Meter { started: Instant::now(), is_shown: false };
    let progress = &mut |done, all| meter.show(done, all);
    let mut answers = match &cli.section {
        Some(section) => vec![section.answer(&kernel, progress)?],
        None => vec![first_page(&kernel, progress)?],
    };
    if cli.html && cli.section.is_none() {
        answers.extend(Command::report().iter().filter_map(|section| {
            let answer = section.answer(&kernel, progress);
            answer.map_err(|error| log::warn!("{error}")).ok()
        }));
    }
    meter.clear();
    write(cli, &answers)
}

fn write(cli: &Cli, answers: &[Answer]) -> Result<(), Error> {
    let mut out = BufWriter::new(io::stdout().lock());
    match answers {
        _ if cli.html => {
            let title = answers.first().map_or("crashinfo", |answer| answer.title.as_str());
            render::html(title, answers, &mut out)?;
        }
        _ if cli.json => {
            for answer in answers {
                serde_json::to_writer_pretty(&mut out, answer).map_err(io::Error::from)?;
                writeln!(out)?;
            }
        }
        _ => answers.iter().try_for_each(|answer| render::text(answer, &mut out))?,
    }
    Ok(out.flush()?)
}

/// Shows progress on a terminal, if it takes long.
struct Meter {
    started: Instant,
    is_shown: bool,
}

impl Meter {
    fn show(&mut self, done: u64, all: u64) {
        if self.started.elapsed() > SILENCE && io::stderr().is_terminal() {
            eprint!("\r\x1b[K{done} of {all} ");
            self.is_shown = true;
        }
    }

    fn clear(&self) {
        if self.is_shown {
            eprint!("\r\x1b[K");
        }
    }
}
