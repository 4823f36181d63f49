//! Names of types, variables and enumerators, and the places of their descriptions: one pass over
//! the outermost entries of all units, by several threads.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::num::NonZero;
use std::thread;

use gimli::{Abbreviation, AttributeValue, DwTag, EntriesRaw, UnitHeader, UnitOffset};

use super::entry;
use super::sections::Sections;
use super::units::{Name, Slice, Unit, Value};
use crate::types::{Tag, TypeId};

/// Most threads.
const MOST_THREADS: usize = 8;

/// Places by names.
#[derive(Debug, Default)]
pub(super) struct Index {
    pub(super) types: HashMap<(Tag, String), TypeId>,
    pub(super) variables: HashMap<String, TypeId>,
    pub(super) enumerators: HashMap<String, i64>,
}

/// Knowledge of a variable. A higher one counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// Of several units, each with its own: none is meant.
    Several,
    /// Of one unit.
    Own,
    /// Declared for all units.
    Declared,
    /// Defined for all units.
    Defined,
}

/// The findings in some units.
#[derive(Debug)]
struct Found<'s> {
    sections: &'s Sections,
    types: HashMap<(Tag, String), u64>,
    variables: HashMap<String, (Rank, u64)>,
    enumerators: HashMap<String, i64>,
    /// By an offset in `.debug_str`: bits of the tags with this name that were found, and of an
    /// enum without a name whose first enumerator has it. Most names are met in each unit.
    seen: Vec<u8>,
}

/// The attributes of an outermost entry that count here.
#[derive(Default)]
struct Attributes<'b> {
    name: Option<Name<'b>>,
    sibling: Option<UnitOffset>,
    specification: Option<Value<'b>>,
    is_declaration: bool,
    is_external: bool,
}

impl Index {
    /// Reads all units. Damaged ones are left out.
    pub(super) fn build(sections: &Sections, starts: &[u64]) -> Self {
        let pairs: Vec<_> = starts.windows(2).map(|pair| (pair[0], pair[1])).collect();
        let threads = thread::available_parallelism().map_or(1, NonZero::get).min(MOST_THREADS);
        let parts = pairs.chunks(pairs.len().div_ceil(threads).max(1));
        let found: Vec<Found<'_>> = thread::scope(|scope| {
            let read = |part| scope.spawn(move || Found::of(sections, part));
            let threads: Vec<_> = parts.map(read).collect();
            threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
        });
        let mut index = Self::default();
        let mut variables = HashMap::new();
        for part in found {
            for (key, at) in part.types {
                index.types.entry(key).or_insert(TypeId(at));
            }
            for (name, (rank, at)) in part.variables {
                keep(&mut variables, name, rank, at);
            }
            for (name, value) in part.enumerators {
                index.enumerators.entry(name).or_insert(value);
            }
        }
        let one = |(name, (rank, at))| (rank > Rank::Several).then_some((name, TypeId(at)));
        index.variables = variables.into_iter().filter_map(one).collect();
        index
    }
}

fn keep(variables: &mut HashMap<String, (Rank, u64)>, name: String, rank: Rank, at: u64) {
    match variables.entry(name) {
        Slot::Vacant(vacant) => {
            vacant.insert((rank, at));
        }
        Slot::Occupied(mut known) => match (known.get().0, rank) {
            (Rank::Own, Rank::Own) => known.get_mut().0 = Rank::Several,
            (old, new) if new > old && !(old == Rank::Several && new == Rank::Own) => {
                known.insert((rank, at));
            }
            _ => {}
        },
    }
}

impl<'s> Found<'s> {
    fn of(sections: &'s Sections, units: &[(u64, u64)]) -> Self {
        let (types, variables, enumerators) = Default::default();
        let seen = vec![0; sections.strings.len()];
        let mut found = Self { sections, types, variables, enumerators, seen };
        for (start, end) in units {
            // A damaged unit costs its own types; those before the damage are known.
            if let Ok(unit) = Unit::read(sections, *start, *end)
                && let Ok(header) = unit.header()
            {
                let _ = found.walk(&unit, &header);
            }
        }
        found
    }

    /// Takes the outermost entries of a unit.
    fn walk(&mut self, unit: &Unit<'_>, header: &UnitHeader<Slice<'_>>) -> gimli::Result<()> {
        let mut raw = header.entries_raw(&unit.abbreviations, None)?;
        let mut depth = 0;
        while !raw.is_empty() {
            let (at, before) = (raw.next_offset(), raw.next_depth());
            let entry = raw.read_abbreviation()?;
            let own = depth;
            depth += raw.next_depth() - before;
            let Some(entry) = entry else {
                if depth <= 0 {
                    break;
                }
                continue;
            };
            if own != 1 {
                raw.skip_attributes(entry.attributes())?;
                continue;
            }
            let attributes = self.attributes(unit, &mut raw, entry)?;
            self.take(unit, header, entry.tag(), at, &attributes, &raw);
            if let (true, Some(sibling)) = (entry.has_children(), attributes.sibling)
                && sibling > at
                && let Ok(next) = header.entries_raw(&unit.abbreviations, Some(sibling))
            {
                raw = next;
                depth = own;
            }
        }
        Ok(())
    }

