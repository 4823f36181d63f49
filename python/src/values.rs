//! Values of Python at addresses, by their readers. Objects, arrays and types of the files below
//! come here again through [`Session::read`].

use std::rc::Rc;

use postmortem::Error;
use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::array::FlexArray;
use crate::error::OrException;
use crate::object::object;
use crate::pointers;
use crate::reader::Reader;
use crate::session::{Session, Value};

/// Bytes that are read of a text behind a pointer (PyKdump, section 2.4.3).
const TEXT: usize = 256;
/// Bytes of a page: a text ends where memory ends.
const PAGE: u64 = 4096;

/// The value at a virtual address.
pub(crate) fn read(
    reader: &Reader,
    py: Python<'_>,
    session: &Rc<Session>,
    at: u64,
) -> PyResult<Value> {
    let kernel = session.kernel();
    match reader {
        Reader::Number { size, is_signed } => number(py, session, at, *size, *is_signed),
        Reader::Bits { shift, count, is_signed } => {
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
        Reader::Float(size) => {
            let mut bytes = [0; 8];
            let size = (*size).min(8);
            kernel.read(at, &mut bytes[..size]).or_exception()?;
            let (single, double) = (u64::from_le_bytes(bytes) as u32, f64::from_le_bytes(bytes));
            if size == 4 { f32::from_bits(single).into_py_any(py) } else { double.into_py_any(py) }
        }
        Reader::Struct(of) => object(py, session, *of, at),
        Reader::StructPointer(of) => {
            let to = kernel.word(at).or_exception()?;
            object(py, session, *of, to)
        }
        Reader::Pointer(of) => {
            let to = kernel.word(at).or_exception()?;
            pointers::pointer(py, session, *of, to, Some(at))
        }
        Reader::Text(length) => {
            let mut bytes = vec![0; *length];
            kernel.read(at, &mut bytes).or_exception()?;
            pointers::text(py, &bytes, at, at)
        }
        Reader::TextPointer => {
            let to = kernel.word(at).or_exception()?;
            pointers::text(py, &text_at(session, to)?, at, to)
        }
        Reader::Array { element, stride, count } => {
            list(element, py, session, at, (*stride, *count))
        }
        Reader::Flexible { element, count } => {
            FlexArray::new(session, *element, at, *count).or_exception()?.into_py_any(py)
        }
        Reader::Opaque(name) => {
            let text = format!("{name} at {at:#x} has no value: its type is not described");
            Err(Error::Missing(text)).or_exception()
        }
    }
}

/// All elements; numbers are read at once.
fn list(
    element: &Reader,
    py: Python<'_>,
    session: &Rc<Session>,
    at: u64,
    (stride, count): (u64, u64),
) -> PyResult<Value> {
    if let Reader::Number { size, is_signed: false } = element
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
        (0..count).map(|index| read(element, py, session, place(index))).collect();
    PyList::new(py, elements?)?.into_py_any(py)
}

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
