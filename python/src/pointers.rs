//! Values of the classes `tPtr` and `SmartString`, which are written in Python.

use std::rc::Rc;

use postmortem::TypeId;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyType};

use crate::ctype::CType;
use crate::session::{Session, Value};

static POINTER: PyOnceLock<Py<PyType>> = PyOnceLock::new();
static TEXT: PyOnceLock<Py<PyType>> = PyOnceLock::new();

const MODULE: &str = "kdump.pointers";

/// A pointer of type `of` with this value; `at` is the address of the variable.
pub(crate) fn pointer(
    py: Python<'_>,
    session: &Rc<Session>,
    of: TypeId,
    value: u64,
    at: Option<u64>,
) -> PyResult<Value> {
    let class = POINTER.import(py, MODULE, "tPtr")?;
    Ok(class.call1((value, CType::new(session, of), at))?.unbind())
}

/// A text: its bytes, the address of the variable, and that of the bytes.
pub(crate) fn text(py: Python<'_>, bytes: &[u8], at: u64, pointer: u64) -> PyResult<Value> {
    let class = TEXT.import(py, MODULE, "SmartString")?;
    Ok(class.call1((PyBytes::new(py, bytes), at, pointer))?.unbind())
}
