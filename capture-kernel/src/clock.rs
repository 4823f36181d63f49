//! Time, and the end of patience.

/// Something that counts on.
pub trait Clock {
    /// Milliseconds since some moment in the past.
    fn milliseconds(&self) -> u64;
}

/// A moment after which waiting is over.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    at: u64,
}

impl Deadline {
    /// The moment `milliseconds` from now.
    pub fn after(clock: &dyn Clock, milliseconds: u64) -> Self {
        Self { at: clock.milliseconds().saturating_add(milliseconds) }
    }

    /// Whether it has come.
    pub fn is_over(self, clock: &dyn Clock) -> bool {
        clock.milliseconds() >= self.at
    }

    /// Asks `ready` until it says yes or the deadline has come; tells which it was.
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
