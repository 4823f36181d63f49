//! Questions about types: sizes, members, names.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use super::model::{Compound, Tag, Type, TypeId, TypeSource};
use crate::Error;

/// Deepest nesting of typedefs, arrays and anonymous members that is followed.
const DEEPEST: u32 = 32;
/// Most members that are looked at for one name.
const MOST_MEMBERS: u32 = 64 << 10;
/// Bits of a number that its source has; those above it are the number of the source.
const SOURCE_BITS: u32 = 56;
/// The source of types that were spelled: pointers and arrays.
const SPELLED: u64 = 0xff;
/// Names of C's types, and their names in debug information.
const SPELLINGS: [(&str, &str); 7] = [
    ("unsigned long", "long unsigned int"),
    ("unsigned long long", "long long unsigned int"),
    ("unsigned", "unsigned int"),
    ("unsigned short", "short unsigned int"),
    ("long", "long int"),
    ("long long", "long long int"),
    ("bool", "_Bool"),
];

/// A member of a struct or union, or of one in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its type.
    pub of: TypeId,
    /// Offset in bits.
    pub bits: u64,
    /// Size in bits of a bitfield.
    pub bit_size: Option<u32>,
}

/// The types of a kernel, from all sources that there are.
#[derive(Debug)]
pub struct Types {
    /// Bytes of a pointer.
    pub word: u64,
    sources: Vec<Box<dyn TypeSource>>,
    spelled: RefCell<Vec<Rc<Type>>>,
    types: RefCell<HashMap<TypeId, Rc<Type>>>,
    fields: RefCell<HashMap<TypeId, HashMap<String, Option<Field>>>>,
}

impl Types {
    /// The types of `sources`; an earlier one is asked first.
    pub fn new(word: u64, sources: Vec<Box<dyn TypeSource>>) -> Self {
        let (spelled, types, fields) = Default::default();
        Self { word, sources, spelled, types, fields }
    }

