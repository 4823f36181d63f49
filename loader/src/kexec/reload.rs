//! Loading again: not when nothing has changed, and with a way back.
//!
//! `kexec_load` frees the loaded image before it takes the new one. From then until it returns,
//! some milliseconds, a panic is not captured; if it fails, nothing is loaded. So a plan that is
//! loaded already makes no call, and after a failure the last good plan is loaded again.
//!
//! Source: Linux, `kernel/kexec.c`, `do_kexec_load`.

use crate::facts::system::System;
use crate::kexec::call::{self, Call};
use crate::kexec::error::KexecError;
use crate::kexec::record::Record;
use crate::kexec::state::{LastCall, State};

/// Requests of a reload to the first kernel.
pub trait Kernel {
    /// True if a capture kernel is loaded; `None` if the kernel does not say.
    fn crash_loaded(&self) -> Option<bool>;

    /// Loads.
    ///
    /// # Errors
    /// The reason why the kernel does not take it.
    fn load(&mut self, call: Call<'_>) -> Result<(), KexecError>;
}

/// The kernel that runs.
#[derive(Debug)]
pub struct Running<'a>(pub &'a System);

impl Kernel for Running<'_> {
    fn crash_loaded(&self) -> Option<bool> {
        call::crash_loaded()
    }

    fn load(&mut self, call: Call<'_>) -> Result<(), KexecError> {
        call::load(call, self.0)
    }
}

/// Outcome of a reload.
#[derive(Debug)]
pub enum Done {
    /// Nothing: this plan is loaded already.
    Unchanged,
    /// The plan is loaded now; it may be that this could not be noted.
    Loaded(Result<(), KexecError>),
}

/// Loads a plan, unless it is loaded already; with `force`, also then. Stores `record` with it.
///
/// # Errors
/// The reason why it is not loaded, and the image that is loaded now.
pub fn reload(
    call: Call<'_>,
    record: &Record,
    force: bool,
    state: &State,
    kernel: &mut impl Kernel,
) -> Result<Done, KexecError> {
    let loaded = kernel.crash_loaded();
    let last = state.read().filter(|_| loaded != Some(false));
    let same = last.as_ref().is_some_and(|last| last.call() == call);
    if same && loaded == Some(true) && !force {
        return Ok(Done::Unchanged);
    }
    state.forget()?;
    if let Err(refused) = kernel.load(call) {
        return Err(go_back(refused, last.as_ref(), state, kernel));
    }
    if kernel.crash_loaded() == Some(false) {
        return Err(KexecError::Denied);
    }
    Ok(Done::Loaded(state.write(call, record)))
}

