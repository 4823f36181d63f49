//! The class `FlexArray`.

use std::rc::Rc;

use postmortem::{Error, TypeId};
use pyo3::exceptions::{PyIndexError, PyTypeError};
use pyo3::prelude::*;

use crate::ctype::CType;
use crate::reader::Reader;
use crate::session::{Session, Value};

/// An array without a length in C, or a long one. Elements are read one by one.
#[pyclass(unsendable, frozen, sequence, module = "kdump")]
pub(crate) struct FlexArray {
    session: Rc<Session>,
    element: TypeId,
    reader: Reader,
    stride: u64,
    at: u64,
    count: Option<u64>,
}

impl FlexArray {
    pub(crate) fn new(
        session: &Rc<Session>,
        element: TypeId,
        at: u64,
        count: Option<u64>,
    ) -> Result<Self, Error> {
        let types = session.kernel().types();
        let (reader, stride) = (Reader::of(types, element)?, types.size(element)?);
        Ok(Self { session: Rc::clone(session), element, reader, stride, at, count })
    }

    /// Its virtual address.
    pub(crate) const fn address(&self) -> u64 {
        self.at
    }
}

#[pymethods]
impl FlexArray {
    /// The type of its elements.
    #[getter]
    fn element(&self) -> CType {
        CType::new(&self.session, self.element)
    }

    /// The number of elements that C declares. A flexible array has none.
    fn __len__(&self) -> PyResult<usize> {
        let count = self.count.and_then(|count| usize::try_from(count).ok());
        count.ok_or_else(|| PyTypeError::new_err("a flexible array has no length: index it"))
    }

    fn __getitem__(&self, py: Python<'_>, index: u64) -> PyResult<Value> {
        if self.count.is_some_and(|count| index >= count) {
            return Err(PyIndexError::new_err("the array is not that long"));
        }
        let at = self.at.wrapping_add(self.stride.wrapping_mul(index));
        self.session.read(py, &self.reader, at)
    }

    fn __repr__(&self) -> String {
        let name = self.session.kernel().types().name(self.element);
        let count = self.count.map(|count| count.to_string()).unwrap_or_default();
        format!("<{name} [{count}] {:#x}>", self.at)
    }
}
