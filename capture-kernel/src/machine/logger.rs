//! The log on the console.

use boot_stub::console::println;
use log::{LevelFilter, Log, Metadata, Record};

struct Console;

impl Log for Console {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        println!("kdump: {}", record.args());
    }

    fn flush(&self) {}
}

/// Has all that is logged printed from here on.
pub(crate) fn start() {
    // It is called once.
    let _ = log::set_logger(&Console);
    log::set_max_level(LevelFilter::Info);
}
