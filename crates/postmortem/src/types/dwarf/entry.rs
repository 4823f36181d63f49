//! Types from the entries of DWARF.

use std::sync::Arc;

use gimli::{AttributeValue, DebuggingInformationEntry, EntriesRaw, Operation, UnitOffset};

use super::sections::Sections;
use super::units::{Name, Slice, Unit, Value, damaged};
use crate::Error;
use crate::types::{Compound, Enumeration, Integer, Member, Tag, Type, TypeId};

/// An entry of DWARF.
pub(super) type Entry<'b> = DebuggingInformationEntry<Slice<'b>>;

/// Bits of a type's number that are the offset of its entry; those above it are the dimension of
/// an array.
pub(super) const OFFSET_BITS: u32 = 48;
/// Most dimensions of an array.
const MOST_DIMENSIONS: usize = 16;

/// An entry in its unit.
pub(super) struct Place<'a> {
    pub(super) sections: &'a Sections,
    pub(super) unit: &'a Unit<'a>,
    pub(super) entry: Entry<'a>,
}

/// Takes the next enumerator: its name and its value. [`None`] after the last one.
pub(super) fn enumerator<'b>(
    unit: &Unit<'_>,
    sections: &'b Sections,
    raw: &mut EntriesRaw<'_, Slice<'b>>,
) -> gimli::Result<Option<(Name<'b>, i64)>> {
    let Some(entry) = raw.read_abbreviation()? else { return Ok(None) };
    let (mut name, mut value) = (None, 0);
    for attribute in entry.attributes() {
        let found = raw.read_attribute(*attribute)?.raw_value();
        match attribute.name() {
            gimli::DW_AT_name => name = unit.name(sections, found),
            gimli::DW_AT_const_value => value = constant(&found).unwrap_or_default() as i64,
            _ => {}
        }
    }
    Ok((entry.tag() == gimli::DW_TAG_enumerator).then_some(name).flatten().map(|n| (n, value)))
}

/// A number. A form of some bytes has no sign.
fn constant(value: &Value<'_>) -> Option<u64> {
    match value {
        AttributeValue::Data1(value) => Some((*value).into()),
        AttributeValue::Data2(value) => Some((*value).into()),
        AttributeValue::Data4(value) => Some((*value).into()),
        AttributeValue::Data8(value) | AttributeValue::Udata(value) => Some(*value),
        AttributeValue::Sdata(value) => Some(*value as u64),
        _ => None,
    }
}

impl<'a> Place<'a> {
    fn number(&self, name: gimli::DwAt) -> Option<u64> {
        constant(&self.entry.attr(name)?.raw_value())
    }

    pub(super) fn name(&self) -> String {
        let name = self.entry.attr(gimli::DW_AT_name);
        let name = name.and_then(|name| self.unit.name(self.sections, name.raw_value()));
        name.map(|name| name.text(self.sections)).unwrap_or_default()
    }

    /// The offset in the section that an attribute refers to.
    pub(super) fn reference(&self, name: gimli::DwAt) -> Option<u64> {
        self.unit.reference(self.entry.attr(name)?.raw_value())
    }

    fn of(&self) -> TypeId {
        self.reference(gimli::DW_AT_type).map_or(TypeId::VOID, TypeId)
    }

    pub(super) fn is_declaration(&self) -> bool {
        self.entry.has_attr(gimli::DW_AT_declaration)
    }

    /// The type that the entry describes; `dimension` is that of an array in an array.
    ///
    /// # Errors
    /// [`Error::BadType`].
    pub(super) fn describe(&self, dimension: usize) -> Result<Type, Error> {
        let size = self.number(gimli::DW_AT_byte_size).unwrap_or(0);
        Ok(match self.entry.tag() {
            gimli::DW_TAG_base_type => self.base(size),
            gimli::DW_TAG_pointer_type
            | gimli::DW_TAG_reference_type
            | gimli::DW_TAG_rvalue_reference_type => Type::Pointer(self.of()),
            gimli::DW_TAG_structure_type | gimli::DW_TAG_class_type => {
                self.compound(Tag::Struct, size)?
            }
            gimli::DW_TAG_union_type => self.compound(Tag::Union, size)?,
            gimli::DW_TAG_enumeration_type => self.enumeration(size)?,
            gimli::DW_TAG_typedef => Type::Typedef(self.name(), self.of()),
            gimli::DW_TAG_const_type
            | gimli::DW_TAG_volatile_type
            | gimli::DW_TAG_restrict_type
            | gimli::DW_TAG_atomic_type => Type::Qualified(self.of()),
            gimli::DW_TAG_array_type => self.array(dimension)?,
            _ => Type::Void(self.name()),
        })
    }

    fn base(&self, size: u64) -> Type {
        let name = self.name();
        let encoding = self.entry.attr_value(gimli::DW_AT_encoding);
        let is_signed = match encoding {
            Some(AttributeValue::Encoding(gimli::DW_ATE_float)) => return Type::Float(name, size),
            Some(AttributeValue::Encoding(encoding)) => {
                matches!(encoding, gimli::DW_ATE_signed | gimli::DW_ATE_signed_char)
            }
            _ => false,
        };
        Type::Integer(Integer { name, size: size.min(16), is_signed })
    }

