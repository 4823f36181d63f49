//! The class `CType`: a type as the kernel's debug information has it.

use std::rc::Rc;

use postmortem::{Tag, Type, TypeId};
use pyo3::prelude::*;

use crate::error::OrException;
use crate::session::{Session, Value};

/// A C type.
#[pyclass(unsendable, frozen, module = "kdump")]
pub(crate) struct CType {
    pub(crate) session: Rc<Session>,
    pub(crate) of: TypeId,
}

/// A member of a struct or union: its name (empty for an anonymous one), type, offset in bits,
/// and size in bits of a bitfield.
type MemberTuple = (String, CType, u64, Option<u32>);

impl CType {
    pub(crate) fn new(session: &Rc<Session>, of: TypeId) -> Self {
        Self { session: Rc::clone(session), of }
    }

    fn get(&self) -> PyResult<Rc<Type>> {
        self.session.kernel().types().get(self.of).or_exception()
    }
}

#[pymethods]
impl CType {
    /// The type as C writes it: `struct list_head *`.
    #[getter]
    fn name(&self) -> String {
        self.session.kernel().types().name(self.of)
    }

    /// `struct`, `union`, `enum`, `int`, `bool`, `float`, `pointer`, `array`, `typedef`,
    /// `qualified` (const, volatile), `function` or `void` (also types that are only declared).
    #[getter]
    fn kind(&self) -> PyResult<&'static str> {
        Ok(match &*self.get()? {
            // Of a function, neither a name nor more is kept.
            Type::Void(name) if name.is_empty() => "function",
            Type::Void(_) => "void",
            Type::Integer(integer) if integer.is_bool() => "bool",
            Type::Integer(_) => "int",
            Type::Float(..) => "float",
            Type::Pointer(_) => "pointer",
            Type::Array(..) => "array",
            Type::Compound(compound) if compound.tag == Tag::Union => "union",
            Type::Compound(_) => "struct",
            Type::Enumeration(_) => "enum",
            Type::Typedef(..) => "typedef",
            Type::Qualified(_) => "qualified",
        })
    }

    /// Size in bytes; 0 for void and for a flexible array.
    #[getter]
    fn size(&self) -> PyResult<u64> {
        self.session.kernel().types().size(self.of).or_exception()
    }

    /// True for an integer or an enum with a sign.
    #[getter]
    fn is_signed(&self) -> PyResult<bool> {
        Ok(match &*self.get()? {
            Type::Integer(integer) => integer.is_signed,
            Type::Enumeration(found) => found.values.iter().any(|(_, value)| *value < 0),
            _ => false,
        })
    }

    /// The members of a struct or union in the order of the source: name (empty for an anonymous
    /// struct or union), type, offset in bits, and the size in bits of a bitfield, else None.
    #[getter]
    fn members(&self) -> PyResult<Vec<MemberTuple>> {
        let Type::Compound(compound) = &*self.get()? else { return Ok(Vec::new()) };
        let member = |member: &postmortem::Member| {
            let of = Self::new(&self.session, member.of);
            (member.name.clone(), of, member.bits, member.bit_size)
        };
        Ok(compound.members.iter().map(member).collect())
    }

    /// The type that a pointer points to, or that a typedef or a qualifier stands for, or that of
    /// the elements of an array; else None.
    #[getter]
    fn target(&self) -> PyResult<Option<Self>> {
        Ok(match &*self.get()? {
            Type::Pointer(of) | Type::Array(of, _) | Type::Typedef(_, of) | Type::Qualified(of) => {
                Some(Self::new(&self.session, *of))
            }
            _ => None,
        })
    }

    /// The number of elements of an array; None for a flexible one and for other types.
    #[getter]
    fn count(&self) -> PyResult<Option<u64>> {
        Ok(if let Type::Array(_, count) = &*self.get()? { *count } else { None })
    }

    /// Names and values of an enum.
    #[getter]
    fn enumerators(&self) -> PyResult<Vec<(String, i64)>> {
        let Type::Enumeration(found) = &*self.get()? else { return Ok(Vec::new()) };
        Ok(found.values.clone())
    }

    /// The value of this type at a virtual address.
    fn read(&self, py: Python<'_>, address: u64) -> PyResult<Value> {
        self.session.value(py, self.of, address)
    }

    fn __repr__(&self) -> String {
        format!("<CType {}>", self.name())
    }

    fn __eq__(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.session, &other.session) && self.of == other.of
    }

    fn __hash__(&self) -> u64 {
        self.of.0
    }
}
