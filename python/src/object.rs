//! Objects of C structs: the class `StructResult`, below it one class for each type, and the
//! descriptors of their fields (PyKdump, sections 2.1 to 2.5).

use std::cell::OnceCell;
use std::rc::{Rc, Weak};

use postmortem::{Compound, Error, Field, Type, TypeId, Types};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyType};

use crate::error::{OrException, exception};
use crate::reader::{Declared, Reader};
use crate::session::{Class, Session, Value};

/// Most members of one class.
const MOST_MEMBERS: usize = 64 << 10;
/// Deepest nesting of anonymous structs.
const DEEPEST: u32 = 32;
/// The prime that Python's hash of an integer is modulo.
const HASH: u64 = (1 << 61) - 1;

/// A struct or union in the dead kernel's memory, or a pointer to one: its attributes are the
/// members of C. A pointer of NULL is false.
#[pyclass(unsendable, frozen, subclass, module = "kdump")]
pub(crate) struct StructResult {
    pub(crate) session: Rc<Session>,
    pub(crate) of: TypeId,
    pub(crate) at: u64,
}

/// The type of a class, which only this module can make: users get objects from a dump.
#[pyclass(unsendable, frozen)]
pub(crate) struct Maker {
    session: Weak<Session>,
    of: TypeId,
}

#[pymethods]
impl StructResult {
    #[new]
    fn new(maker: &Bound<'_, PyAny>, address: u64) -> PyResult<Self> {
        let Ok(maker) = maker.cast::<Maker>() else {
            let text = "objects come from a dump: dump.object(\"struct x\", address), readSU()";
            return Err(PyTypeError::new_err(text));
        };
        let maker = maker.borrow();
        let session = maker.session.upgrade().ok_or_else(|| exception(closed()))?;
        Ok(Self { session, of: maker.of, at: address })
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        Ok(format!("<{} {:#x}>", slf.get_type().name()?, slf.borrow().at))
    }

    /// The struct that many places behind this one, as `p[3]` in C.
    fn __getitem__(&self, py: Python<'_>, index: i64) -> PyResult<Value> {
        let size = self.session.kernel().types().size(self.of).or_exception()?;
        let distance = size.wrapping_mul(index as u64);
        object(py, &self.session, self.of, self.at.wrapping_add(distance))
    }

    fn __bool__(&self) -> bool {
        self.at != 0
    }

    fn __index__(&self) -> u64 {
        self.at
    }

    fn __int__(&self) -> u64 {
        self.at
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        match other.cast::<Self>() {
            Ok(other) => {
                let other = other.borrow();
                (self.at, self.of) == (other.at, other.of)
                    && Rc::ptr_eq(&self.session, &other.session)
            }
            Err(_) => other.extract::<u64>().is_ok_and(|other| other == self.at),
        }
    }

    /// As the integer of the same value, since both may be equal.
    fn __hash__(&self) -> u64 {
        self.at % HASH
    }
}

/// A member of a class, or a chain of members behind one name (a pseudo-attribute).
#[pyclass(unsendable, frozen, module = "kdump")]
pub(crate) struct Attribute {
    /// The members as C writes them.
    path: String,
    /// Offsets in bytes of pointers on the way, each counted from the struct before.
    hops: Vec<u64>,
    last: Field,
    reader: OnceCell<Reader>,
}

#[pymethods]
impl Attribute {
    fn __get__(
        slf: &Bound<'_, Self>,
        instance: Option<&Bound<'_, PyAny>>,
        _owner: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Value> {
        let py = slf.py();
        let Some(instance) = instance else { return Ok(slf.clone().into_any().unbind()) };
        let object = instance.cast::<StructResult>()?.borrow();
        slf.borrow().read(py, &object)
    }

    fn __repr__(&self) -> String {
        format!("<member {} at {}>", self.path, self.last.bits / 8)
    }
}

impl Attribute {
    fn read(&self, py: Python<'_>, object: &StructResult) -> PyResult<Value> {
        let kernel = object.session.kernel();
        let mut at = object.at;
        let null = || {
            let of = kernel.types().name(object.of);
            exception(Error::Null(format!("{of}, whose member {} was read,", self.path)))
        };
        for hop in &self.hops {
            if at == 0 {
                return Err(null());
            }
            at = kernel.word(at.wrapping_add(*hop)).or_exception()?;
        }
        if at == 0 {
            return Err(null());
        }
        let reader = match self.reader.get() {
            Some(reader) => reader,
            None => {
                let made = Reader::of_field(kernel.types(), self.last).or_exception()?;
                self.reader.get_or_init(|| made)
            }
        };
        object.session.read(py, reader, at.wrapping_add(self.last.bits / 8))
    }

