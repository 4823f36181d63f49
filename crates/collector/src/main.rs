//! The command line of the collector.

mod cli;

use std::fmt::Display;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use collector::{Callers, Error, ListFormat, LogFormat, LogPart, LogSource};
use dumpfile::DiskId;
use linux::Skipped;
use serde::Serialize;

use cli::{backtrace, extract, read, receive};

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  refused or failed; the reason and the next step are on standard error
  2  the command line is wrong";

const VERIFY_CODES: &str = "\
A dump that is not whole, and says so, is not damaged. Chunks have checksums with kdump.checksum=1.

Exit codes:
  0  nothing is damaged
  1  something is damaged, or DISK is no dump disk
  2  the command line is wrong";

/// Prepares dump disks, gets vmcores off them or over a line, and shows their contents.
#[derive(Parser)]
#[command(name = "kdump-collector", version, after_help = EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make DISK a dump disk. Its contents are lost.
    ///
    /// DISK is a disk of the machine that may crash, or a partition (GPT, MBR) of one: a block
    /// device, or the image file of a virtual machine's disk. One that is in use is refused. The
    /// capture kernel writes to a disk only if this has been done, and only if its kdump.target
    /// names the id that is printed here.
    #[command(after_help = EXIT_CODES)]
    Format {
        /// Block device or image file.
        disk: PathBuf,
        /// The id to give it, 32 hexadecimal digits, instead of a random one.
        #[arg(long, value_name = "HEX32")]
        id: Option<DiskId>,
        /// Overwrite even a complete dump, a partition table, or a disk that holds something else; never
        /// one that is in use.
        #[arg(long)]
        force: bool,
    },
    /// Copy a dump into a file: off a dump disk, at a higher level, or in another format.
    ///
    /// Pages of zeros become holes in the file.
    #[command(after_help = extract::HELP)]
    Extract(extract::Arguments),
    /// Show the headers, VMCOREINFO and each CPU's registers of a vmcore, and the contents of a
    /// dump disk.
    #[command(after_help = EXIT_CODES)]
    Info {
        #[command(flatten)]
        shown: Shown,
        /// List ranges of physical memory by the class of their pages instead: `kept`, `doubt`,
        /// `cache`, `cache-private`, `user`, `free`, `offline`, `unaccepted`, `hwpoison`,
        /// `unreadable`; `left-out` where a dump does not tell why. Zeros are not looked for.
        #[arg(long)]
        pages: bool,
        /// Print it as one line of JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show the dead kernel's log.
    ///
    /// Records that were damaged or not finished are left out and counted on standard error. If the
    /// dump on DISK is not whole, the log is the text that the capture kernel stored before it.
    #[command(after_help = EXIT_CODES)]
    Dmesg {
        #[command(flatten)]
        shown: Shown,
        /// Print each record as one line of JSON.
        #[arg(long)]
        json: bool,
        /// Only the last N records.
        #[arg(long, value_name = "N")]
        last: Option<u64>,
        /// Only the last records, N bytes of text at most.
        #[arg(long, value_name = "N", conflicts_with = "last")]
        bytes: Option<u64>,
        /// Show the author of each record: the task T123 or the CPU C1. `auto` does so if the
        /// kernel is known to record it (CONFIG_PRINTK_CALLER); JSON has it in any case.
        #[arg(long, value_name = "WHEN", default_value = "auto", default_missing_value = "always")]
        #[arg(num_args = 0..=1, require_equals = true)]
        caller: Caller,
    },
    /// Show the functions that each CPU was in when the kernel died, innermost first.
    ///
    /// The names come from the dump itself: no vmlinux is needed. A `?` is before a function that
    /// may have returned long ago. If DUMP is not whole, or is a line, the text is the one that the
    /// capture kernel stored at the crash.
    #[command(after_help = backtrace::help())]
    Backtrace(backtrace::Arguments),
    /// Check everything on DISK that can be checked: headers, tables, small views, checksums.
    #[command(after_help = VERIFY_CODES)]
    Verify {
        /// Block device or image file.
        disk: PathBuf,
        /// Print the result as one line of JSON.
        #[arg(long)]
        json: bool,
    },
    /// Receive a dump from SOURCE into a file.
    #[command(after_help = receive::help())]
    Receive(receive::Arguments),
    /// Pull a part of a view from SOURCE and write it to standard output.
    ///
    /// Nothing is written before all of it has come.
    #[command(after_help = read::help())]
    Read(read::Arguments),
}

