//! Functions over objects. They are no methods, because members of C would hide these.

use pyo3::prelude::*;

use crate::argument::{Address, TypeArgument};
use crate::array::FlexArray;
use crate::ctype::CType;
use crate::error::{OrException, exception};
use crate::object::StructResult;
use crate::session::Value;

fn usage(text: &str, value: &Bound<'_, PyAny>) -> PyErr {
    exception(postmortem::Error::Usage(format!("{text}, not {value:?}")))
}

/// The address of an object, a text, a pointer variable or an array. A number has none.
#[pyfunction]
#[pyo3(name = "Addr")]
pub(crate) fn addr(value: &Bound<'_, PyAny>) -> PyResult<Option<u64>> {
    if let Ok(object) = value.cast::<StructResult>() {
        return Ok(Some(object.borrow().at));
    }
    if let Ok(array) = value.cast::<FlexArray>() {
        return Ok(Some(array.borrow().address()));
    }
    let at = value.getattr("variable");
    at.map_err(|_| usage("objects, texts and pointers have addresses", value))?.extract()
}

/// The value that a pointer points to. A struct and a pointer to it are one thing.
#[pyfunction]
#[pyo3(name = "Deref")]
pub(crate) fn deref(py: Python<'_>, value: &Bound<'_, PyAny>) -> PyResult<Value> {
    if value.cast::<StructResult>().is_ok() {
        return Ok(value.clone().unbind());
    }
    let target = value.getattr("target").map_err(|_| usage("only pointers are followed", value))?;
    let target: PyRef<'_, CType> = target.extract()?;
    let Address(at) = value.extract()?;
    if at == 0 {
        let name = target.session.kernel().types().name(target.of);
        return Err(exception(postmortem::Error::Null(format!("the pointer to {name}"))));
    }
    target.session.value(py, target.of, at)
}

/// The type of an object or a pointer.
#[pyfunction]
pub(crate) fn type_of(value: &Bound<'_, PyAny>) -> PyResult<CType> {
    if let Ok(object) = value.cast::<StructResult>() {
        let object = object.borrow();
        return Ok(CType::new(&object.session, object.of));
    }
    let of = value.getattr("ctype").map_err(|_| usage("objects and pointers have types", value))?;
    let of: PyRef<'_, CType> = of.extract()?;
    Ok(CType::new(&of.session, of.of))
}

/// The bytes of an object, or those that a pointer points to, as another type.
#[pyfunction]
pub(crate) fn cast(
    py: Python<'_>,
    value: &Bound<'_, PyAny>,
    r#type: TypeArgument,
) -> PyResult<Value> {
    let of = type_of(value)?;
    let (target, Address(at)) = (r#type.find(&of.session)?, value.extract()?);
    of.session.value(py, target, at)
}

/// The struct of this type whose member the object is.
#[pyfunction]
pub(crate) fn container_of(
    py: Python<'_>,
    value: &Bound<'_, PyAny>,
    r#type: TypeArgument,
    member: &str,
) -> PyResult<Value> {
    let of = type_of(value)?;
    let (target, Address(at)) = (r#type.find(&of.session)?, value.extract()?);
    let offset = of.session.kernel().types().field(target, member).or_exception()?.bits / 8;
    of.session.value(py, target, at.wrapping_sub(offset))
}
