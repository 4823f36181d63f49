//! Types as C has them, whatever describes them.

use std::fmt;
use std::sync::Arc;

use crate::Error;

/// Number of a type in its source. 0 is `void`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TypeId(pub u64);

impl TypeId {
    /// No type, or one that is not described.
    pub const VOID: Self = Self(0);
}

/// The word before a type's name in C.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tag {
    /// `struct`
    Struct,
    /// `union`
    Union,
    /// `enum`
    Enum,
    /// None: a typedef or a type of the language.
    Plain,
}

impl Tag {
    /// Splits `struct list_head` into the tag and the name.
    pub fn split(name: &str) -> (Self, &str) {
        let name = name.trim();
        let tags = [(Self::Struct, "struct "), (Self::Union, "union "), (Self::Enum, "enum ")];
        let found = tags.iter().find_map(|(tag, word)| Some((*tag, name.strip_prefix(word)?)));
        found.map_or((Self::Plain, name), |(tag, name)| (tag, name.trim()))
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Struct => "struct ",
            Self::Union => "union ",
            Self::Enum => "enum ",
            Self::Plain => "",
        })
    }
}

/// A type.
#[derive(Clone, Debug)]
pub enum Type {
    /// `void`, a function, or a type that is only declared (with its name).
    Void(String),
    /// An integer, `char` and `bool`.
    Integer(Integer),
    /// A floating-point number of this name and size in bytes.
    Float(String, u64),
    /// A pointer to this type.
    Pointer(TypeId),
    /// `element[count]`; [`None`] is a flexible array. BTF of Linux has an array of arrays as one
    /// of all elements (pahole writes it so); DWARF has it as C does.
    Array(TypeId, Option<u64>),
    /// A struct or union.
    Compound(Arc<Compound>),
    /// An enum.
    Enumeration(Arc<Enumeration>),
    /// Another name of a type.
    Typedef(String, TypeId),
    /// `const`, `volatile` and the like, which change no byte.
    Qualified(TypeId),
}

/// An integer.
#[derive(Clone, Debug)]
pub struct Integer {
    /// Its name in C.
    pub name: String,
    /// Its size in bytes, at most 16.
    pub size: u64,
    /// True for `int`, false for `unsigned int`.
    pub is_signed: bool,
}

impl Integer {
    /// True for a character of text: `char`, signed by the compiler's choice.
    pub fn is_char(&self) -> bool {
        self.size == 1 && self.name == "char"
    }

    /// True for `_Bool`.
    pub fn is_bool(&self) -> bool {
        self.size == 1 && self.name.ends_with("ool")
    }
}

/// A struct or union.
#[derive(Clone, Debug)]
pub struct Compound {
    /// [`Tag::Struct`] or [`Tag::Union`].
    pub tag: Tag,
    /// Its name; empty if it has none.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its members, in the order of the source.
    pub members: Vec<Member>,
}

/// A member of a struct or union.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its name; empty for an anonymous struct or union, whose members count as those of this one.
    pub name: String,
    /// Its type.
    pub of: TypeId,
    /// Offset in bits.
    pub bits: u64,
    /// Size in bits of a bitfield.
    pub bit_size: Option<u32>,
}

/// An enum.
#[derive(Clone, Debug)]
pub struct Enumeration {
    /// Its name; empty if it has none.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its names and values.
    pub values: Vec<(String, i64)>,
}

impl Enumeration {
    /// The first name of this value.
    pub fn name_of(&self, value: i64) -> Option<&str> {
        self.values.iter().find(|(_, other)| *other == value).map(|(name, _)| name.as_str())
    }
}

/// Debug information of one kind.
pub trait TypeSource: fmt::Debug {
    /// Name of the kind: `BTF` or `DWARF`.
    fn kind(&self) -> &'static str;

    /// The type with this number.
    ///
    /// # Errors
    /// [`Error::BadType`] for a number or description that cannot be.
    fn get(&self, number: TypeId) -> Result<Type, Error>;

    /// The type with this tag and name that is described whole, not only declared.
    fn find(&self, tag: Tag, name: &str) -> Option<TypeId>;

    /// The type of a global or per-CPU variable.
    fn variable(&self, name: &str) -> Option<TypeId>;

    /// The value of an enumerator of any enum, as `PGDAT_DIRTY` or `NR_FREE_PAGES`.
    fn enumerator(&self, name: &str) -> Option<i64>;

    /// The enum that has this enumerator, from a source that notes it.
    fn enumeration(&self, _name: &str) -> Option<TypeId> {
        None
    }

    /// Names of all structs and unions, for completion.
    fn names(&self) -> Vec<(Tag, String)>;
}