    /// Names of the sources: `BTF`, `DWARF`.
    pub fn kinds(&self) -> impl Iterator<Item = &'static str> {
        self.sources.iter().map(|source| source.kind())
    }

    /// The type with this number.
    ///
    /// # Errors
    /// [`Error::BadType`].
    pub fn get(&self, number: TypeId) -> Result<Rc<Type>, Error> {
        if let Some(found) = self.types.borrow().get(&number) {
            return Ok(Rc::clone(found));
        }
        let (source, own) = (number.0 >> SOURCE_BITS, number.0 & ((1 << SOURCE_BITS) - 1));
        if let (SPELLED, Some(found)) = (source, self.spelled.borrow().get(own as usize)) {
            return Ok(Rc::clone(found));
        }
        let found = match self.sources.get(source as usize) {
            Some(of) => numbered(source, of.get(TypeId(own))?),
            None => Type::Void("void".to_owned()),
        };
        let found = Rc::new(found);
        self.types.borrow_mut().insert(number, Rc::clone(&found));
        Ok(found)
    }

    /// The type with this name: `struct list_head`, `pid_t`; the tag may be left out.
    ///
    /// # Errors
    /// [`Error::NoType`].
    pub fn find(&self, name: &str) -> Result<TypeId, Error> {
        let (tag, plain) = Tag::split(name);
        let tags = match tag {
            Tag::Plain => &[Tag::Plain, Tag::Struct, Tag::Union, Tag::Enum][..],
            _ => &[tag],
        };
        let found = tags.iter().find_map(|tag| self.first(|source| source.find(*tag, plain)));
        found.ok_or_else(|| Error::NoType(name.to_owned()))
    }

    /// The type that C spells so: a name, `*`s and `[]`s after it, as in `struct sock *[2]`.
    ///
    /// # Errors
    /// [`Error::NoType`].
    pub fn spelled(&self, text: &str) -> Result<TypeId, Error> {
        let end = text.find(['*', '[']).unwrap_or(text.len());
        let (name, mut rest) = (text[..end].trim(), text[end..].trim());
        let plain = SPELLINGS.iter().find(|(other, _)| *other == name);
        let mut of = match plain.map_or(name, |(_, plain)| *plain) {
            "void" => TypeId::VOID,
            plain => self.find(plain)?,
        };
        while let Some(after) = rest.strip_prefix('*') {
            of = self.make(Type::Pointer(of));
            rest = after.trim_start();
        }
        let mut counts = Vec::new();
        let wrong = || Error::NoType(text.to_owned());
        while !rest.is_empty() {
            let inner = rest.strip_prefix('[').and_then(|rest| rest.split_once(']'));
            let (count, after) = inner.ok_or_else(wrong)?;
            counts.push(match count.trim() {
                "" => None,
                count => Some(count.parse().map_err(|_| wrong())?),
            });
            rest = after.trim_start();
        }
        let of = counts.into_iter().rev().fold(of, |of, count| self.make(Type::Array(of, count)));
        Ok(of)
    }

    /// Number of a pointer or array that no source has.
    fn make(&self, made: Type) -> TypeId {
        let mut spelled = self.spelled.borrow_mut();
        let is_same = |other: &Rc<Type>| match (&made, &**other) {
            (Type::Pointer(one), Type::Pointer(other)) => one == other,
            (Type::Array(one, count), Type::Array(other, length)) => {
                (one, count) == (other, length)
            }
            _ => false,
        };
        let place = spelled.iter().position(is_same).unwrap_or(spelled.len());
        if place == spelled.len() {
            spelled.push(Rc::new(made));
        }
        TypeId(SPELLED << SOURCE_BITS | place as u64)
    }

    /// True if there is a type with this name.
    pub fn has(&self, name: &str) -> bool {
        self.find(name).is_ok()
    }

    /// The type of a variable, if a source has it.
    pub fn variable(&self, name: &str) -> Option<TypeId> {
        self.first(|source| source.variable(name))
    }

    /// The value of an enumerator of any enum.
    ///
    /// # Errors
    /// [`Error::NoType`].
    pub fn enumerator(&self, name: &str) -> Result<i64, Error> {
        let found = self.sources.iter().find_map(|source| source.enumerator(name));
        found.ok_or_else(|| Error::NoType(name.to_owned()))
    }

    /// The enum that has this enumerator, if a source notes it.
    pub fn enumeration(&self, name: &str) -> Option<TypeId> {
        self.first(|source| source.enumeration(name))
    }

    /// Names of all structs and unions.
    pub fn names(&self) -> Vec<(Tag, String)> {
        let mut names: Vec<_> = self.sources.iter().flat_map(|source| source.names()).collect();
        names.sort_by(|(_, one), (_, other)| one.cmp(other));
        names.dedup();
        names
    }

    fn first(&self, find: impl Fn(&dyn TypeSource) -> Option<TypeId>) -> Option<TypeId> {
        let sources = (0..).zip(&self.sources);
        let mut found = sources.filter_map(|(number, source)| {
            Some(TypeId(find(source.as_ref())?.0 | number << SOURCE_BITS))
        });
        found.next()
    }

    /// The type below typedefs and qualifiers.
    ///
    /// # Errors
    /// [`Error::BadType`].
    pub fn plain(&self, mut number: TypeId) -> Result<(TypeId, Rc<Type>), Error> {
        for _ in 0..DEEPEST {
            let found = self.get(number)?;
            match &*found {
                Type::Typedef(_, other) | Type::Qualified(other) => number = *other,
                _ => return Ok((number, found)),
            }
        }
        Err(Error::BadType { number: number.0 })
    }

    /// Size in bytes; 0 for `void` and for a flexible array.
    ///
    /// # Errors
    /// [`Error::BadType`].
    pub fn size(&self, number: TypeId) -> Result<u64, Error> {
        let (mut number, mut count) = (number, 1_u64);
        for _ in 0..DEEPEST {
            let (own, found) = self.plain(number)?;
            let size = match &*found {
                Type::Void(_) => 0,
                Type::Integer(integer) => integer.size,
                Type::Float(_, size) => *size,
                Type::Pointer(_) => self.word,
                Type::Compound(compound) => compound.size,
                Type::Enumeration(enumeration) => enumeration.size,
                Type::Array(element, length) => {
                    let more = count.checked_mul(length.unwrap_or(0));
                    count = more.ok_or(Error::BadType { number: own.0 })?;
                    number = *element;
                    continue;
                }
                Type::Typedef(..) | Type::Qualified(_) => 0,
            };
            return count.checked_mul(size).ok_or(Error::BadType { number: own.0 });
        }
        Err(Error::BadType { number: number.0 })
    }

    /// The struct or union that a type is.
    ///
    /// # Errors
    /// [`Error::BadType`]; [`Error::NoMember`] for a type without members.
    pub fn compound(&self, number: TypeId) -> Result<std::sync::Arc<Compound>, Error> {
        match &*self.plain(number)?.1 {
            Type::Compound(compound) => Ok(compound.clone()),
            _ => Err(Error::NoMember { of: self.name(number), member: "at all".to_owned() }),
        }
    }

    /// The member with this name: `pid`, or that of a struct in it, `thread.sp`. Members of
    /// anonymous structs and unions count as those of the outer one.
    ///
    /// # Errors
    /// [`Error::NoMember`], [`Error::BadType`].
    pub fn field(&self, of: TypeId, path: &str) -> Result<Field, Error> {
        let known = self.fields.borrow().get(&of).and_then(|fields| fields.get(path)).copied();
        let found = match known {
            Some(found) => found,
            None => {
                let found = self.search(of, path)?;
                let mut fields = self.fields.borrow_mut();
                fields.entry(of).or_default().insert(path.to_owned(), found);
                found
            }
        };
        found.ok_or_else(|| Error::NoMember { of: self.name(of), member: path.to_owned() })
    }

    /// True if the type has this member.
    pub fn has_field(&self, of: &str, path: &str) -> bool {
        self.find(of).is_ok_and(|of| self.field(of, path).is_ok())
    }

    /// Offset in bytes of a member of the type with this name.
    ///
    /// # Errors
    /// [`Error::NoType`], [`Error::NoMember`], [`Error::BadType`].
    pub fn offset(&self, of: &str, path: &str) -> Result<u64, Error> {
        Ok(self.field(self.find(of)?, path)?.bits / 8)
    }

    fn search(&self, of: TypeId, path: &str) -> Result<Option<Field>, Error> {
        let mut whole = Field { of, bits: 0, bit_size: None };
        for name in path.split('.') {
            let (name, index) = match name.strip_suffix(']').and_then(|name| name.split_once('[')) {
                Some((name, index)) => (name, index.parse::<u64>().ok()),
                None => (name, None),
            };
            let mut left = MOST_MEMBERS;
            let Some(mut field) = self.member(whole.of, name, DEEPEST, &mut left)? else {
                return Ok(None);
            };
            if let Some(index) = index {
                let (Type::Array(element, _), 0) = (&*self.plain(field.of)?.1, field.bits % 8)
                else {
                    return Ok(None);
                };
                let distance =
                    self.size(*element)?.checked_mul(8).and_then(|b| b.checked_mul(index));
                field.bits = field.bits.saturating_add(distance.unwrap_or(u64::MAX));
                field.of = *element;
            }
            whole = Field { bits: whole.bits.saturating_add(field.bits), ..field };
        }
        Ok(Some(whole))
    }

    fn member(
        &self,
        of: TypeId,
        name: &str,
        deepest: u32,
        left: &mut u32,
    ) -> Result<Option<Field>, Error> {
        let (own, found) = self.plain(of)?;
        let Type::Compound(compound) = &*found else { return Ok(None) };
        for member in &compound.members {
            *left = left.checked_sub(1).ok_or(Error::BadType { number: own.0 })?;
            let bits = member.bits;
            if member.name == name {
                return Ok(Some(Field { of: member.of, bits, bit_size: member.bit_size }));
            }
            if member.name.is_empty() {
                let deeper = deepest.checked_sub(1).ok_or(Error::BadType { number: own.0 })?;
                if let Some(field) = self.member(member.of, name, deeper, left)? {
                    return Ok(Some(Field { bits: bits.saturating_add(field.bits), ..field }));
                }
            }
        }
        Ok(None)
    }

    /// The type as C writes it: `struct list_head *`, `char [16]`.
    pub fn name(&self, number: TypeId) -> String {
        let (mut number, mut before, mut after) = (number, String::new(), String::new());
        for _ in 0..DEEPEST {
            let Ok(found) = self.get(number) else { break };
            let name = match &*found {
                Type::Pointer(to) => {
                    before.insert(0, '*');
                    number = *to;
                    continue;
                }
                Type::Array(element, count) => {
                    let count = count.map(|count| count.to_string()).unwrap_or_default();
                    after.push_str(&format!("[{count}]"));
                    number = *element;
                    continue;
                }
                Type::Qualified(of) => {
                    number = *of;
                    continue;
                }
                Type::Compound(compound) => format!("{}{}", compound.tag, compound.name),
                Type::Enumeration(enumeration) => format!("enum {}", enumeration.name),
                Type::Integer(integer) => integer.name.clone(),
                Type::Void(name) if name.is_empty() => "void".to_owned(),
                Type::Void(name) | Type::Float(name, _) | Type::Typedef(name, _) => name.clone(),
            };
            let space = if before.is_empty() && after.is_empty() { "" } else { " " };
            return format!("{}{space}{before}{after}", name.trim_end());
        }
        "?".to_owned()
    }
}

/// The type with numbers that name its source.
fn numbered(source: u64, found: Type) -> Type {
    let number = |id: TypeId| match id {
        TypeId::VOID => id,
        TypeId(own) => TypeId(own | source << SOURCE_BITS),
    };
    match found {
        Type::Pointer(to) => Type::Pointer(number(to)),
        Type::Array(of, count) => Type::Array(number(of), count),
        Type::Typedef(name, of) => Type::Typedef(name, number(of)),
        Type::Qualified(of) => Type::Qualified(number(of)),
        Type::Compound(mut compound) if source > 0 => {
            for member in &mut std::sync::Arc::make_mut(&mut compound).members {
                member.of = number(member.of);
            }
            Type::Compound(compound)
        }
        other => other,
    }
}
