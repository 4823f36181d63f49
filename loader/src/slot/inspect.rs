//! Description of a slot image, for people (a table) and for programs (JSON).

use std::fmt;

use handoff::{Block, SlotHeader};
use serde::Serialize;
use slot_image::{Error, Segment, SlotImage, parse};

use crate::json::RangeJson;

/// The version of the JSON: fields may be added, none is renamed.
const INSPECTION_VERSION: u32 = 1;
/// The segment with the command line, as the plan calls it.
const COMMAND_LINE: &str = "command-line";

/// All about a slot image. Addresses are physical, lengths bytes.
#[derive(Debug, Serialize)]
pub struct Inspection {
    version: u32,
    image_version: u32,
    slot: RangeJson,
    sealed: bool,
    entry: u64,
    elfcorehdr: RangeJson,
    backup: RangeJson,
    file_length: u64,
    command_line: String,
    segments: Vec<SegmentReport>,
    /// Faults of the image, if there are any.
    pub problem: Option<String>,
}

#[derive(Debug, Serialize)]
struct SegmentReport {
    name: String,
    place: RangeJson,
    bytes: usize,
    sha256: String,
    digest_ok: bool,
}

impl Inspection {
    /// Looks at an image.
    ///
    /// # Errors
    /// Its header is damaged, so that nothing can be said about the rest. Other damage is part of
    /// the report.
    pub fn new(bytes: &[u8]) -> Result<Self, Error> {
        let image = SlotImage::read(bytes)?;
        let segments = image.segments();
        Ok(Self {
            version: INSPECTION_VERSION,
            image_version: SlotHeader::VERSION,
            slot: image.slot.into(),
            sealed: image.is_sealed(),
            entry: image.entry.get(),
            elfcorehdr: image.elfcorehdr.into(),
            backup: image.backup.into(),
            file_length: image.length(),
            command_line: command_line(&image),
            segments: segments.map(|segment| SegmentReport::new(&segment)).collect(),
            problem: parse(bytes).err().map(|error| error.to_string()),
        })
    }
}

impl SegmentReport {
    fn new(segment: &Segment<'_>) -> Self {
        Self {
            name: segment.name.to_string(),
            place: segment.place.into(),
            bytes: segment.bytes.len(),
            sha256: segment.digest.iter().map(|byte| format!("{byte:02x}")).collect(),
            digest_ok: segment.check().is_ok(),
        }
    }
}

/// The capture kernel's command line, unprintable characters replaced.
fn command_line(image: &SlotImage<'_>) -> String {
    let segment = image.segments().find(|segment| segment.name.to_string() == COMMAND_LINE);
    let bytes = segment.map_or(&[][..], |segment| segment.bytes);
    let line = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    let shown = |byte: &u8| if matches!(byte, b' '..=b'~') { char::from(*byte) } else { '?' };
    line.iter().map(shown).collect()
}

/// A place in the table.
fn row(RangeJson { start, length }: RangeJson) -> String {
    let end = start.saturating_add(length);
    format!("{start:#011x}..{end:#011x} {:>8} KiB", length / 1024)
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sealed = match self.sealed {
            true => "sealed: the ELF core header is in it",
            false => "unsealed: the first kernel builds the ELF core header and seals it",
        };
        writeln!(f, "slot image     version {}, {sealed}", self.image_version)?;
        writeln!(f, "file           {} bytes", self.file_length)?;
        writeln!(f, "slot           {}", row(self.slot))?;
        writeln!(f, "entry          {:#x} (purgatory)", self.entry)?;
        writeln!(f, "command line   {}", self.command_line)?;
        for segment in &self.segments {
            let verdict = if segment.digest_ok { "ok" } else { "BAD" };
            let (name, place, bytes) = (&segment.name, row(segment.place), segment.bytes);
            writeln!(f, "{name:14} {place}  {bytes:>7} bytes given, digest {verdict}")?;
            writeln!(f, "{:14} {}", "", segment.sha256)?;
        }
        writeln!(f, "backup         {}  (in place, the image is here)", row(self.backup))?;
        self.problem.as_ref().map_or(Ok(()), |problem| writeln!(f, "problem: {problem}"))
    }
}
