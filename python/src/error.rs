//! Errors as exceptions of `kdump.errors`.

use postmortem::Error;
use pyo3::PyErr;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

/// Classes of `kdump.errors`, by their names.
type Class = PyOnceLock<Py<PyType>>;

fn class<'py>(py: Python<'py>, cell: &'static Class, name: &str) -> PyResult<Bound<'py, PyType>> {
    Ok(cell.import(py, "kdump.errors", name)?.clone())
}

/// Makes an exception of an error, with its attributes.
///
/// The exception is `kdump.Error` or a class below it.
pub(crate) fn exception(error: Error) -> PyErr {
    Python::attach(|py| made(py, &error).unwrap_or_else(|failure| failure))
}

fn made(py: Python<'_>, error: &Error) -> PyResult<PyErr> {
    static ERROR: Class = PyOnceLock::new();
    static FAULT: Class = PyOnceLock::new();
    static SYMBOL: Class = PyOnceLock::new();
    static TYPE: Class = PyOnceLock::new();
    static MEMBER: Class = PyOnceLock::new();
    static NULL: Class = PyOnceLock::new();
    static DAMAGED: Class = PyOnceLock::new();
    static USAGE: Class = PyOnceLock::new();
    let text = error.to_string();
    let value = match error {
        Error::Memory { at, .. } => class(py, &FAULT, "MemoryFault")?.call1((text, *at))?,
        Error::NoSymbol(name) | Error::NoVariable(name) => {
            class(py, &SYMBOL, "NoSymbol")?.call1((text, name))?
        }
        Error::NoType(name) => class(py, &TYPE, "NoType")?.call1((text, name))?,
        Error::NoTypes(_) => class(py, &TYPE, "NoType")?.call1((text, ""))?,
        Error::NoMember { of, member } => {
            class(py, &MEMBER, "NoMember")?.call1((text, of, member))?
        }
        Error::Null(_) => class(py, &NULL, "NullPointer")?.call1((text,))?,
        Error::Damaged { at, .. } => class(py, &DAMAGED, "Damaged")?.call1((text, *at))?,
        Error::Usage(_) => class(py, &USAGE, "Usage")?.call1((text,))?,
        _ => class(py, &ERROR, "Error")?.call1((text,))?,
    };
    Ok(PyErr::from_value(value))
}

/// Results of the engine as results of Python.
pub(crate) trait OrException<T> {
    /// # Errors
    /// The exception.
    fn or_exception(self) -> PyResult<T>;
}

impl<T> OrException<T> for Result<T, Error> {
    fn or_exception(self) -> PyResult<T> {
        self.map_err(exception)
    }
}
