//! The units of `.debug_info`, read one at a time.

use std::borrow::Cow;

use gimli::{
    Abbreviations, AttributeValue, DebugAbbrev, DebugInfo, DebugStrOffsetsBase, EndianSlice,
    LittleEndian, UnitHeader,
};

use super::sections::Sections;
use crate::Error;

/// Bytes of DWARF.
pub(super) type Slice<'b> = EndianSlice<'b, LittleEndian>;
/// The value of an attribute.
pub(super) type Value<'b> = AttributeValue<Slice<'b>>;

/// Most units: a kernel has some thousands.
const MOST: usize = 1 << 18;
/// Bytes of the longest length of a unit.
const LENGTH: u64 = 12;
/// A length that says that 64 bits follow.
const IS_64_BIT: u32 = u32::MAX;

/// A unit in memory.
#[derive(Debug)]
pub(super) struct Unit<'s> {
    /// Its offset in the section.
    pub(super) start: u64,
    bytes: Cow<'s, [u8]>,
    pub(super) abbreviations: Abbreviations,
    /// Start of its part of the table of strings.
    pub(super) base: DebugStrOffsetsBase<usize>,
}

/// Text of a name, or its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Name<'b> {
    /// An offset in `.debug_str`.
    At(usize),
    Text(&'b [u8]),
}

/// For `map_err`: a damaged unit.
pub(super) fn damaged<E>(number: u64) -> impl Fn(E) -> Error {
    move |_| Error::BadType { number }
}

/// Places of the units: their starts, and the end of the last one. They end before the first
/// damage.
pub(super) fn starts(sections: &Sections) -> Vec<u64> {
    let (mut starts, mut at) = (vec![0], 0);
    let length = sections.info.length();
    while starts.len() <= MOST && at < length {
        let Some(next) = end(sections, at).filter(|next| *next <= length) else { break };
        starts.push(next);
        at = next;
    }
    starts
}

fn end(sections: &Sections, at: u64) -> Option<u64> {
    let left = sections.info.length() - at;
    let bytes = sections.info.read(at, left.min(LENGTH)).ok()?;
    let short = u32::from_le_bytes(*bytes.first_chunk()?);
    let (length, own) = match short {
        IS_64_BIT => (u64::from_le_bytes(bytes.get(4..)?.first_chunk().copied()?), 12),
        short => (short.into(), 4),
    };
    at.checked_add(length)?.checked_add(own)
}

impl<'s> Unit<'s> {
    /// Reads the unit from `start` to `end`.
    ///
    /// # Errors
    /// [`Error::BadType`]: it cannot be read, or is damaged.
    pub(super) fn read(sections: &'s Sections, start: u64, end: u64) -> Result<Self, Error> {
        let bytes = sections.info.read(start, end - start).map_err(damaged(start))?;
        let (abbreviations, base) = {
            let header = header(&bytes, start)?;
            let all = DebugAbbrev::new(&sections.abbreviations, LittleEndian);
            let abbreviations = header.abbreviations(&all).map_err(damaged(start))?;
            let root = header.entry(&abbreviations, header.root_offset());
            let root = root.map_err(damaged(start))?;
            let base = match root.attr_value(gimli::DW_AT_str_offsets_base) {
                Some(AttributeValue::DebugStrOffsetsBase(base)) => base,
                _ => DebugStrOffsetsBase(0),
            };
            (abbreviations, base)
        };
        Ok(Self { start, bytes, abbreviations, base })
    }

    /// Its header.
    ///
    /// # Errors
    /// [`Error::BadType`].
    pub(super) fn header(&self) -> Result<UnitHeader<Slice<'_>>, Error> {
        header(&self.bytes, self.start)
    }

    /// The same with bytes of its own.
    pub(super) fn into_owned(self) -> Unit<'static> {
        Unit { bytes: Cow::Owned(self.bytes.into_owned()), ..self }
    }

    /// Number of bytes.
    pub(super) fn length(&self) -> usize {
        self.bytes.len()
    }

    /// The offset in the section that a reference has.
    pub(super) fn reference(&self, value: Value<'_>) -> Option<u64> {
        match value {
            AttributeValue::UnitRef(offset) => self.start.checked_add(offset.0 as u64),
            AttributeValue::DebugInfoRef(offset) => Some(offset.0 as u64),
            _ => None,
        }
    }

    /// A name.
    pub(super) fn name<'b>(&self, sections: &'b Sections, value: Value<'b>) -> Option<Name<'b>> {
        match value {
            AttributeValue::String(text) => Some(Name::Text(text.slice())),
            AttributeValue::DebugStrRef(at) => Some(Name::At(at.0)),
            AttributeValue::DebugLineStrRef(at) => {
                text(&sections.line_strings, at.0).map(Name::Text)
            }
            AttributeValue::DebugStrOffsetsIndex(index) => {
                let table = gimli::DebugStrOffsets::from(Slice::new(
                    &sections.string_offsets,
                    LittleEndian,
                ));
                let format = self.header().ok()?.format();
                Some(Name::At(table.get_str_offset(format, self.base, index).ok()?.0))
            }
            _ => None,
        }
    }
}

fn header(bytes: &[u8], start: u64) -> Result<UnitHeader<Slice<'_>>, Error> {
    let mut units = DebugInfo::new(bytes, LittleEndian).units();
    units.next().ok().flatten().ok_or(Error::BadType { number: start })
}

/// The bytes from an offset on, up to a NUL.
fn text(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let rest = bytes.get(at..)?;
    rest.split(|byte| *byte == 0).next()
}

impl Name<'_> {
    /// The text; empty if there is none.
    pub(super) fn text(self, sections: &Sections) -> String {
        let bytes = match self {
            Name::At(at) => text(&sections.strings, at).unwrap_or_default(),
            Name::Text(bytes) => bytes,
        };
        String::from_utf8_lossy(bytes).into_owned()
    }
}
