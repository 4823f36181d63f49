//! The progress bar, and the messages beside it.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use log::{LevelFilter, Log, Metadata, Record};

/// The bars on the terminal, one at most.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// A progress bar on standard error that shows itself when there is a terminal, and when the work
/// takes longer than anybody waits without wondering.
pub(crate) struct Progress {
    started: Instant,
    template: &'static str,
    bar: Option<ProgressBar>,
}

impl Progress {
    const SHOW_AFTER: Duration = Duration::from_secs(2);
    const BYTES: &str = "{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta} {msg}";
    const TASKS: &str = "{bar:40} {pos}/{len} tasks {eta}";

    pub(crate) fn new() -> Self {
        Self { started: Instant::now(), template: Self::BYTES, bar: None }
    }

    /// The same for tasks.
    pub(crate) fn of_tasks() -> Self {
        Self { template: Self::TASKS, ..Self::new() }
    }

    pub(crate) fn show(&mut self, done: u64, all: u64) {
        if self.bar.is_none() && self.started.elapsed() > Self::SHOW_AFTER {
            let style = ProgressStyle::with_template(self.template);
            let bar = BARS.add(ProgressBar::new(all));
            self.bar = Some(bar.with_elapsed(self.started.elapsed()));
            if let (Some(bar), Ok(style)) = (&self.bar, style) {
                bar.set_style(style);
                // Bytes that were there before do not count for the rate.
                bar.set_position(done);
                bar.reset_eta();
            }
        }
        if let Some(bar) = &self.bar {
            bar.set_position(done);
        }
    }

    /// The same for the steps after that, with their name.
    pub(crate) fn show_next(&mut self, what: &'static str, done: u64, all: u64) {
        self.show(done, all);
        if let Some(bar) = self.bar.as_ref().filter(|bar| bar.message() != what) {
            bar.set_length(all);
            bar.set_message(what);
            bar.reset_eta();
        }
    }

    pub(crate) fn end(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Writes to standard error without tearing the bar.
pub(crate) fn beside(write: impl FnOnce()) {
    BARS.suspend(write);
}

/// Messages of the program and its library: a line each, above the bar.
struct Messages;

impl Log for Messages {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        beside(|| eprintln!("kdump-collector: {}", record.args()));
    }

    fn flush(&self) {}
}

/// Sends all messages to standard error from now on.
pub(crate) fn start_messages() {
    if log::set_logger(&Messages).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
}
