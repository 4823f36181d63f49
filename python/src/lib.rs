//! The module `kdump._kdump`: the classes of the Python package `kdump` that read dumps.

mod dump;
mod error;
mod session;

use pyo3::prelude::*;

/// The compiled part of the package `kdump`.
#[pymodule]
mod _kdump {
    #[pymodule_export]
    use crate::dump::Dump;
}
