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
