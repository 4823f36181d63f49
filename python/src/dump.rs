//! The class `Dump`.

use std::path::PathBuf;
use std::rc::Rc;

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::error::OrException;
use crate::session::Session;

/// Most bytes that one read returns: 1 GiB.
const MOST: usize = 1 << 30;

/// A dead or running kernel and its memory.
///
/// It can be used by the thread that opened it alone.
#[pyclass(unsendable, frozen, module = "kdump")]
pub(crate) struct Dump {
    session: Rc<Session>,
}

#[pymethods]
impl Dump {
    /// Opens a dump: a vmcore of any format, a dump disk, /proc/kcore, or a line to a capture
    /// kernel (unix:PATH, tcp:HOST:PORT). `vmlinux` is a file with debug information of the same
    /// kernel. Of a dump disk, `number` chooses the dump.
    #[new]
    #[pyo3(signature = (path, vmlinux=None, number=None))]
    fn new(path: PathBuf, vmlinux: Option<PathBuf>, number: Option<u64>) -> PyResult<Self> {
        let name = path.display().to_string();
        let session = Session::open(&name, vmlinux.as_deref(), number).or_exception()?;
        Ok(Self { session: Rc::new(session) })
    }

    /// The name by which it was opened.
    #[getter]
    fn path(&self) -> &str {
        &self.session.path
    }

    /// Reads `length` bytes from a virtual address on.
    fn read<'py>(
        &self,
        py: Python<'py>,
        address: u64,
        length: usize,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let mut bytes = vec![0; checked(length)?];
        self.session.kernel().read(address, &mut bytes).or_exception()?;
        Ok(PyBytes::new(py, &bytes))
    }

    /// Number of reads that the dump itself has answered; the others came from memory.
    #[getter]
    fn reads(&self) -> u64 {
        self.session.dump().reads()
    }
}

/// # Errors
/// `kdump.Usage`: a length that cannot be meant.
fn checked(length: usize) -> PyResult<usize> {
    let text = || format!("{length} bytes are more than one read returns, which is {MOST}");
    let error = || postmortem::Error::Usage(text());
    (length <= MOST).then_some(length).ok_or_else(error).or_exception()
}
