//! The dead kernel's log.

use std::io::{self, Write};
use std::path::Path;

use linux::{Dmesg, Record, Skipped};
use serde::Serialize;

use crate::dump_disk::DumpDisk;
use crate::text::printable;
use crate::{Error, VmcoreFile};

/// Part of the log to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogPart {
    /// All of it.
    All,
    /// The last records, so many.
    LastRecords(u64),
    /// The last whole records that have at most so many bytes in all, as they are shown.
    LastBytes(u64),
}

/// Format in which the log is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// As `dmesg` does; see [`linux::Record`].
    Text(Callers),
    /// An object of JSON for each record, on a line of its own.
    Json,
}

/// Selects the records that show their caller: the task or the CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Callers {
    /// If VMCOREINFO reports that the kernel shows it as well (`CONFIG_PRINTK_CALLER`).
    #[default]
    Auto,
    /// All records that have a caller.
    Always,
    /// No record.
    Never,
}

/// A field is null if the kernel did not store it.
#[derive(Serialize)]
struct JsonRecord<'a> {
    seq: Option<u64>,
    ts_nsec: Option<u64>,
    caller: Option<String>,
    text: &'a str,
}

/// Writes the log of the kernel that left `vmcore` to `out`, oldest record first, and returns the
/// number of skipped records. If `out` takes no more (a closed pipe), that is an early end and no
/// error.
///
/// # Errors
/// [`Error::NoVmcoreinfo`], [`Error::Vmcore`] when there is no log to be found, or
/// [`Error::Output`].
pub fn dmesg(
    vmcore: &VmcoreFile,
    part: LogPart,
    format: LogFormat,
    out: &mut dyn Write,
) -> Result<Skipped, Error> {
    let opened = Dmesg::open(vmcore.memory(), vmcore.vmcoreinfo()?);
    let mut log = opened.map_err(|source| vmcore.log_error(source))?;
    match format {
        LogFormat::Text(Callers::Always) => log.show_callers(true),
        LogFormat::Text(Callers::Never) => log.show_callers(false),
        LogFormat::Text(Callers::Auto) | LogFormat::Json => {}
    }
    match part {
        LogPart::All => {}
        LogPart::LastRecords(count) => log.keep_last_records(count),
        LogPart::LastBytes(bytes) => log.keep_last_bytes(bytes),
    }
    let mut written = Ok(());
    while let (Ok(()), Some(record)) = (&written, log.next_record()) {
        written = write(&record, format, out);
    }
    match written.and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Error::Output(error)),
        _ => Ok(log.skipped()),
    }
}

/// Origin of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogSource {
    /// The dead kernel's memory, as it is in the vmcore. This was skipped.
    Vmcore(Skipped),
    /// The text that the capture kernel made of it and stored beside the dump.
    SmallView,
}

/// The name of the small view with the log.
const SMALL_VIEW: &str = "dmesg";

/// Writes the log of a vmcore or of a dump on a disk (the one with this number, else as for
/// [`DumpDisk::choose`]). If the dump on the disk is no whole vmcore, the log is the text beside
/// it.
///
/// # Errors
/// As for [`VmcoreFile::open_dump`] and [`dmesg`], where there is no such text.
pub fn dmesg_of(
    path: &Path,
    number: Option<u64>,
    part: LogPart,
    format: LogFormat,
    out: &mut dyn Write,
) -> Result<LogSource, Error> {
    let shown =
        VmcoreFile::open_dump(path, number).and_then(|vmcore| dmesg(&vmcore, part, format, out));
    match shown {
        Ok(skipped) => Ok(LogSource::Vmcore(skipped)),
        Err(error @ Error::Output(_)) => Err(error),
        Err(error) => {
            let disk = DumpDisk::open(path);
            let text = disk.and_then(|disk| disk.small_view(number, SMALL_VIEW));
            let text = text.ok().flatten().ok_or(error)?;
            write_text(&String::from_utf8_lossy(&text), part, format, out)?;
            Ok(LogSource::SmallView)
        }
    }
}

/// Writes the lines of a text, without characters that control a terminal.
fn write_text(
    text: &str,
    part: LogPart,
    format: LogFormat,
    out: &mut dyn Write,
) -> Result<(), Error> {
    let lines: Vec<&str> = text.lines().collect();
    let skip = match part {
        LogPart::All => 0,
        LogPart::LastRecords(count) => {
            lines.len().saturating_sub(usize::try_from(count).unwrap_or(usize::MAX))
        }
        LogPart::LastBytes(bytes) => {
            let fits = |room: &mut u64, line: &&str| {
                *room = room.checked_sub(line.len() as u64 + 1)?;
                Some(())
            };
            lines.len() - lines.iter().rev().scan(bytes, fits).count()
        }
    };
    let written = lines[skip..].iter().try_for_each(|line| write_line(line, format, out));
    match written.and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Error::Output(error)),
        _ => Ok(()),
    }
}

#[derive(Serialize)]
struct JsonLine<'a> {
    text: &'a str,
}

fn write_line(line: &str, format: LogFormat, out: &mut dyn Write) -> io::Result<()> {
    match format {
        LogFormat::Text(_) => {
            let shown: String = printable(line).collect();
            writeln!(out, "{shown}")
        }
        LogFormat::Json => {
            serde_json::to_writer(&mut *out, &JsonLine { text: line })?;
            writeln!(out)
        }
    }
}

fn write(record: &Record<'_>, format: LogFormat, out: &mut dyn Write) -> io::Result<()> {
    match format {
        LogFormat::Text(_) => writeln!(out, "{record}"),
        LogFormat::Json => {
            let record = JsonRecord {
                seq: record.seq,
                ts_nsec: record.ts_nsec,
                caller: record.caller.map(|caller| caller.to_string()),
                text: &String::from_utf8_lossy(record.text),
            };
            serde_json::to_writer(&mut *out, &record)?;
            writeln!(out)
        }
    }
}
