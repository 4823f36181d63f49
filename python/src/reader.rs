//! Readers: the way to read values of a C type, worked out once for each type. `values` goes it.

use postmortem::{Compound, Error, Field, Type, TypeId, Types};

/// Most elements of an array that becomes a list; longer ones are read element by element.
const MOST_ELEMENTS: u64 = 1 << 16;
/// Most bytes of an array that becomes a list.
const MOST_BYTES: u64 = 4 << 20;

/// A struct or union: its type, and the type with the name that C uses for it, which may be a
/// typedef.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Declared {
    pub(crate) of: TypeId,
    pub(crate) name: TypeId,
}

impl From<TypeId> for Declared {
    fn from(of: TypeId) -> Self {
        Self { of, name: of }
    }
}

/// The way to read values of one C type.
#[derive(Clone, Debug)]
pub(crate) enum Reader {
    /// An integer, an enum or a `bool` of this many bytes.
    Number { size: usize, is_signed: bool },
    /// A bitfield: bits from the address on, number of bits.
    Bits { shift: u32, count: u32, is_signed: bool },
    /// A floating-point number of this many bytes.
    Float(usize),
    /// A struct or union.
    Struct(Declared),
    /// A pointer to a struct or union of this type.
    StructPointer(Declared),
    /// Any other pointer, of this type.
    Pointer(TypeId),
    /// `char [n]`.
    Text(usize),
    /// `char *`.
    TextPointer,
    /// An array: bytes from element to element, number of elements.
    Array { element: Box<Self>, stride: u64, count: u64 },
    /// An array of no known length, or a long one: of elements of this type.
    Flexible { element: TypeId, count: Option<u64> },
    /// `void`, a function, a type that is only declared: its name.
    Opaque(String),
}

impl Reader {
    /// # Errors
    /// [`Error::BadType`].
    pub(crate) fn of(types: &Types, of: TypeId) -> Result<Self, Error> {
        let (plain, found) = types.plain(of)?;
        Ok(match &*found {
            Type::Integer(integer) => Self::Number {
                size: integer.size.clamp(1, 16) as usize,
                is_signed: integer.is_signed,
            },
            Type::Enumeration(enumeration) => Self::Number {
                size: enumeration.size.clamp(1, 8) as usize,
                is_signed: enumeration.values.iter().any(|(_, value)| *value < 0),
            },
            Type::Float(_, size) => Self::Float((*size).min(16) as usize),
            Type::Compound(compound) => {
                Self::Struct(Declared { of: canonical(types, plain, compound), name: of })
            }
            Type::Pointer(to) => Self::of_pointer(types, plain, *to)?,
            Type::Array(element, count) => Self::of_array(types, *element, *count)?,
            Type::Void(name) => Self::Opaque(name.clone()),
            Type::Typedef(..) | Type::Qualified(_) => return Err(Error::BadType { number: of.0 }),
        })
    }

    fn of_pointer(types: &Types, pointer: TypeId, to: TypeId) -> Result<Self, Error> {
        let (target, found) = types.plain(to)?;
        Ok(match &*found {
            Type::Compound(compound) => {
                Self::StructPointer(Declared { of: canonical(types, target, compound), name: to })
            }
            Type::Integer(integer) if integer.is_char() => Self::TextPointer,
            _ => Self::Pointer(pointer),
        })
    }

    fn of_array(types: &Types, element: TypeId, count: Option<u64>) -> Result<Self, Error> {
        let stride = types.size(element)?;
        if let (Type::Integer(integer), Some(count @ 1..=MOST_ELEMENTS)) =
            (&*types.plain(element)?.1, count)
            && integer.is_char()
        {
            return Ok(Self::Text(count as usize));
        }
        match count {
            // Elements of no bytes could be without number.
            Some(count @ 1..=MOST_ELEMENTS)
                if stride > 0 && stride.checked_mul(count).is_some_and(|all| all <= MOST_BYTES) =>
            {
                let element = Box::new(Self::of(types, element)?);
                Ok(Self::Array { element, stride, count })
            }
            _ => Ok(Self::Flexible { element, count: count.filter(|count| *count > 0) }),
        }
    }

    /// # Errors
    /// [`Error::BadType`].
    pub(crate) fn of_field(types: &Types, field: Field) -> Result<Self, Error> {
        let whole = Self::of(types, field.of)?;
        Ok(match (field.bit_size, &whole) {
            (Some(count), Self::Number { is_signed, .. }) => Self::Bits {
                shift: (field.bits % 8) as u32,
                count: count.min(64),
                is_signed: *is_signed,
            },
            _ => whole,
        })
    }
}

/// The number of a struct that all of its kind share. DWARF describes a struct anew in each unit
/// that uses it; objects of all units are of one class.
fn canonical(types: &Types, of: TypeId, compound: &Compound) -> TypeId {
    if compound.name.is_empty() || types.kinds().all(|kind| kind == "BTF") {
        return of;
    }
    let same = types.find(&format!("{}{}", compound.tag, compound.name)).ok();
    same.filter(|same| types.size(*same).is_ok_and(|size| size == compound.size)).unwrap_or(of)
}
