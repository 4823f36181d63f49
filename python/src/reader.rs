//! Readers: the way from an address to a value of Python, worked out once for each C type.

use std::rc::Rc;

use postmortem::{Error, Field, Type, TypeId, Types};
use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::array::FlexArray;
use crate::error::OrException;
use crate::pointers;
use crate::session::Session;

/// Most elements of an array that becomes a list; longer ones are read element by element.
const MOST_ELEMENTS: u64 = 1 << 16;
/// Most bytes of an array that becomes a list.
const MOST_BYTES: u64 = 4 << 20;
/// Bytes that are read of a text behind a pointer (PyKdump, section 2.4.3).
const TEXT: usize = 256;
/// Bytes of a page: a text ends where memory ends.
const PAGE: u64 = 4096;

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
            Type::Compound(_) => Self::Struct(Declared { of: plain, name: of }),
            Type::Pointer(to) => Self::of_pointer(types, plain, *to)?,
            Type::Array(element, count) => Self::of_array(types, *element, *count)?,
            Type::Void(name) => Self::Opaque(name.clone()),
            Type::Typedef(..) | Type::Qualified(_) => return Err(Error::BadType { number: of.0 }),
        })
    }

    fn of_pointer(types: &Types, pointer: TypeId, to: TypeId) -> Result<Self, Error> {
        let (target, found) = types.plain(to)?;
        Ok(match &*found {
            Type::Compound(_) => Self::StructPointer(Declared { of: target, name: to }),
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
            Some(count @ 1..=MOST_ELEMENTS) if stride * count <= MOST_BYTES => {
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

    /// The value at a virtual address.
    pub(crate) fn read(&self, py: Python<'_>, session: &Rc<Session>, at: u64) -> PyResult<Value> {
        let kernel = session.kernel();
        match self {
            Self::Number { size, is_signed } => number(py, session, at, *size, *is_signed),
            Self::Bits { shift, count, is_signed } => {
                let mut bytes = [0; 16];
                let length = (shift + count).div_ceil(8) as usize;
                kernel.read(at, &mut bytes[..length]).or_exception()?;
                let left = 64 - count.clamp(&1, &64);
                let value = ((u128::from_le_bytes(bytes) >> shift) as u64) << left;
                match is_signed {
                    true => (value as i64 >> left).into_py_any(py),
                    false => (value >> left).into_py_any(py),
                }
            }
            Self::Float(size) => {
                let mut bytes = [0; 8];
                let size = (*size).min(8);
                kernel.read(at, &mut bytes[..size]).or_exception()?;
                let (single, double) =
                    (u64::from_le_bytes(bytes) as u32, f64::from_le_bytes(bytes));
                if size == 4 {
                    f32::from_bits(single).into_py_any(py)
                } else {
                    double.into_py_any(py)
                }
            }
            Self::Struct(of) => session.object(py, *of, at),
            Self::StructPointer(of) => {
                let to = kernel.word(at).or_exception()?;
                session.object(py, *of, to)
            }
            Self::Pointer(of) => {
                let to = kernel.word(at).or_exception()?;
                pointers::pointer(py, session, *of, to, Some(at))
            }
            Self::Text(length) => {
                let mut bytes = vec![0; *length];
                kernel.read(at, &mut bytes).or_exception()?;
                pointers::text(py, &bytes, at, at)
            }
            Self::TextPointer => {
                let to = kernel.word(at).or_exception()?;
                pointers::text(py, &text_at(session, to)?, at, to)
            }
            Self::Array { element, stride, count } => {
                element.list(py, session, at, *stride, *count)
            }
            Self::Flexible { element, count } => {
                FlexArray::new(session, *element, at, *count).or_exception()?.into_py_any(py)
            }
            Self::Opaque(name) => {
                let text = format!("{name} at {at:#x} has no value: its type is not described");
                Err(Error::Missing(text)).or_exception()
            }
        }
    }

    /// All elements; numbers are read at once.
    fn list(
        &self,
        py: Python<'_>,
        session: &Rc<Session>,
        at: u64,
        stride: u64,
        count: u64,
    ) -> PyResult<Value> {
        if let Self::Number { size, is_signed: false } = self
            && *size as u64 == stride
            && *size <= 8
        {
            let mut bytes = vec![0; *size * count as usize];
            session.kernel().read(at, &mut bytes).or_exception()?;
            let numbers = bytes.chunks_exact(*size).map(|chunk| {
                let mut word = [0; 8];
                word[..*size].copy_from_slice(chunk);
                u64::from_le_bytes(word)
            });
            return PyList::new(py, numbers.collect::<Vec<_>>())?.into_py_any(py);
        }
        let place = |index: u64| at.wrapping_add(stride.wrapping_mul(index));
        let elements: PyResult<Vec<_>> =
            (0..count).map(|index| self.read(py, session, place(index))).collect();
        PyList::new(py, elements?)?.into_py_any(py)
    }
}

/// Any value of Python.
pub(crate) type Value = Py<PyAny>;

fn number(
    py: Python<'_>,
    session: &Rc<Session>,
    at: u64,
    size: usize,
    is_signed: bool,
) -> PyResult<Value> {
    let kernel = session.kernel();
    if size > 8 {
        let mut bytes = [0; 16];
        kernel.read(at, &mut bytes[..size]).or_exception()?;
        let value = u128::from_le_bytes(bytes);
        return if is_signed { (value as i128).into_py_any(py) } else { value.into_py_any(py) };
    }
    let value = kernel.number(at, size).or_exception()?;
    if !is_signed {
        return value.into_py_any(py);
    }
    let shift = 64 - 8 * size as u32;
    (((value << shift) as i64) >> shift).into_py_any(py)
}

/// The bytes at a pointer to text, NULs among them: [`TEXT`], fewer where memory ends.
fn text_at(session: &Session, at: u64) -> PyResult<Vec<u8>> {
    let mut bytes = vec![0; TEXT];
    let in_page = ((PAGE - at % PAGE) as usize).min(TEXT);
    let kernel = session.kernel();
    if at == 0 {
        return Ok(Vec::new());
    }
    kernel.read(at, &mut bytes[..in_page]).or_exception()?;
    let rest = at.wrapping_add(in_page as u64);
    if in_page < TEXT && kernel.read(rest, &mut bytes[in_page..]).is_err() {
        bytes.truncate(in_page);
    }
    Ok(bytes)
}
