//! An open dump and the kernel in it, as one value that Python objects share.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use collector::{LinkOptions, Source, Timeouts};
use postmortem::{Dump, Error, Kernel, TypeId, Vmlinux};
use pyo3::prelude::*;
use pyo3::types::PyType;

use crate::error::OrException;
use crate::reader::Reader;

/// Any value of Python.
pub(crate) type Value = Py<PyAny>;
/// The class of a struct, and the maker that its objects need.
pub(crate) type Class = (Py<PyType>, Py<PyAny>);
/// Reads the value at a virtual address.
pub(crate) type Read = fn(&Reader, Python<'_>, &Rc<Session>, u64) -> PyResult<Value>;

self_cell::self_cell!(
    struct Opened {
        owner: Dump,
        #[covariant]
        dependent: Kernel,
    }
);

/// A line as its collector finds it.
const LINE: LinkOptions = LinkOptions { listen: false, baud: 115_200 };
/// Bytes of a page.
const PAGE: u64 = 4096;
/// Time to wait for the other end of a line.
const WAIT: Duration = Duration::from_secs(30);

/// An open dump.
pub(crate) struct Session {
    opened: Opened,
    /// Its name on opening.
    pub(crate) path: String,
    /// The classes of structs that objects were made of.
    pub(crate) classes: RefCell<HashMap<TypeId, Class>>,
    read: Read,
}

impl Session {
    /// Opens a dump by its name: a path, or a line to a capture kernel; with the debug information
    /// of a vmlinux, if one is given. Of a dump disk the dump with this number, else the newest. Values are
    /// read by `read`.
    ///
    /// # Errors
    /// [`Error::Dump`], [`Error::Vmlinux`]; [`Error::Usage`] for a name that is no dump's.
    pub(crate) fn open(
        path: &str,
        vmlinux: Option<&Path>,
        number: Option<u64>,
        read: Read,
    ) -> Result<Self, Error> {
        let source: Source =
            path.parse().map_err(|reason| Error::Usage(format!("{path}: {reason}")))?;
        let timeouts = Timeouts { wait: WAIT, timeout: None };
        let dump = Dump::open_source(&source, number, LINE, timeouts)?;
        let opened = Opened::try_new(dump, |dump| match vmlinux {
            None => Kernel::open(dump),
            Some(path) => {
                let (types, symbols) = Vmlinux::open(path, dump)?.into_sources();
                Kernel::with_sources(dump, types, symbols)
            }
        })?;
        Ok(Self { opened, path: path.to_owned(), classes: RefCell::default(), read })
    }

    /// The kernel.
    pub(crate) fn kernel(&self) -> &Kernel<'_> {
        self.opened.borrow_dependent()
    }

    /// The dump.
    pub(crate) fn dump(&self) -> &Dump {
        self.opened.borrow_owner()
    }

    /// Reads bytes at a physical address of the dead kernel.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub(crate) fn read_physical(&self, address: u64, into: &mut [u8]) -> Result<(), Error> {
        let (memory, mut done) = (self.kernel().dead().memory, 0);
        // One read is of one PT_LOAD; these begin and end with pages.
        while done < into.len() {
            let at = address.wrapping_add(done as u64);
            let count = (into.len() - done).min((PAGE - at % PAGE) as usize);
            let read = memory.read_physical(at, &mut into[done..done + count]);
            read.map_err(|source| Error::Memory { at, source })?;
            done += count;
        }
        Ok(())
    }

    /// The value at a virtual address.
    pub(crate) fn read(
        self: &Rc<Self>,
        py: Python<'_>,
        reader: &Reader,
        at: u64,
    ) -> PyResult<Value> {
        (self.read)(reader, py, self, at)
    }

    /// The value of this type at a virtual address.
    pub(crate) fn value(self: &Rc<Self>, py: Python<'_>, of: TypeId, at: u64) -> PyResult<Value> {
        self.read(py, &Reader::of(self.kernel().types(), of).or_exception()?, at)
    }
}
