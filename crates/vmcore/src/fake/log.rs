//! The log of a test: records of its own thread.

use ::log::{LevelFilter, Log, Metadata, Record};
use std::cell::RefCell;
use std::string::{String, ToString};
use std::vec::Vec;

std::thread_local! {
    static LOGGED: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

struct Collected;

impl Log for Collected {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        LOGGED.with_borrow_mut(|logged| logged.push(record.args().to_string()));
    }

    fn flush(&self) {}
}

/// The result of `act`, and the text of all that it logs.
pub fn logged<R>(act: impl FnOnce() -> R) -> (R, Vec<String>) {
    // All but the first test find the logger set.
    let _ = ::log::set_logger(&Collected);
    ::log::set_max_level(LevelFilter::Trace);
    LOGGED.take();
    let result = act();
    (result, LOGGED.take())
}
