//! Messages on stderr, so that `--json` on stdout stays clean: each line begins with its task.

use log::{LevelFilter, Log, Metadata, Record};

struct Console;

impl Log for Console {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("xtask")
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            eprintln!("{}: {}", task(record.target()), record.args());
        }
    }

    fn flush(&self) {}
}

/// The task that a module's messages belong to.
fn task(module: &str) -> &str {
    match module.strip_prefix("xtask::") {
        Some(task @ ("bench" | "interop")) => task,
        Some("qemu_crash") => "qemu-crash",
        _ => "setup",
    }
}

/// Sends the messages of all tasks to stderr from now on.
pub(crate) fn start() {
    if log::set_logger(&Console).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
}
