//! The dead kernel's log.

use std::io::{self, Write};

use serde::Serialize;
use vmcore::{Dmesg, Record, Skipped};

use crate::{Error, VmcoreFile};

/// How much of the log is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogPart {
    /// All of it.
    All,
    /// The last records, so many.
    LastRecords(u64),
    /// The last whole records that have at most so many bytes in all, as they are shown.
    LastBytes(u64),
}

/// How the log is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// As `dmesg` does; see [`vmcore::Record`].
    Text,
    /// An object of JSON for each record, on a line of its own.
    Json,
}

#[derive(Serialize)]
struct JsonRecord<'a> {
    seq: u64,
    ts_nsec: u64,
    caller: String,
    text: &'a str,
}

/// Writes the log of the kernel that left `vmcore` to `out`, oldest record first, and says what was
/// skipped. When `out` takes no more (a closed pipe), that is an early end and no error.
///
/// # Errors
/// [`Error::NoVmcoreinfo`], [`Error::Vmcore`] when there is no log to be found, or [`Error::Output`].
pub fn dmesg(
    vmcore: &VmcoreFile,
    part: LogPart,
    format: LogFormat,
    out: &mut dyn Write,
) -> Result<Skipped, Error> {
    let opened = Dmesg::open(vmcore.memory(), vmcore.vmcoreinfo()?);
    let mut log = opened.map_err(|source| vmcore.error(source))?;
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

fn write(record: &Record<'_>, format: LogFormat, out: &mut dyn Write) -> io::Result<()> {
    match format {
        LogFormat::Text => writeln!(out, "{record}"),
        LogFormat::Json => {
            let record = JsonRecord {
                seq: record.seq,
                ts_nsec: record.ts_nsec,
                caller: record.caller.to_string(),
                text: &String::from_utf8_lossy(record.text),
            };
            serde_json::to_writer(&mut *out, &record)?;
            writeln!(out)
        }
    }
}