/// Makes the best of a failure. That the note of the last plan cannot be written again is no news
/// next to it.
fn go_back(
    refused: KexecError,
    last: Option<&LastCall>,
    state: &State,
    kernel: &mut impl Kernel,
) -> KexecError {
    let kept = kernel.crash_loaded() == Some(true);
    let Some(last) = last else {
        return if kept {
            KexecError::Kept(refused.into())
        } else {
            KexecError::Lost(refused.into())
        };
    };
    if !kept && let Err(lost) = kernel.load(last.call()) {
        return KexecError::LostBoth { refused: refused.into(), lost: lost.into() };
    }
    let _ = state.write(last.call(), &last.record);
    if kept { KexecError::Kept(refused.into()) } else { KexecError::Restored(refused.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kexec::record::tests::record;
    use crate::kexec::state::Recorded;
    use crate::kexec::state::tests::{call, segments, state};
    use crate::plan::types::PlannedSegment;
    use tempfile::TempDir;

    /// A kernel that frees the loaded image and then takes another, or not.
    #[derive(Default)]
    struct Fake {
        loaded: Option<Vec<PlannedSegment>>,
        calls: usize,
        /// Refuses this many calls after it has freed the loaded image.
        refusals: usize,
        /// Refuses before.
        busy: bool,
    }

    impl Kernel for Fake {
        fn crash_loaded(&self) -> Option<bool> {
            Some(self.loaded.is_some())
        }

        fn load(&mut self, call: Call<'_>) -> Result<(), KexecError> {
            self.calls += 1;
            if self.busy {
                return Err(KexecError::Busy);
            }
            self.loaded = None;
            if self.refusals > 0 {
                self.refusals -= 1;
                return Err(KexecError::NoControlPages);
            }
            self.loaded = Some(call.segments.to_vec());
            Ok(())
        }
    }

    struct Machine {
        kernel: Fake,
        folder: TempDir,
        boot: &'static str,
    }

    impl Machine {
        /// A machine that has loaded "old".
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let mut machine = Self { kernel: Fake::default(), folder, boot: "boot" };
            assert!(matches!(machine.reload("old", false), Ok(Done::Loaded(Ok(())))));
            machine
        }

        fn reload(&mut self, text: &str, force: bool) -> Result<Done, KexecError> {
            let state = state(self.folder.path(), self.boot);
            let record = Record { target: text.to_owned(), ..record() };
            reload(call(&segments(text)), &record, force, &state, &mut self.kernel)
        }

        #[track_caller]
        fn assert_loaded(&self, text: Option<&str>, calls: usize) {
            assert_eq!(self.kernel.loaded, text.map(segments));
            assert_eq!(self.kernel.calls, calls);
            let noted = match Recorded::read(self.folder.path(), Some(self.boot)) {
                Recorded::Known(record) => Some(record.target),
                _ => None,
            };
            assert_eq!(noted.as_deref(), text, "what is noted is what is loaded");
        }
    }

    #[test]
    fn an_unchanged_plan_makes_no_call() {
        let mut machine = Machine::new();
        assert!(matches!(machine.reload("old", false), Ok(Done::Unchanged)));
        machine.assert_loaded(Some("old"), 1);
        assert!(matches!(machine.reload("old", true), Ok(Done::Loaded(Ok(())))));
        machine.assert_loaded(Some("old"), 2);
    }

    #[test]
    fn a_changed_plan_is_loaded() {
        let mut machine = Machine::new();
        assert!(matches!(machine.reload("new", false), Ok(Done::Loaded(_))));
        machine.assert_loaded(Some("new"), 2);
        assert!(matches!(machine.reload("new", false), Ok(Done::Unchanged)));
        let (state, same) = (state(machine.folder.path(), "boot"), segments("new"));
        let moved = Call { entry: vmcore::PhysAddr::new(4), ..call(&same) };
        let done = reload(moved, &record(), false, &state, &mut machine.kernel);
        assert!(matches!(done, Ok(Done::Loaded(_))), "the entry is part of it");
    }

    #[test]
    fn the_kernel_has_the_last_word_on_whether_something_is_loaded() {
        let mut machine = Machine::new();
        machine.kernel.loaded = None;
        assert!(matches!(machine.reload("old", false), Ok(Done::Loaded(_))));
        machine.assert_loaded(Some("old"), 2);
        machine.boot = "next boot";
        assert!(matches!(machine.reload("old", false), Ok(Done::Loaded(_))));
        machine.assert_loaded(Some("old"), 3);
    }

    #[test]
    fn after_a_failure_the_last_good_plan_is_loaded_again() {
        let mut machine = Machine::new();
        machine.kernel.refusals = 1;
        let error = machine.reload("new", false).expect_err("refused");
        assert!(matches!(error, KexecError::Restored(_)), "{error}");
        assert!(error.to_string().contains("ENOMEM"), "{error}");
        machine.assert_loaded(Some("old"), 3);
        assert!(matches!(machine.reload("old", false), Ok(Done::Unchanged)), "and is noted");
    }

    #[test]
    fn a_refusal_that_frees_nothing_needs_no_way_back() {
        let mut machine = Machine::new();
        machine.kernel.busy = true;
        assert!(matches!(machine.reload("new", false), Err(KexecError::Kept(_))));
        machine.assert_loaded(Some("old"), 2);
        assert!(matches!(machine.reload("old", false), Ok(Done::Unchanged)));
    }

    #[test]
    fn when_all_fails_nothing_is_noted() {
        let mut machine = Machine::new();
        machine.kernel.refusals = 2;
        let error = machine.reload("new", false).expect_err("refused twice");
        assert!(matches!(error, KexecError::LostBoth { .. }), "{error}");
        machine.assert_loaded(None, 3);
        assert!(matches!(machine.reload("old", false), Ok(Done::Loaded(_))));
    }

    /// An image that was unloaded, or loaded by another program, is not brought back.
    #[test]
    fn what_is_not_known_is_not_loaded_again() {
        let mut machine = Machine::new();
        machine.kernel.loaded = None;
        machine.kernel.refusals = 1;
        assert!(matches!(machine.reload("new", false), Err(KexecError::Lost(_))));
        machine.assert_loaded(None, 2);
    }
}