    /// Calls `each` with each entry right below this one.
    fn children(&self, each: &mut dyn FnMut(Self)) -> Result<(), Error> {
        if !self.entry.has_children() {
            return Ok(());
        }
        let wrong = damaged(self.unit.start + self.entry.offset().0 as u64);
        let header = self.unit.header()?;
        let (abbreviations, at) = (&self.unit.abbreviations, self.entry.offset());
        let entries = header.entries_at_offset(abbreviations, at);
        let mut entries = entries.map_err(|_| wrong(()))?;
        entries.next_dfs().map_err(|_| wrong(()))?;
        // Into the children; then from one to the next.
        let mut more = entries.next_entry().map_err(|_| wrong(()))?;
        while more {
            let Some(child) = entries.current() else { break };
            each(Self { entry: child.clone(), ..*self });
            more = entries.next_sibling().map_err(|_| wrong(()))?.is_some();
        }
        Ok(())
    }

    fn compound(&self, tag: Tag, size: u64) -> Result<Type, Error> {
        let mut members = Vec::new();
        self.children(&mut |child| {
            if child.entry.tag() == gimli::DW_TAG_member {
                members.push(child.member());
            }
        })?;
        Ok(Type::Compound(Arc::new(Compound { tag, name: self.name(), size, members })))
    }

    /// A member. Bits of the old form count from the high end of a number of `DW_AT_byte_size`
    /// bytes (DWARF 3, 5.5.6).
    fn member(&self) -> Member {
        let start = self.location().unwrap_or(0).saturating_mul(8);
        let bit_size = self.number(gimli::DW_AT_bit_size);
        let bits = match (
            self.number(gimli::DW_AT_data_bit_offset),
            self.number(gimli::DW_AT_bit_offset),
            self.number(gimli::DW_AT_byte_size),
        ) {
            (Some(bits), ..) => bits,
            (None, Some(high), Some(size)) => {
                let bits = size.wrapping_mul(8).wrapping_sub(high);
                start.wrapping_add(bits.wrapping_sub(bit_size.unwrap_or(0)))
            }
            _ => start,
        };
        let bit_size = bit_size.and_then(|size| u32::try_from(size).ok());
        Member { name: self.name(), of: self.of(), bits, bit_size }
    }

    /// Offset in bytes: a number, or an expression that adds one.
    fn location(&self) -> Option<u64> {
        let value = self.entry.attr(gimli::DW_AT_data_member_location)?.raw_value();
        if let Some(value) = constant(&value) {
            return Some(value);
        }
        let bytes = match value {
            AttributeValue::Exprloc(expression) => expression,
            AttributeValue::Block(bytes) => gimli::Expression(bytes),
            _ => return None,
        };
        match bytes.operations(self.unit.header().ok()?.encoding()).next() {
            Ok(Some(Operation::PlusConstant { value })) => Some(value),
            _ => None,
        }
    }

    fn enumeration(&self, size: u64) -> Result<Type, Error> {
        let mut values = Vec::new();
        if self.entry.has_children() {
            let wrong = damaged(self.unit.start + self.entry.offset().0 as u64);
            let header = self.unit.header()?;
            let at = Some(self.entry.offset());
            let raw = header.entries_raw(&self.unit.abbreviations, at);
            let mut raw = raw.map_err(|_| wrong(()))?;
            if let Some(own) = raw.read_abbreviation().map_err(|_| wrong(()))? {
                raw.skip_attributes(own.attributes()).map_err(|_| wrong(()))?;
            }
            while let Some((name, value)) =
                enumerator(self.unit, self.sections, &mut raw).map_err(|_| wrong(()))?
            {
                values.push((name.text(self.sections), value));
            }
        }
        let size = if size == 0 { 4 } else { size };
        Ok(Type::Enumeration(Arc::new(Enumeration { name: self.name(), size, values })))
    }

    fn array(&self, dimension: usize) -> Result<Type, Error> {
        let mut counts = Vec::new();
        self.children(&mut |child| {
            let is_count = child.entry.tag() == gimli::DW_TAG_subrange_type;
            if is_count && counts.len() < MOST_DIMENSIONS {
                let count = child.number(gimli::DW_AT_count);
                let bound = || Some(child.number(gimli::DW_AT_upper_bound)?.wrapping_add(1));
                // An array of none has a bound of -1, or no bound.
                counts.push(count.or_else(bound).filter(|count| *count > 0));
            }
        })?;
        let count = counts.get(dimension).copied().flatten();
        let inner = dimension + 1;
        let own = self.unit.start + self.entry.offset().0 as u64;
        let of = match inner < counts.len() {
            true => TypeId(own | (inner as u64) << OFFSET_BITS),
            false => self.of(),
        };
        Ok(Type::Array(of, count))
    }
}

/// The entry at an offset of its section.
///
/// # Errors
/// [`Error::BadType`].
pub(super) fn at<'a>(
    sections: &'a Sections,
    unit: &'a Unit<'a>,
    place: u64,
) -> Result<Place<'a>, Error> {
    let own = place.checked_sub(unit.start).and_then(|own| usize::try_from(own).ok());
    let own = own.ok_or(Error::BadType { number: place })?;
    let entry = unit.header()?.entry(&unit.abbreviations, UnitOffset(own));
    Ok(Place { sections, unit, entry: entry.map_err(damaged(place))? })
}
