//! The module `kdump._kdump`: the classes of the Python package `kdump` that read dumps.
//!
//! ```text
//! reader (how to read a type) ◀── session (Dump and Kernel of postmortem)
//!                                      ▲
//!                       ctype, object, array, pointers (the values' classes)
//!                                      ▲
//!              values (reads them), walk, functions, dump (the class Dump)
//! ```

mod argument;
mod array;
mod ctype;
mod dump;
mod error;
mod functions;
mod messages;
mod object;
mod pointers;
mod reader;
mod session;
mod values;
mod walk;

use pyo3::prelude::*;

/// The compiled part of the package `kdump`.
#[pymodule]
mod _kdump {
    #[pymodule_export]
    use crate::array::FlexArray;
    #[pymodule_export]
    use crate::ctype::CType;
    #[pymodule_export]
    use crate::dump::Dump;
    #[pymodule_export]
    use crate::functions::{addr, cast, container_of, deref, type_of};
    #[pymodule_export]
    use crate::object::{Attribute, StructResult};
    #[pymodule_export]
    use crate::walk::Steps;

    #[pymodule_init]
    fn init() {
        crate::messages::start();
    }
}
