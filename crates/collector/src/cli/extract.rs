//! `kdump-collector extract`.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use collector::{Conversion, Converted, DumpDisk, Extracted, ExtractedView, Format, PageSums, hex};
use dumpfile::Contents;
use dumpfile::kdump_file::PageCodec;
use serde::Serialize;
use vmcore::Level;

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
    /// A dump disk (block device or image file), or a vmcore: ELF, kdump-compressed or flattened.
    source: PathBuf,
    /// File for the dump; `-` is standard output, for the flattened formats.
    #[arg(value_name = "FILE", required_unless_present = "output", conflicts_with = "output")]
    out: Option<PathBuf>,
    /// The same as FILE.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The dump on a disk with this number (see `info`) [default: the newest complete one, else the
    /// newest].
    #[arg(long, value_name = "N")]
    dump: Option<u64>,
    /// Leave out pages, as `makedumpfile -d`: the sum of 1 zeros, 2 page cache, 4 all of the page
    /// cache, 8 memory of programs, 16 free memory [default: the level of the dump].
    #[arg(long, value_name = "N")]
    level: Option<Level>,
    /// Format of the dump.
    #[arg(long, value_name = "FORMAT", default_value = "elf")]
    format: FormatName,
    /// Compression of its pages; not for ELF.
    #[arg(long, value_name = "CODEC", default_value = "none")]
    compress: Codec,
    /// Replace FILE if it exists.
    #[arg(long)]
    force: bool,
    /// Print the result as one line of JSON.
    #[arg(long)]
    json: bool,
}

/// Names of the formats.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FormatName {
    /// An ELF core; zeros become holes in the file.
    Elf,
    /// kdump-compressed, for makedumpfile, crash and drgn.
    Kdump,
    /// The same, flattened: a stream, as `makedumpfile -F` writes it.
    Flat,
    /// An ELF core, flattened.
    FlatElf,
}

/// Names of the codecs.
#[derive(Clone, Copy, ValueEnum)]
enum Codec {
    None,
    Zlib,
    Zstd,
    Snappy,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), String> {
    let Arguments { source, level, format, force, json, .. } = arguments;
    let output = arguments.out.as_ref().or(arguments.output.as_ref()).ok_or("no file is named")?;
    let to_stdout = output.as_os_str() == "-";
    let is_plain = *format == FormatName::Elf && level.is_none() && !to_stdout;
    if is_plain && DumpDisk::is_one(source).map_err(super::text)? {
        return extract(source, arguments.dump, output, *force, *json);
    }
    if to_stdout && matches!(format, FormatName::Elf | FormatName::Kdump) {
        return Err("standard output takes flattened formats: --format flat, flat-elf".to_owned());
    }
    if !to_stdout {
        check_output(output, *force)?;
    }
    convert(arguments, (!to_stdout).then_some(output))
}

/// Writes the dump in the format that is asked for, and reports the result: on standard error, and
/// as JSON on standard output, unless the dump goes there.
fn convert(arguments: &Arguments, output: Option<&PathBuf>) -> Result<(), String> {
    let conversion = Conversion {
        number: arguments.dump,
        level: arguments.level,
        format: match arguments.format {
            FormatName::Elf => Format::Elf,
            FormatName::Kdump => Format::Kdump,
            FormatName::Flat => Format::Flat,
            FormatName::FlatElf => Format::FlatElf,
        },
        codec: match arguments.compress {
            Codec::None => PageCodec::Raw,
            Codec::Zlib => PageCodec::Zlib,
            Codec::Zstd => PageCodec::Zstd,
            Codec::Snappy => PageCodec::Snappy,
        },
    };
    let mut progress = Progress::new();
    let mut show = |done, all| progress.show(done, all);
    let out = output.map(PathBuf::as_path);
    let converted = collector::convert(&arguments.source, &conversion, out, &mut show);
    progress.end();
    let converted = converted.map_err(super::text)?;
    let json = serde_json::to_string(&converted).map_err(|error| error.to_string())?;
    match (arguments.json, output) {
        (true, Some(_)) => println!("{json}"),
        (true, None) => eprintln!("{json}"),
        (false, _) => eprint!("{}", sums(&converted)),
    }
    if converted.unreadable.is_empty() { Ok(()) } else { Err(unreadable(&converted)) }
}

/// The pages by class.
fn sums(converted: &Converted) -> String {
    let Converted { file, bytes, level, pages, .. } = converted;
    let file = file.as_ref().map_or("standard output".into(), |file| file.display().to_string());
    let mut text = format!("{file}: {bytes} bytes, level {level}\n");
    let PageSums { kept, doubt, left, unknown } = pages;
    let left: Vec<_> = left.iter().map(|(class, pages)| format!(", {pages} {class}")).collect();
    text += &format!("pages: {kept} kept{}", left.concat());
    if *unknown > 0 {
        text += &format!(", {unknown} left out before");
    }
    text += "\n";
    if *doubt > 0 {
        text += &format!("{doubt} pages are kept because their structures are damaged\n");
    }
    text
}

/// Memory that could not be read.
fn unreadable(converted: &Converted) -> String {
    let Converted { file, unreadable, .. } = converted;
    let file = file.as_ref().map_or(String::new(), |file| file.display().to_string());
    let bytes: u64 = unreadable.iter().map(|(start, end)| end - start).sum();
    let mut text = format!("{file}: {bytes} bytes of memory could not be read, zero there");
    for (start, end) in unreadable.iter().take(NAMED) {
        text += &format!("\n    physical {start:#x}+{:#x}", end - start);
    }
    if unreadable.len() > NAMED {
        text += &format!("\n    and {} ranges more, see --json", unreadable.len() - NAMED);
    }
    text
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
