//! Time and deadlines.

/// Something that counts on.
pub trait Clock {
    /// Milliseconds since some moment in the past.
    fn milliseconds(&self) -> u64;

    /// Reports progress to the watchdog. A wait reports its start by itself; code that takes
    /// seconds without a wait calls this now and then.
    fn progress(&self) {}
}

/// A moment after which waiting is over.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    at: u64,
}

impl Deadline {
    /// The moment `milliseconds` from now. That is progress, as it has an end.
    pub fn after(clock: &dyn Clock, milliseconds: u64) -> Self {
        clock.progress();
        Self { at: clock.milliseconds().saturating_add(milliseconds) }
    }

    /// This one or `other`: the one that comes first.
    #[must_use]
    pub fn or_earlier(self, other: Self) -> Self {
        Self { at: self.at.min(other.at) }
    }

    /// True if it has come.
    pub fn is_over(self, clock: &dyn Clock) -> bool {
        clock.milliseconds() >= self.at
    }

    /// Polls `ready` until it returns true or the deadline has come; returns true in the first
    /// case.
    pub fn wait(self, clock: &dyn Clock, mut ready: impl FnMut() -> bool) -> bool {
        loop {
            if ready() {
                return true;
            }
            if self.is_over(clock) {
                return false;
            }
            core::hint::spin_loop();
        }
    }
}
