//! The shape of a section.

use crate::report::Answer;
use crate::{Error, Kernel};

/// Reports progress: steps done, and all steps.
pub type Progress<'p> = &'p mut dyn FnMut(u64, u64);

/// A question with its arguments.
pub trait Section {
    /// The answer.
    ///
    /// # Errors
    /// The reason why there is none at all. Missing parts of an answer are in
    /// [`Answer::missing`].
    fn answer(&self, kernel: &Kernel<'_>, progress: Progress<'_>) -> Result<Answer, Error>;
}

/// A part of the first page.
#[derive(Debug)]
pub struct Part {
    /// Its name in the page's data: that of its subsystem.
    pub name: &'static str,
    /// A short answer: a few lines, the warnings, and data that fits.
    pub read: fn(&Kernel<'_>, Progress<'_>) -> Result<Answer, Error>,
}
