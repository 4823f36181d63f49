//! Verification of a dump disk.

use std::fmt;
use std::path::Path;

use dumpfile::disk::DumpError;
use serde::Serialize;

use crate::Error;
use crate::dump_disk::{DumpDisk, StoredDump};
use crate::info::{stage_name, state_name};
use crate::stored_bulk::{Range, Survey};

/// Findings of `kdump-collector verify`.
#[derive(Debug, Serialize)]
pub struct Verified {
    /// Version of the JSON.
    version: u32,
    /// The disk's id.
    pub id: String,
    /// Version of the disk's layout.
    pub layout: u32,
    /// True if nothing is damaged that a dump or the disk depends on. A dump that is not whole and
    /// says so is not damaged.
    pub intact: bool,
    /// Damage that costs nothing.
    pub notes: Vec<String>,
    /// The dumps, oldest first.
    pub dumps: Vec<VerifiedDump>,
}

/// Result for one dump.
#[derive(Debug, Serialize)]
pub struct VerifiedDump {
    /// Its number.
    pub number: u64,
    /// As for [`crate::DumpInfo`].
    pub state: String,
    /// The last stage that the capture reached.
    pub stage: Option<String>,
    /// Length in bytes.
    pub length: u64,
    /// Bytes that agree with their checksum.
    pub checked: u64,
    /// Missing ranges: start and end, in bytes.
    pub missing: Vec<Range>,
    /// Ranges that differ from their checksums: start and end, in bytes.
    pub damaged: Vec<Range>,
    /// The problems that were found.
    pub problems: Vec<String>,
}

/// Checks the headers, logs, small views and, where there are any, checksums of everything on a
/// dump disk.
///
/// # Errors
/// [`Error::OtherKind`] for another kind of file, [`Error::Header`], [`Error::Open`],
/// [`Error::Io`].
pub fn verify(path: &Path) -> Result<Verified, Error> {
    let disk = DumpDisk::open(path)?;
    let dumps = disk.dumps.iter().map(|dump| verify_dump(&disk, dump));
    let dumps = dumps.collect::<Result<Vec<_>, _>>()?;
    let other = disk.header_damage().map(|error| format!("one of the two headers: {error}"));
    Ok(Verified {
        version: 1,
        id: disk.id().to_string(),
        layout: disk.version(),
        intact: dumps.iter().all(|dump| dump.problems.is_empty()),
        notes: other.into_iter().collect(),
        dumps,
    })
}

fn verify_dump(disk: &DumpDisk, dump: &StoredDump) -> Result<VerifiedDump, Error> {
    let mut problems = Vec::new();
    let place = disk.check_place(dump);
    problems.extend(place.as_ref().err().map(ToString::to_string));
    match dump.header {
        // It ended before it had said anything of itself, and the directory says so.
        Err(DumpError::NotOurs | DumpError::OtherDump(_)) if dump.is_unfinished() => {}
        Err(error) => problems.push(error.to_string()),
        Ok(_) => {}
    }
    for view in dump.views() {
        if disk.read_view(dump, view)?.is_none() {
            let name = view.name.as_str();
            problems.push(format!("the small view {name} differs from its checksum"));
        }
    }
    let survey = if place.is_ok() { disk.survey(dump)? } else { Survey::default() };
    problems.extend(troubles(&survey, dump.is_complete()));
    Ok(VerifiedDump {
        number: dump.number,
        state: state_name(dump.state),
        stage: stage_name(dump.stage),
        length: dump.length,
        checked: survey.checked,
        missing: survey.missing,
        damaged: survey.damaged,
        problems,
    })
}

fn troubles(survey: &Survey, is_complete: bool) -> Vec<String> {
    let mut problems = Vec::new();
    if survey.lost_segments > 0 {
        problems.push(format!("{} segments of the dump's log are damaged", survey.lost_segments));
    }
    let bytes: u64 = survey.missing.iter().map(|(start, end)| end - start).sum();
    if is_complete && bytes > 0 {
        problems.push(format!("{bytes} bytes of a complete dump are missing"));
    }
    if !survey.damaged.is_empty() {
        let bytes: u64 = survey.damaged.iter().map(|(start, end)| end - start).sum();
        problems.push(format!("{bytes} bytes differ from their checksums"));
    }
    problems
}

impl fmt::Display for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "dump disk    id {}, version {}", self.id, self.layout)?;
        self.notes.iter().try_for_each(|note| writeln!(f, "note         {note}"))?;
        self.dumps.iter().try_for_each(|dump| write!(f, "{dump}"))?;
        writeln!(f, "{}", if self.intact { "intact" } else { "damaged" })
    }
}

impl fmt::Display for VerifiedDump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, state, length, checked, .. } = self;
        write!(f, "dump {number:<8}{state}, {length} bytes, ")?;
        match checked {
            0 => writeln!(f, "no checksums")?,
            _ => writeln!(f, "{checked} of them agree with their checksums")?,
        }
        let range = |(start, end): &Range| format!("{start:#x}+{:#x}", end - start);
        for (what, ranges) in [("missing", &self.missing), ("differs", &self.damaged)] {
            ranges
                .iter()
                .try_for_each(|part| writeln!(f, "             {what} {}", range(part)))?;
        }
        self.problems.iter().try_for_each(|problem| writeln!(f, "             {problem}"))
    }
}
