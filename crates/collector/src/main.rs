//! The command line of the collector.

mod cli;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use collector::{Error, Extracted};
use dumpfile::{Contents, DiskId};

use cli::progress::Progress;
use cli::{read, receive};

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  refused or failed; the reason and the next step are on standard error
  2  the command line is wrong";

/// Prepares dump disks, and gets vmcores off them or over a line.
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
    /// Receive a dump from SOURCE into a file.
    #[command(after_help = receive::HELP)]
    Receive(receive::Arguments),
    /// Pull a part of a view from SOURCE and write it to standard output.
    ///
    /// Nothing is written before all of it has come and was compared with the other end.
    #[command(after_help = read::HELP)]
    Read(read::Arguments),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Format { disk, id, force } => format(&disk, id, force),
        Command::Extract { disk, output, force, json } => extract(&disk, &output, force, json),
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

fn text(error: Error) -> String {
    error.to_string()
}