    /// The chain of members of this type: `sk.sk_prot.name`. Pointers are followed.
    ///
    /// # Errors
    /// [`Error::NoMember`], [`Error::BadType`].
    pub(crate) fn chain(types: &Types, of: TypeId, path: &str) -> Result<Self, Error> {
        let mut hops = Vec::new();
        let mut last = Field { of, bits: 0, bit_size: None };
        for name in path.split('.') {
            if let Type::Pointer(to) = &*types.plain(last.of)?.1 {
                hops.push(last.bits / 8);
                last = Field { of: *to, bits: 0, bit_size: None };
            }
            let field = types.field(last.of, name)?;
            last = Field { bits: last.bits.wrapping_add(field.bits), ..field };
        }
        Ok(Self { path: path.to_owned(), hops, last, reader: OnceCell::new() })
    }
}

/// The object of a struct or union at an address.
pub(crate) fn object(
    py: Python<'_>,
    session: &Rc<Session>,
    of: impl Into<Declared>,
    at: u64,
) -> PyResult<Value> {
    let (class, maker) = class(py, session, of.into())?;
    class.call1(py, (maker, at))
}

/// The class of a struct or union, which is made once.
fn class(py: Python<'_>, session: &Rc<Session>, declared: Declared) -> PyResult<Class> {
    if let Some((class, maker)) = session.classes.borrow().get(&declared.of) {
        return Ok((class.clone_ref(py), maker.clone_ref(py)));
    }
    let (class, maker) = new_class(py, session, declared)?;
    let pair = (class.clone_ref(py), maker.clone_ref(py));
    session.classes.borrow_mut().insert(declared.of, pair);
    Ok((class, maker))
}

fn new_class(
    py: Python<'_>,
    session: &Rc<Session>,
    Declared { of, name }: Declared,
) -> PyResult<Class> {
    let types = session.kernel().types();
    let members = PyDict::new(py);
    members.set_item("__slots__", ())?;
    members.set_item("__module__", "kdump")?;
    // Python would iterate by indexes, and never end.
    members.set_item("__iter__", py.None())?;
    let compound = types.compound(of).or_exception()?;
    add_members(types, &members, &compound, 0, (DEEPEST, &mut { MOST_MEMBERS }))?;
    let base = py.get_type::<StructResult>();
    let name = types.name(if compound.name.is_empty() { name } else { of });
    let class = py.get_type::<PyType>().call1((name, (base,), members))?;
    let maker = Py::new(py, Maker { session: Rc::downgrade(session), of })?;
    Ok((class.cast_into::<PyType>()?.unbind(), maker.into_any()))
}

/// Adds the members of a struct whose first bit is `base`. Of two members of one name, the first
/// counts, as in C.
fn add_members(
    types: &Types,
    into: &Bound<'_, PyDict>,
    compound: &Compound,
    base: u64,
    (deepest, left): (u32, &mut usize),
) -> PyResult<()> {
    let py = into.py();
    for member in &compound.members {
        *left = left.saturating_sub(1);
        let bits = base.wrapping_add(member.bits);
        if member.name.is_empty() && deepest > 0 && *left > 0 {
            if let Ok(inner) = types.compound(member.of) {
                add_members(types, into, &inner, bits, (deepest - 1, left))?;
            }
            continue;
        }
        // Names of Python's own are no members of C.
        let is_own = member.name.starts_with("__") && member.name.ends_with("__");
        if is_own || *left == 0 || into.contains(&member.name)? {
            continue;
        }
        let last = Field { of: member.of, bits, bit_size: member.bit_size };
        let (path, hops, reader) = (member.name.clone(), Vec::new(), OnceCell::new());
        into.set_item(&member.name, Py::new(py, Attribute { path, hops, last, reader })?)?;
    }
    Ok(())
}

/// Gives the class of a type another attribute: the first of these chains of members that there is,
/// or the value of a function. False if there is none of them.
pub(crate) fn set_attribute(
    py: Python<'_>,
    session: &Rc<Session>,
    of: TypeId,
    name: &str,
    value: &Bound<'_, PyAny>,
) -> PyResult<bool> {
    let types = session.kernel().types();
    let declared = Declared { of: types.plain(of).or_exception()?.0, name: of };
    let (class, _) = class(py, session, declared)?;
    if value.is_callable() {
        let property = py.import("builtins")?.getattr("property")?.call1((value,))?;
        class.bind(py).setattr(name, property)?;
        return Ok(true);
    }
    let paths: Vec<String> = match value.extract::<String>() {
        Ok(path) => vec![path],
        Err(_) => value.extract()?,
    };
    let chain = |path: &String| Attribute::chain(types, declared.of, path).ok();
    let Some(chain) = paths.iter().find_map(chain) else { return Ok(false) };
    class.bind(py).setattr(name, Py::new(py, chain)?)?;
    Ok(true)
}

/// The error of an object that outlived its dump.
pub(crate) fn closed() -> Error {
    Error::Usage("the dump is closed".to_owned())
}
