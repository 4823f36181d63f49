//! Names of missing parts: a dump that is filtered or damaged gives what is there.

use crate::Error;

/// The missing parts of a subsystem's data, with the reasons.
#[derive(Debug, Default)]
pub(crate) struct Holes(Vec<String>);

impl Holes {
    /// The value; an error is noted as the reason why `what` is missing.
    pub(crate) fn take<T>(&mut self, what: &str, found: Result<T, Error>) -> Option<T> {
        match found {
            Ok(value) => Some(value),
            Err(error) => {
                self.0.push(format!("{what}: {error}"));
                None
            }
        }
    }

    /// Notes an error as the reason why `what` is missing.
    pub(crate) fn note(&mut self, what: &str, error: &Error) {
        self.0.push(format!("{what}: {error}"));
    }

    /// The items of a walk up to its first error, which is noted.
    pub(crate) fn walk<T>(
        &mut self,
        what: &str,
        items: Result<impl Iterator<Item = Result<T, Error>>, Error>,
    ) -> Vec<T> {
        let Some(items) = self.take(what, items) else { return Vec::new() };
        items.map_while(|item| self.take(what, item)).collect()
    }

    /// All of them, in the order in which they were found.
    pub(crate) fn into_list(self) -> Vec<String> {
        self.0
    }
}
