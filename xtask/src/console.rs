//! Messages on stderr, so that `--json` on stdout stays clean: each line begins with its task.

use std::sync::{Mutex, PoisonError};

use log::{LevelFilter, Log, Metadata, Record};

/// Shows one step of a cycle.
type Show = Box<dyn Fn(&str) + Send>;

/// Shows the steps of the cycle that runs.
static STEPS: Mutex<Option<Show>> = Mutex::new(None);

struct Console;

impl Log for Console {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("xtask")
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            eprintln!("{}: {}", task(record.target()), record.args());
        } else if record.target().starts_with("qemu_tests") {
            let steps = STEPS.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(show) = &*steps {
                show(&record.args().to_string());
            }
        }
    }

    fn flush(&self) {}
}

/// The task that a module's messages belong to.
fn task(module: &str) -> &str {
    match module.strip_prefix("xtask::") {
        Some(task @ ("bench" | "debuggers" | "interop")) => task,
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

/// Runs `cycle`, the steps of which `show` shows: the harness logs them. Else nobody sees them.
pub(crate) fn with_steps<T>(show: impl Fn(&str) + Send + 'static, cycle: impl FnOnce() -> T) -> T {
    let set = |show| *STEPS.lock().unwrap_or_else(PoisonError::into_inner) = show;
    set(Some(Box::new(show) as Show));
    let done = cycle();
    set(None);
    done
}
