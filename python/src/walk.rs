//! Iterators over the kernel's lists and trees.

use std::rc::Rc;

use postmortem::{Error, Kernel, TypeId};
use pyo3::prelude::*;

use crate::error::OrException;
use crate::object::object;
use crate::session::{Session, Value};

/// Addresses of structs; of a tree with an index, also the index.
pub(crate) type Walk<'k> = Box<dyn Iterator<Item = Result<(u64, u64), Error>> + 'k>;

self_cell::self_cell!(
    struct Walking {
        owner: Rc<Session>,
        #[not_covariant]
        dependent: Walk,
    }
);

/// The value that each step of a walk gives.
enum Gives {
    /// The struct of this type.
    Struct(TypeId),
    /// An index and a word.
    Entry,
}

/// The structs of a list or a tree, or the entries of a tree with an index. After an exception the
/// iterator goes on with the part behind the damage, if there is one.
#[pyclass(unsendable, module = "kdump")]
pub(crate) struct Steps {
    walking: Walking,
    gives: Gives,
}

impl Steps {
    /// The structs of type `of` at the addresses that `walk` finds.
    pub(crate) fn structs(
        session: &Rc<Session>,
        of: TypeId,
        walk: impl for<'k> FnOnce(&'k Kernel<'k>) -> Result<Walk<'k>, Error>,
    ) -> PyResult<Self> {
        Self::new(session, Gives::Struct(of), walk)
    }

    /// Pairs of an index and a word.
    pub(crate) fn entries(
        session: &Rc<Session>,
        walk: impl for<'k> FnOnce(&'k Kernel<'k>) -> Result<Walk<'k>, Error>,
    ) -> PyResult<Self> {
        Self::new(session, Gives::Entry, walk)
    }

    fn new(
        session: &Rc<Session>,
        gives: Gives,
        walk: impl for<'k> FnOnce(&'k Kernel<'k>) -> Result<Walk<'k>, Error>,
    ) -> PyResult<Self> {
        let walking = Walking::try_new(Rc::clone(session), |session| walk(session.kernel()));
        Ok(Self { walking: walking.or_exception()?, gives })
    }
}

#[pymethods]
impl Steps {
    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__(&mut self, py: Python<'_>) -> PyResult<Option<Value>> {
        let next = self.walking.with_dependent_mut(|_, walk| walk.next());
        let Some((at, index)) = next.transpose().or_exception()? else { return Ok(None) };
        match self.gives {
            Gives::Struct(of) => object(py, self.walking.borrow_owner(), of, at).map(Some),
            Gives::Entry => Ok(Some((index, at).into_pyobject(py)?.into_any().unbind())),
        }
    }
}
