//! `none`: nothing goes out by itself; read requests are served.

use super::Target;
use crate::driver;
use crate::dump::Dump;
use crate::targets::TargetError;
use dumpfile::wire::Outcome;
use handoff::Stage;

/// Time for a collector to come and ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visit {
    /// Until the timeout of a silent link: where no target is named.
    Awhile,
    /// For good, until the machine is reset: `kdump.target=none`. This wait has no deadline: the
    /// user asked for it.
    ForGood,
}

/// A target at which we stay.
pub struct Stay<T: Target> {
    target: T,
    visit: Visit,
}

impl<T: Target> Stay<T> {
    /// Stays at `target`.
    pub const fn new(target: T, visit: Visit) -> Self {
        Self { target, visit }
    }
}

impl<T: Target> Target for Stay<T> {
    fn deliver(&mut self, dump: &Dump, reached: &mut dyn FnMut(Stage)) -> Result<(), TargetError> {
        loop {
            let delivered = self.target.deliver(dump, reached);
            let came = match delivered {
                Err(TargetError::NothingToSend) => !dump.is_empty(),
                Err(TargetError::Collector(_)) | Ok(()) => true,
                _ => false,
            };
            let silence = [Outcome::Nobody, Outcome::Silent]
                .map(|outcome| Err(TargetError::Collector(outcome)));
            match self.visit {
                Visit::ForGood if came => {}
                Visit::Awhile if silence.contains(&delivered) => return Err(TargetError::NoTarget),
                _ => return delivered,
            }
        }
    }

    fn stop(&mut self) -> Result<(), driver::Error> {
        self.target.stop()
    }
}
