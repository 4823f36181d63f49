//! Messages of the libraries, to the logger `kdump` of Python's `logging`.

use pyo3::prelude::*;

struct Messages;

impl log::Log for Messages {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let level = match record.level() {
            log::Level::Error => "error",
            log::Level::Warn => "warning",
            _ => "info",
        };
        let text = record.args().to_string();
        Python::attach(|py| {
            let logged = py
                .import("logging")
                .and_then(|logging| logging.call_method1("getLogger", ("kdump",)))
                .and_then(|logger| logger.call_method1(level, ("%s", text)));
            if let Err(error) = logged {
                error.write_unraisable(py, None);
            }
        });
    }

    fn flush(&self) {}
}

/// From now on messages go to Python.
pub(crate) fn start() {
    if log::set_logger(&Messages).is_ok() {
        log::set_max_level(log::LevelFilter::Warn);
    }
}
