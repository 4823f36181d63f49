//! Messages of a test, through the `log` facade.

use std::cell::RefCell;
use std::mem::take;

use log::{LevelFilter, Log, Metadata, Record};

thread_local! {
    static LINES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

struct Collected;

impl Log for Collected {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        LINES.with_borrow_mut(|lines| lines.push(record.args().to_string()));
    }

    fn flush(&self) {}
}

/// The result of `run`, and the messages of this thread meanwhile.
pub(crate) fn logged<T>(run: impl FnOnce() -> T) -> (T, Vec<String>) {
    // A second test finds the logger there.
    let _ = log::set_logger(&Collected);
    log::set_max_level(LevelFilter::Trace);
    LINES.take();
    let result = run();
    (result, LINES.with_borrow_mut(take))
}