/// The dump of `info` and `dmesg`.
#[derive(Args)]
struct Shown {
    /// A vmcore (ELF, kdump-compressed or flattened), or the block device or image file of a dump
    /// disk.
    #[arg(value_name = "VMCORE|DISK")]
    file: PathBuf,
    /// The dump on DISK with this number [default: the newest complete one, else the newest].
    #[arg(long, value_name = "N")]
    dump: Option<u64>,
}

/// Selects the records that show their caller.
#[derive(Clone, Copy, ValueEnum)]
enum Caller {
    Auto,
    Always,
    Never,
}

fn main() -> ExitCode {
    cli::progress::start_messages();
    let result = match Arguments::parse().command {
        Command::Format { disk, id, force } => format(&disk, id, force),
        Command::Extract(arguments) => extract::run(&arguments),
        Command::Info { shown, pages: false, json } => info(&shown, json),
        Command::Info { shown, pages: true, json } => pages(&shown, json),
        Command::Dmesg { shown, json, last, bytes, caller } => {
            dmesg(&shown, log_format(json, caller), log_part(last, bytes))
        }
        Command::Backtrace(arguments) => backtrace::run(&arguments),
        Command::Verify { disk, json } => verify(&disk, json),
        Command::Receive(arguments) => receive::run(&arguments),
        Command::Read(arguments) => read::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            log::error!("{text}");
            ExitCode::FAILURE
        }
    }
}

fn format(disk: &Path, id: Option<DiskId>, force: bool) -> Result<(), String> {
    let id = collector::format(disk, id, force).map_err(cli::text)?;
    println!("{} is a dump disk with the id {id}.", disk.display());
    println!("Give the capture kernel: kdump.target=disk:id={id}");
    Ok(())
}

fn info(Shown { file, dump }: &Shown, json: bool) -> Result<(), String> {
    show(&collector::info(file, *dump).map_err(cli::text)?, json)
}

fn pages(Shown { file, dump }: &Shown, json: bool) -> Result<(), String> {
    let format = if json { ListFormat::Json } else { ListFormat::Text };
    let mut out = BufWriter::new(io::stdout());
    collector::list_pages(file, *dump, format, &mut out).map_err(cli::text)
}

fn verify(disk: &Path, json: bool) -> Result<(), String> {
    let verified = collector::verify(disk).map_err(cli::text)?;
    show(&verified, json)?;
    match verified.intact {
        true => Ok(()),
        false => Err(format!("{}: something on it is damaged", disk.display())),
    }
}

/// Prints a result for a person, or as one line of JSON.
fn show(result: &(impl Display + Serialize), json: bool) -> Result<(), String> {
    let shown = if json {
        serde_json::to_string(result).map_err(|error| error.to_string())? + "\n"
    } else {
        result.to_string()
    };
    match io::stdout().write_all(shown.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(cli::text(Error::Output(error)))
        }
        _ => Ok(()),
    }
}

fn dmesg(shown: &Shown, format: LogFormat, part: LogPart) -> Result<(), String> {
    let Shown { file, dump } = shown;
    let mut out = BufWriter::new(io::stdout().lock());
    match collector::dmesg_of(file, *dump, part, format, &mut out).map_err(cli::text)? {
        LogSource::Vmcore(Skipped { unfinished: 0, damaged: 0 }) => {}
        LogSource::Vmcore(Skipped { unfinished, damaged }) => {
            log::warn!("left out: {damaged} damaged records, {unfinished} not finished");
        }
        LogSource::SmallView => {
            log::info!("the dump is no whole vmcore; this is the log stored beside it");
        }
    }
    Ok(())
}

const fn log_format(json: bool, caller: Caller) -> LogFormat {
    match caller {
        _ if json => LogFormat::Json,
        Caller::Auto => LogFormat::Text(Callers::Auto),
        Caller::Always => LogFormat::Text(Callers::Always),
        Caller::Never => LogFormat::Text(Callers::Never),
    }
}

fn log_part(last: Option<u64>, bytes: Option<u64>) -> LogPart {
    match (last, bytes) {
        (Some(records), _) => LogPart::LastRecords(records),
        (None, Some(bytes)) => LogPart::LastBytes(bytes),
        (None, None) => LogPart::All,
    }
}
