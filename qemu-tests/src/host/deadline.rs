//! Waiting that ends: every wait of the harness has a limit and notices Ctrl-C.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Time that a wait sleeps before it looks again.
const SLICE: Duration = Duration::from_millis(20);

/// A flag that Ctrl-C sets and every wait looks at.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Ends all waits with an error from now on.
    pub fn set(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// True after [`Interrupt::set`].
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// The end of one wait.
#[derive(Clone, Debug)]
pub struct Deadline {
    what: String,
    start: Instant,
    limit: Duration,
    interrupt: Interrupt,
}

impl Deadline {
    /// A wait for `what` that begins now and ends after `limit`.
    pub fn new(what: impl Into<String>, limit: Duration, interrupt: &Interrupt) -> Self {
        Self { what: what.into(), start: Instant::now(), limit, interrupt: interrupt.clone() }
    }

    /// Returns the time to sleep before looking again.
    ///
    /// # Errors
    /// Fails if the limit has passed or the user interrupted.
    pub fn slice(&self) -> Result<Duration> {
        if self.interrupt.is_set() {
            bail!("interrupted while waiting for {}", self.what);
        }
        match self.limit.checked_sub(self.start.elapsed()) {
            Some(left) => Ok(left.min(SLICE)),
            None => bail!("no {} within {:.0} s", self.what, self.limit.as_secs_f32()),
        }
    }

    /// True when the limit has passed.
    pub fn is_over(&self) -> bool {
        self.start.elapsed() >= self.limit
    }

    /// Asks `poll` again and again until it has something.
    ///
    /// # Errors
    /// Those of `poll`, and those of [`Deadline::slice`].
    pub fn wait_for<T>(&self, mut poll: impl FnMut() -> Result<Option<T>>) -> Result<T> {
        loop {
            if let Some(found) = poll()? {
                return Ok(found);
            }
            std::thread::sleep(self.slice()?);
        }
    }

    /// Begins anew.
    pub fn restart(&mut self) {
        self.start = Instant::now();
    }

    /// Moves the end by a pause that does not count, such as a stop of the VM.
    pub fn extend(&mut self, pause: Duration) {
        self.limit += pause;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_with_its_limit() {
        let deadline = Deadline::new("rain", Duration::ZERO, &Interrupt::default());
        let error = deadline.wait_for(|| Ok(None::<()>)).unwrap_err();
        assert_eq!(error.to_string(), "no rain within 0 s");
    }

    #[test]
    fn a_wait_ends_with_the_interrupt() {
        let interrupt = Interrupt::default();
        let deadline = Deadline::new("rain", Duration::from_secs(3600), &interrupt);
        assert!(deadline.slice().is_ok());
        interrupt.set();
        assert_eq!(deadline.slice().unwrap_err().to_string(), "interrupted while waiting for rain");
    }
}
