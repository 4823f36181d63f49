//! The command line of the collector.

mod cli;

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use collector::{Error, Extracted, LogFormat, LogPart, VmcoreFile};
use dumpfile::{Contents, DiskId};
use vmcore::Skipped;

use cli::progress::Progress;
use cli::{read, receive};

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  refused or failed; the reason and the next step are on standard error
  2  the command line is wrong";

/// Prepares dump disks, gets vmcores off them or over a line, and shows what is in them.
#[derive(Parser)]
#[command(version, after_help = EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make DISK a dump disk. What is on it is lost.
    ///
    /// DISK is a whole disk of the machine that may crash: a block device, or the image file of a
    /// virtual machine's disk. The capture kernel writes to a disk only if this has been done, and
    /// only if its kdump.target names the id that is printed here.
    #[command(after_help = EXIT_CODES)]
    Format {
        /// Block device or image file.
        disk: PathBuf,
        /// The id to give it, 32 hexadecimal digits, instead of a random one.
        #[arg(long, value_name = "HEX32")]
        id: Option<DiskId>,
        /// Overwrite even a complete dump, or a disk that holds something else.
        #[arg(long)]
        force: bool,
    },
    /// Copy the vmcore on DISK into a file.
    ///
    /// Only a dump that is marked complete is extracted; for any other disk the program says how
    /// far the capture came. Pages of zeros become holes in the file.
    #[command(after_help = EXIT_CODES)]
    Extract {
        /// Block device or image file.
        disk: PathBuf,
        /// Where the vmcore goes.
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
        /// Replace FILE if it exists.
        #[arg(long)]
        force: bool,
        /// Print the result as one line of JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show the headers, VMCOREINFO and each CPU's registers of a vmcore, and the header of a dump
    /// disk.
    #[command(after_help = EXIT_CODES)]
    Info {
        /// A vmcore (ELF), or the block device or image file of a dump disk.
        #[arg(value_name = "VMCORE|DISK")]
        file: PathBuf,
        /// Print it as one line of JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show the dead kernel's log.
    ///
    /// Records that were damaged or not finished are left out and counted on standard error.
    #[command(after_help = EXIT_CODES)]
    Dmesg {
        /// A vmcore (ELF), or the block device or image file of a dump disk.
        #[arg(value_name = "VMCORE|DISK")]
        file: PathBuf,
        /// Print each record as one line of JSON.
        #[arg(long)]
        json: bool,
        /// Only the last N records.
        #[arg(long, value_name = "N")]
        last: Option<u64>,
        /// Only the last records, N bytes of text at most.
        #[arg(long, value_name = "N", conflicts_with = "last")]
        bytes: Option<u64>,
    },
    /// Receive a dump from SOURCE into a file.
    #[command(after_help = receive::HELP)]
    Receive(receive::Arguments),
    /// Pull a part of a view from SOURCE and write it to standard output.
    ///
    /// Nothing is written before all of it has come.
    #[command(after_help = read::HELP)]
    Read(read::Arguments),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Format { disk, id, force } => format(&disk, id, force),
        Command::Extract { disk, output, force, json } => extract(&disk, &output, force, json),
        Command::Info { file, json } => info(&file, json),
        Command::Dmesg { file, json, last, bytes } => dmesg(&file, json, log_part(last, bytes)),
        Command::Receive(arguments) => receive::run(&arguments),
        Command::Read(arguments) => read::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("collector: {text}");
            ExitCode::FAILURE
        }
    }
}

fn format(disk: &Path, id: Option<DiskId>, force: bool) -> Result<(), String> {
    let id = collector::format(disk, id, force).map_err(text)?;
    println!("{} is a dump disk with the id {id}.", disk.display());
    println!("Give the capture kernel: kdump.target=virtio-blk:id={id}");
    Ok(())
}

fn extract(disk: &Path, output: &Path, force: bool, json: bool) -> Result<(), String> {
    cli::check_output(output, force)?;
    let mut progress = Progress::new();
    let extracted = collector::extract(disk, output, &mut |done, all| progress.show(done, all));
    progress.end();
    let Extracted { length, sha256, contents } = extracted.map_err(text)?;
    let sha256 = cli::hex(&sha256);
    if json {
        let contents = in_json(contents);
        println!(r#"{{"version":1,"bytes":{length},"vmcore_sha256":"{sha256}",{contents}}}"#);
    } else {
        let what = in_words(contents, length);
        println!("{}: {what}, {length} bytes, SHA-256 {sha256}", output.display());
    }
    Ok(())
}

/// What the dump is, for a person.
fn in_words(contents: Contents, length: u64) -> String {
    match contents {
        Contents::Vmcore => "vmcore".to_owned(),
        Contents::OldMem { start } => format!("oldmem of physical {start:#x}+{length:#x}"),
        Contents::Unknown(number) => format!("contents of unknown kind {number}"),
    }
}

/// The same as fields of a JSON object.
fn in_json(contents: Contents) -> String {
    match contents {
        Contents::Vmcore => r#""view":"vmcore""#.to_owned(),
        Contents::OldMem { start } => format!(r#""view":"oldmem","start":{start}"#),
        Contents::Unknown(number) => format!(r#""view":"unknown {number}""#),
    }
}

fn info(file: &Path, json: bool) -> Result<(), String> {
    let info = collector::info(file).map_err(text)?;
    let shown = if json {
        serde_json::to_string(&info).map_err(|error| error.to_string())? + "\n"
    } else {
        info.to_string()
    };
    match io::stdout().write_all(shown.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(text(Error::Output(error))),
        _ => Ok(()),
    }
}

fn dmesg(file: &Path, json: bool, part: LogPart) -> Result<(), String> {
    let vmcore = VmcoreFile::open(file).map_err(text)?;
    let format = if json { LogFormat::Json } else { LogFormat::Text };
    let mut out = BufWriter::new(io::stdout().lock());
    let Skipped { unfinished, damaged } =
        collector::dmesg(&vmcore, part, format, &mut out).map_err(text)?;
    if (unfinished, damaged) != (0, 0) {
        eprintln!("collector: left out: {damaged} damaged records, {unfinished} not finished");
    }
    Ok(())
}

fn log_part(last: Option<u64>, bytes: Option<u64>) -> LogPart {
    match (last, bytes) {
        (Some(records), _) => LogPart::LastRecords(records),
        (None, Some(bytes)) => LogPart::LastBytes(bytes),
        (None, None) => LogPart::All,
    }
}

fn text(error: Error) -> String {
    error.to_string()
}