    fn attributes<'b>(
        &self,
        unit: &Unit<'_>,
        raw: &mut EntriesRaw<'_, Slice<'b>>,
        entry: &Abbreviation,
    ) -> gimli::Result<Attributes<'b>>
    where
        's: 'b,
    {
        let mut found = Attributes::default();
        for attribute in entry.attributes() {
            let value = raw.read_attribute_inline(*attribute)?;
            match attribute.name() {
                gimli::DW_AT_name => found.name = unit.name(self.sections, value.raw_value()),
                gimli::DW_AT_sibling => {
                    if let AttributeValue::UnitRef(offset) = value.raw_value() {
                        found.sibling = Some(offset);
                    }
                }
                gimli::DW_AT_specification => found.specification = Some(value.raw_value()),
                gimli::DW_AT_declaration => found.is_declaration = true,
                gimli::DW_AT_external => found.is_external = true,
                _ => {}
            }
        }
        Ok(found)
    }

    fn take(
        &mut self,
        unit: &Unit<'_>,
        header: &UnitHeader<Slice<'_>>,
        tag: DwTag,
        at: UnitOffset,
        attributes: &Attributes<'_>,
        children: &EntriesRaw<'_, Slice<'_>>,
    ) {
        let place = unit.start + at.0 as u64;
        let tag = match tag {
            gimli::DW_TAG_structure_type | gimli::DW_TAG_class_type => Tag::Struct,
            gimli::DW_TAG_union_type => Tag::Union,
            gimli::DW_TAG_enumeration_type => Tag::Enum,
            gimli::DW_TAG_typedef | gimli::DW_TAG_base_type => Tag::Plain,
            gimli::DW_TAG_variable => return self.variable(unit, header, place, attributes),
            _ => return,
        };
        if attributes.is_declaration {
            return;
        }
        let is_new = match attributes.name {
            Some(name) => {
                let is_new = self.is_new(name, tag as u8);
                if is_new {
                    let name = name.text(self.sections);
                    self.types.entry((tag, name)).or_insert(place);
                }
                is_new
            }
            None => tag == Tag::Enum,
        };
        if is_new && tag == Tag::Enum {
            self.enumerators(unit, header, children, attributes.name.is_none());
        }
    }

    /// True if this name was not seen with this bit before, or may not have been.
    fn is_new(&mut self, name: Name<'_>, bit: u8) -> bool {
        let Name::At(at) = name else { return true };
        let Some(seen) = self.seen.get_mut(at) else { return false };
        let is_new = *seen >> bit & 1 == 0;
        *seen |= 1 << bit;
        is_new
    }

    /// Takes the enumerators that come next; of an enum without a name none if its first one is
    /// known.
    fn enumerators(
        &mut self,
        unit: &Unit<'_>,
        header: &UnitHeader<Slice<'_>>,
        children: &EntriesRaw<'_, Slice<'_>>,
        is_nameless: bool,
    ) {
        const NAMELESS: u8 = 7;
        let first = children.next_offset();
        let Ok(mut raw) = header.entries_raw(&unit.abbreviations, Some(first)) else { return };
        let mut is_first = true;
        while let Ok(Some((name, value))) = entry::enumerator(unit, self.sections, &mut raw) {
            if is_nameless && is_first && !self.is_new(name, NAMELESS) {
                return;
            }
            is_first = false;
            self.enumerators.entry(name.text(self.sections)).or_insert(value);
        }
    }

    fn variable(
        &mut self,
        unit: &Unit<'_>,
        header: &UnitHeader<Slice<'_>>,
        place: u64,
        attributes: &Attributes<'_>,
    ) {
        let mut is_external = attributes.is_external;
        let name = match (attributes.name, attributes.specification) {
            (Some(name), _) => Some(name),
            (None, Some(AttributeValue::UnitRef(other))) => {
                // The declaration that this one defines.
                let Ok(entry) = header.entry(&unit.abbreviations, other) else { return };
                is_external |= entry.has_attr(gimli::DW_AT_external);
                let name = entry.attr(gimli::DW_AT_name);
                let name = name.and_then(|name| unit.name(self.sections, name.raw_value()));
                let Some(name) = name else { return };
                return self.keep(name, is_external, false, place);
            }
            _ => None,
        };
        let Some(name) = name else { return };
        self.keep(name, is_external, attributes.is_declaration, place);
    }

    fn keep(&mut self, name: Name<'_>, is_external: bool, is_declaration: bool, place: u64) {
        const DECLARED: u8 = 4;
        let rank = match (is_external, is_declaration) {
            (true, true) if !self.is_new(name, DECLARED) => return,
            (true, true) => Rank::Declared,
            (true, false) => Rank::Defined,
            (false, true) => return,
            (false, false) => Rank::Own,
        };
        keep(&mut self.variables, name.text(self.sections), rank, place);
    }
}
