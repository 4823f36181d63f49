//! The list of targets: the first that works gets the dump.

use super::Target;
use crate::Failure;
use crate::dump::Dump;
use alloc::boxed::Box;
use core::fmt::{Arguments, Display};
use core::mem;
use handoff::Stage;

/// Gives `dump` to the first of the targets on `list` that takes it, and says what becomes of each.
/// `open` finds the device behind an entry.
///
/// # Errors
/// What the last one failed of, or [`Failure::NoTarget`].
pub fn serve<'t, S: Display>(
    list: &[S],
    mut open: impl FnMut(&S) -> Result<Box<dyn Target + 't>, Failure>,
    dump: &Dump,
    reached: &mut dyn FnMut(Stage),
    say: &mut dyn FnMut(Arguments<'_>),
) -> Result<(), Failure> {
    let mut last = Failure::NoTarget;
    for (number, entry) in (1..).zip(list) {
        match open(entry).and_then(|target| deliver(target, dump, reached)) {
            Ok(()) => return Ok(()),
            Err(failure) if number < list.len() => {
                say(format_args!("target {entry}: {failure}; trying the next"));
            }
            Err(failure) => last = failure,
        }
    }
    Err(last)
}

/// Delivers and stops the target. The memory of one that does not stop is given up for good.
fn deliver<'t>(
    mut target: Box<dyn Target + 't>,
    dump: &Dump,
    reached: &mut dyn FnMut(Stage),
) -> Result<(), Failure> {
    let delivered = target.deliver(dump, reached);
    if target.stop().is_err() {
        mem::forget(target);
    }
    delivered
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::RefCell;
    use std::string::{String, ToString};
    use std::vec;
    use std::vec::Vec;

    /// What happens, in order.
    type Log = RefCell<Vec<String>>;

    /// Fails or not, and tells.
    struct Scripted<'l> {
        name: &'static str,
        failure: Option<Failure>,
        stops: bool,
        log: &'l Log,
    }

    impl Target for Scripted<'_> {
        fn deliver(&mut self, _: &Dump, reached: &mut dyn FnMut(Stage)) -> Result<(), Failure> {
            self.log.borrow_mut().push(std::format!("deliver {}", self.name));
            reached(Stage::FirstByte);
            self.failure.map_or(Ok(()), Err)
        }

        fn stop(&mut self) -> Result<(), Failure> {
            self.log.borrow_mut().push(std::format!("stop {}", self.name));
            self.stops.then_some(()).ok_or(Failure::Timeout("reset"))
        }
    }

    impl Drop for Scripted<'_> {
        fn drop(&mut self) {
            self.log.borrow_mut().push(std::format!("drop {}", self.name));
        }
    }

    fn run(list: &[&'static str]) -> (Result<(), Failure>, Vec<String>) {
        let log = Log::default();
        let open = |name: &&'static str| -> Result<Box<dyn Target + '_>, Failure> {
            let failure = match *name {
                "absent" => return Err(Failure::NoMemory),
                "good" => None,
                _ => Some(Failure::Io(1)),
            };
            Ok(Box::new(Scripted { name, failure, stops: *name != "stuck", log: &log }))
        };
        let mut say = |line: Arguments<'_>| log.borrow_mut().push(line.to_string());
        let result = serve(list, open, &Dump::default(), &mut |_| (), &mut say);
        (result, log.into_inner())
    }

    #[test]
    fn the_first_that_works_gets_the_dump() {
        let (result, log) = run(&["absent", "bad", "good", "never"]);
        assert_eq!(result, Ok(()));
        let no_memory =
            "target absent: no memory left in the slot: use a larger slot; trying the next";
        let io = "target bad: the device reported an I/O error (status 1); trying the next";
        let expected = [
            no_memory,
            "deliver bad",
            "stop bad",
            "drop bad",
            io,
            "deliver good",
            "stop good",
            "drop good",
        ];
        assert_eq!(log, expected);
    }

    #[test]
    fn memory_that_a_device_may_still_write_is_never_used_again() {
        let (result, log) = run(&["stuck"]);
        assert_eq!(result, Err(Failure::Io(1)));
        assert_eq!(log, vec!["deliver stuck", "stop stuck"], "and not dropped");
    }

    #[test]
    fn without_targets_there_is_no_dump() {
        assert_eq!(run(&[]).0, Err(Failure::NoTarget));
    }
}
