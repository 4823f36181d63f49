//! `kdump-collector receive`.

use std::path::PathBuf;

use clap::Args;
use collector::{Received, ReceivedView, Source, hex};
use serde::Serialize;

use super::check_output;
use super::console::Console;
use super::extract::extract;
use super::line::{Line, SOURCES};

/// Help text below the options.
pub(crate) fn help() -> String {
    format!(
        "{SOURCES}\n\nAn incomplete dump is in FILE.NAME.partial, and FILE.ranges lists its parts: the same command continues
from there. Over a serial line both ends compare the whole dump by SHA-256.

Exit codes:
  0  every byte has come
  1  refused, failed or not whole; the missing parts are on standard error, with the reason
  2  the command line is wrong"
    )
}

#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    line: Line,
    /// File for the dump. Small views beside it go to FILE.NAME.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Receive this view instead of the dump.
    #[arg(long, value_name = "NAME")]
    view: Option<String>,
    /// Replace FILE if it exists, and do not continue from an earlier run's data.
    #[arg(long)]
    force: bool,
    /// Print the result as one line of JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), String> {
    check_output(&arguments.output, arguments.force)?;
    if let Source::Disk(disk) = &arguments.line.source {
        let Arguments { output, force, json, .. } = arguments;
        return extract(disk, None, output, *force, *json);
    }
    if arguments.force {
        collector::forget(&arguments.output).map_err(super::text)?;
    }
    let Arguments { line, output, view, .. } = arguments;
    let mut console = Console::new(line.options.console.as_deref())?;
    let (options, timeouts) = (line.options.link(), line.options.timeouts());
    let received =
        collector::receive(&line.source, output, view.as_deref(), options, timeouts, &mut console);
    console.end();
    let received = received.map_err(super::text)?;
    if arguments.json {
        println!("{}", in_json(&received)?);
    }
    match &received.stopped {
        Some(_) => Err(what_is_missing(&received)),
        None if arguments.json => Ok(()),
        None => {
            received.views.iter().for_each(|view| println!("{}", in_words(view)));
            if received.damaged_frames > 0 {
                println!("{} damaged frames were sent again", received.damaged_frames);
            }
            Ok(())
        }
    }
}

/// A view that has come, for a person.
fn in_words(view: &ReceivedView) -> String {
    let ReceivedView { name, path, length, sha256, .. } = view;
    let sha256 = hex(&sha256.unwrap_or_default());
    let text = format!("{}: {name}, {length} bytes, SHA-256 {sha256}", path.display());
    text + &what_is_left_out(view)
}

/// Parts of a view that the other end left out, by class: ranges if there are few; the map has all.
fn what_is_left_out(view: &ReceivedView) -> String {
    let mut text = String::new();
    for (class, bytes) in view.left.by_class() {
        text += &format!("\n  left out there, zero here: {bytes} bytes, {class}");
        let mut ranges = view.left.iter().filter(|range| range.class == class);
        for part in ranges.by_ref().take(NAMED) {
            text += &format!("\n    {}", range((part.start, part.end)));
        }
        let more = ranges.count();
        if more > 0 {
            text += &format!("\n    and {more} ranges more, see --json");
        }
    }
    if let Some(pages) = view.pages.as_ref().filter(|_| !view.left.is_empty()) {
        let pages =
            collector::pages_by_class(pages).map(|(class, pages)| format!("{pages} {class}"));
        text += &format!("\n  pages there: {}", pages.collect::<Vec<_>>().join(", "));
    }
    text
}

/// Most ranges that are named on the terminal; the map and --json have them all.
const NAMED: usize = 20;

/// Describes the missing parts and the reason.
fn what_is_missing(received: &Received) -> String {
    let mut text = received.stopped.as_ref().map(ToString::to_string).unwrap_or_default();
    for view in &received.views {
        let all: u64 = view.missing.iter().map(|(start, end)| end - start).sum();
        text += &format!(
            "\n  {}: {} of {} bytes of {} have come",
            view.path.display(),
            view.length.saturating_sub(all),
            view.length,
            view.name
        );
        let missing = view.missing.iter().map(|part| ("missing", part));
        let differs = view.differs.iter().map(|part| ("different there", part));
        for (what, part) in missing.chain(differs).take(NAMED) {
            text += &format!("\n    {what}: {}", range(*part));
        }
        let more = (view.missing.len() + view.differs.len()).saturating_sub(NAMED);
        if more > 0 {
            text += &format!("\n    and {more} ranges more, see --json");
        }
        text += &what_is_left_out(view);
    }
    text
}

fn range((start, end): (u64, u64)) -> String {
    format!("{start:#x}+{:#x}", end - start)
}

/// The result as JSON. Fields may be added, none is renamed.
#[derive(Serialize)]
struct Json<'a> {
    version: u32,
    verdict: &'static str,
    id: Option<String>,
    damaged_frames: u64,
    compared: bool,
    views: &'a [ReceivedView],
}

fn in_json(received: &Received) -> Result<String, String> {
    let Received { id, views, damaged_frames, compared, stopped } = received;
    let json = Json {
        version: 2,
        verdict: if stopped.is_none() { "complete" } else { "partial" },
        id: id.map(|id| hex(&id)),
        damaged_frames: *damaged_frames,
        compared: *compared,
        views,
    };
    serde_json::to_string(&json).map_err(|error| error.to_string())
}
