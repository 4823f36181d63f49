//! `kdump-collector extract`.

use std::path::{Path, PathBuf};

use clap::Args;
use collector::{Extracted, ExtractedView, hex};
use dumpfile::Contents;
use serde::Serialize;

use super::check_output;
use super::progress::Progress;

/// Help text below the options.
pub(crate) const HELP: &str = "\
The existing parts of an incomplete dump go to FILE.partial, with holes for the rest, and are listed.
The small views beside a dump (registers, VMCOREINFO, log, stack) go to FILE.NAME.

Exit codes:
  0  FILE is the whole dump
  1  refused or failed, or the dump is not whole; the reason, the next step and the missing parts are on
     standard error
  2  the command line is wrong";

#[derive(Args)]
pub(crate) struct Arguments {
    /// Block device or image file.
    disk: PathBuf,
    /// File for the dump.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// The dump with this number (see `info`) [default: the newest complete one, else the newest].
    #[arg(long, value_name = "N")]
    dump: Option<u64>,
    /// Replace FILE if it exists.
    #[arg(long)]
    force: bool,
    /// Print the result as one line of JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), String> {
    let Arguments { disk, output, dump, force, json } = arguments;
    extract(disk, *dump, output, *force, *json)
}

/// Extracts a dump and reports the result.
pub(crate) fn extract(
    disk: &Path,
    number: Option<u64>,
    output: &Path,
    force: bool,
    json: bool,
) -> Result<(), String> {
    check_output(output, force)?;
    let mut progress = Progress::new();
    let extracted =
        collector::extract(disk, number, output, &mut |done, all| progress.show(done, all));
    progress.end();
    let extracted = extracted.map_err(super::text)?;
    if json {
        println!("{}", in_json(&extracted)?);
    }
    match extracted.trouble() {
        Some(trouble) => Err(what_is_there(disk, &extracted, &trouble)),
        None => {
            if !json {
                print!("{}", in_words(&extracted));
            }
            Ok(())
        }
    }
}

/// A whole dump, for a person.
fn in_words(extracted: &Extracted) -> String {
    let Extracted { path, length, sha256, contents, .. } = extracted;
    let what = match *contents {
        Contents::Vmcore => "vmcore".to_owned(),
        Contents::OldMem { start } => format!("oldmem of physical {start:#x}+{length:#x}"),
        Contents::Unknown(number) => format!("contents of unknown kind {number}"),
    };
    let path = path.as_deref().map_or(String::new(), |path| path.display().to_string());
    let line = format!("{path}: {what}, {length} bytes, SHA-256 {}\n", hex(sha256));
    let line = line + &left_out(extracted);
    extracted.views.iter().fold(line, |lines, view| lines + &in_words_view(view) + "\n")
}

fn in_words_view(view: &ExtractedView) -> String {
    let ExtractedView { name, length, path } = view;
    match path {
        Some(path) => format!("{}: {name}, {length} bytes", path.display()),
        None => format!("{name}: its bytes on the disk are damaged"),
    }
}

/// Most ranges that are named on the terminal; --json has them all.
const NAMED: usize = 20;

/// Describes the parts that are there of a dump that is not whole.
fn what_is_there(disk: &Path, extracted: &Extracted, trouble: &str) -> String {
    let Extracted { number, length, path, missing, damaged, views, .. } = extracted;
    let mut text = format!("{}: dump {number}: {trouble}", disk.display());
    text += &match path {
        Some(path) => {
            format!("\n  {}: {} of {length} bytes are there", path.display(), extracted.there())
        }
        None => format!("\n  none of its {length} bytes is there for certain"),
    };
    let missing = missing.iter().map(|part| ("missing", part));
    let damaged = damaged.iter().map(|part| ("damaged", part));
    let all: Vec<_> = missing.chain(damaged).collect();
    for (what, (start, end)) in all.iter().take(NAMED) {
        text += &format!("\n    {what}: {start:#x}+{:#x}", end - start);
    }
    if all.len() > NAMED {
        text += &format!("\n    and {} ranges more, see --json", all.len() - NAMED);
    }
    let left = left_out(extracted);
    text += left.lines().fold(String::new(), |text, line| text + "\n  " + line).as_str();
    views.iter().fold(text, |text, view| text + "\n  " + &in_words_view(view))
}

/// Pages that the capture has left out, by class, but for zeros: a line for each.
fn left_out(extracted: &Extracted) -> String {
    let left = extracted.left.by_class();
    left.map(|(class, bytes)| format!("left out, zero here: {bytes} bytes, {class}\n")).collect()
}

/// The result as JSON. Fields may be added, none is renamed.
#[derive(Serialize)]
struct Json<'a> {
    version: u32,
    bytes: u64,
    vmcore_sha256: Option<String>,
    view: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    start: Option<u64>,
    dump: u64,
    verdict: &'static str,
    #[serde(flatten)]
    extracted: &'a Extracted,
}

fn in_json(extracted: &Extracted) -> Result<String, String> {
    let (view, start) = match extracted.contents {
        Contents::Vmcore => ("vmcore".to_owned(), None),
        Contents::OldMem { start } => ("oldmem".to_owned(), Some(start)),
        Contents::Unknown(number) => (format!("unknown {number}"), None),
    };
    let is_whole = extracted.trouble().is_none();
    let json = Json {
        version: 1,
        bytes: extracted.length,
        vmcore_sha256: is_whole.then(|| hex(&extracted.sha256)),
        view,
        start,
        dump: extracted.number,
        verdict: if is_whole { "complete" } else { "partial" },
        extracted,
    };
    serde_json::to_string(&json).map_err(|error| error.to_string())
}
