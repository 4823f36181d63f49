//! Arguments of methods: addresses and types in the forms that users have them in.

use std::rc::Rc;

use postmortem::{Error, TypeId};
use pyo3::prelude::*;

use crate::ctype::CType;
use crate::error::{OrException, exception};
use crate::object::StructResult;
use crate::session::Session;

/// Most bytes that one read returns: 1 GiB.
const MOST: usize = 1 << 30;

/// A virtual address: an integer, a pointer, or an object.
pub(crate) struct Address(pub(crate) u64);

impl<'a, 'py> FromPyObject<'a, 'py> for Address {
    type Error = PyErr;

    fn extract(value: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(object) = value.cast::<StructResult>() {
            return Ok(Self(object.borrow().at));
        }
        let usage = |_| {
            let text = format!("an address is an integer or an object, not {value:?}");
            exception(Error::Usage(text))
        };
        value.extract().map(Self).map_err(usage)
    }
}

/// A type: spelled as in C, or a CType.
pub(crate) enum TypeArgument {
    /// Its name.
    Name(String),
    /// Its number.
    Id(TypeId),
}

impl<'a, 'py> FromPyObject<'a, 'py> for TypeArgument {
    type Error = PyErr;

    fn extract(value: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(of) = value.cast::<CType>() {
            return Ok(Self::Id(of.borrow().of));
        }
        Ok(Self::Name(value.extract()?))
    }
}

impl TypeArgument {
    /// # Errors
    /// `kdump.NoType`.
    pub(crate) fn find(&self, session: &Rc<Session>) -> PyResult<TypeId> {
        session.kernel().check_types().or_exception()?;
        match self {
            Self::Id(of) => Ok(*of),
            Self::Name(name) => session.kernel().types().spelled(name).or_exception(),
        }
    }
}

/// The length of a read, in bytes.
///
/// # Errors
/// `kdump.Usage`: a length that cannot be meant.
pub(crate) fn checked(length: usize) -> PyResult<usize> {
    let text = || format!("{length} bytes are more than one read returns, which is {MOST}");
    let error = || exception(Error::Usage(text()));
    (length <= MOST).then_some(length).ok_or_else(error)
}
