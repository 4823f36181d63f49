//! Types from the DWARF of a debug vmlinux.
//!
//! A vmlinux has some thousand units with 150 to 250 MB of entries, and no index. Nothing is read
//! before the first question; then one pass over the outermost entries finds the place of each
//! name, and a type is read with its unit when it is asked for.
//!
//! Source: the DWARF standard, versions 3 to 5.

mod entry;
mod index;
mod sections;
mod units;

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use self::entry::{OFFSET_BITS, Place};
use self::index::Index;
use self::sections::Sections;
use self::units::Unit;
use crate::Error;
use crate::types::{Tag, Type, TypeId, TypeSource};

/// Most bytes of units that are kept.
const MOST_KEPT: usize = 64 << 20;
/// Longest chain of a variable's definition to its declaration.
const MOST_DECLARATIONS: u32 = 4;

/// The types of a file with DWARF.
#[derive(Debug)]
pub struct DwarfTypes {
    sections: Sections,
    starts: OnceLock<Vec<u64>>,
    index: OnceLock<Index>,
    units: RefCell<Units>,
}

/// Units that were read.
#[derive(Debug, Default)]
struct Units {
    kept: HashMap<u64, Rc<Unit<'static>>>,
    bytes: usize,
}

impl DwarfTypes {
    /// The types of an ELF file. Only its small sections are read.
    ///
    /// # Errors
    /// A debug section cannot be read or unpacked.
    pub(crate) fn new<'data>(
        file: &Arc<File>,
        elf: &impl object::Object<'data>,
    ) -> io::Result<Self> {
        let sections = Sections::find(file, elf)?;
        let (starts, index, units) = Default::default();
        Ok(Self { sections, starts, index, units })
    }

    /// The types of the sections `.debug_info`, `.debug_abbrev` and `.debug_str`, for fuzzing.
    #[cfg(any(test, feature = "fake"))]
    pub fn of_sections([info, abbreviations, strings]: [Vec<u8>; 3]) -> Self {
        let sections = Sections {
            info: sections::Section::Memory(info),
            abbreviations,
            strings,
            line_strings: Vec::new(),
            string_offsets: Vec::new(),
        };
        let (starts, index, units) = Default::default();
        Self { sections, starts, index, units }
    }

    fn starts(&self) -> &[u64] {
        self.starts.get_or_init(|| units::starts(&self.sections))
    }

    fn index(&self) -> &Index {
        self.index.get_or_init(|| Index::build(&self.sections, self.starts()))
    }

    /// The unit that has the entry at this offset.
    fn unit(&self, place: u64) -> Result<Rc<Unit<'static>>, Error> {
        let starts = self.starts();
        let next = starts.partition_point(|start| *start <= place);
        let bounds = next.checked_sub(1).and_then(|last| starts.get(last..=next));
        let Some([start, end]) = bounds else { return Err(Error::BadType { number: place }) };
        if let Some(unit) = self.units.borrow().kept.get(start) {
            return Ok(Rc::clone(unit));
        }
        let unit = Rc::new(Unit::read(&self.sections, *start, *end)?.into_owned());
        let mut units = self.units.borrow_mut();
        if units.bytes + unit.length() > MOST_KEPT {
            *units = Units::default();
        }
        units.bytes += unit.length();
        units.kept.insert(*start, Rc::clone(&unit));
        Ok(unit)
    }

    /// The type of the variable that an entry describes.
    fn type_of_variable(&self, mut place: u64) -> Option<TypeId> {
        for _ in 0..MOST_DECLARATIONS {
            let unit = self.unit(place).ok()?;
            let entry = entry::at(&self.sections, &unit, place).ok()?;
            if let Some(of) = entry.reference(gimli::DW_AT_type) {
                return Some(TypeId(of));
            }
            place = entry.reference(gimli::DW_AT_specification)?;
        }
        None
    }
}

impl TypeSource for DwarfTypes {
    fn kind(&self) -> &'static str {
        "DWARF"
    }

    fn get(&self, number: TypeId) -> Result<Type, Error> {
        if number == TypeId::VOID {
            return Ok(Type::Void("void".to_owned()));
        }
        let (place, dimension) = (number.0 & ((1 << OFFSET_BITS) - 1), number.0 >> OFFSET_BITS);
        let unit = self.unit(place)?;
        let entry = entry::at(&self.sections, &unit, place)?;
        if !entry.is_declaration() {
            return entry.describe(dimension as usize);
        }
        let (tag, name) = (tag(&entry), entry.name());
        let whole = tag.and_then(|tag| self.find(tag, &name));
        let Some(whole) = whole else {
            return Ok(Type::Void(tag.map_or(name.clone(), |tag| format!("{tag}{name}"))));
        };
        let unit = self.unit(whole.0)?;
        entry::at(&self.sections, &unit, whole.0)?.describe(0)
    }

    fn find(&self, tag: Tag, name: &str) -> Option<TypeId> {
        self.index().types.get(&(tag, name.to_owned())).copied()
    }

    fn variable(&self, name: &str) -> Option<TypeId> {
        self.type_of_variable(self.index().variables.get(name)?.0)
    }

    fn enumerator(&self, name: &str) -> Option<i64> {
        self.index().enumerators.get(name).copied()
    }

    fn names(&self) -> Vec<(Tag, String)> {
        let names = self.index().types.keys().filter(|(tag, _)| *tag != Tag::Plain);
        names.cloned().collect()
    }
}

/// The tag of a struct, union or enum.
fn tag(of: &Place<'_>) -> Option<Tag> {
    match of.entry.tag() {
        gimli::DW_TAG_structure_type | gimli::DW_TAG_class_type => Some(Tag::Struct),
        gimli::DW_TAG_union_type => Some(Tag::Union),
        gimli::DW_TAG_enumeration_type => Some(Tag::Enum),
        _ => None,
    }
}
