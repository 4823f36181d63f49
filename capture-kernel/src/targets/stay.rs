//! `none`: nothing goes out by itself, and who asks gets what he asks for.

use super::Target;
use crate::Failure;
use crate::dump::Dump;
use dumpfile::wire::Outcome;
use handoff::Stage;

/// For how long somebody may come and ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visit {
    /// As long as the target has patience with a silent line: where no target is named.
    Awhile,
    /// For good, until the machine is reset: `kdump.target=none`. This wait has no deadline: it is
    /// what was asked for.
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
    fn deliver(&mut self, dump: &Dump, reached: &mut dyn FnMut(Stage)) -> Result<(), Failure> {
        loop {
            let delivered = self.target.deliver(dump, reached);
            let came = match delivered {
                Err(Failure::NothingToSend) => dump.views().next().is_some(),
                Err(Failure::Collector(_)) | Ok(()) => true,
                _ => false,
            };
            let silence =
                [Outcome::Nobody, Outcome::Silent].map(|outcome| Err(Failure::Collector(outcome)));
            match self.visit {
                Visit::ForGood if came => {}
                Visit::Awhile if silence.contains(&delivered) => return Err(Failure::NoTarget),
                _ => return delivered,
            }
        }
    }

    fn stop(&mut self) -> Result<(), Failure> {
        self.target.stop()
    }
}
