//! The list of targets: the first that works gets the dump.

use super::Target;
use crate::dump::Dump;
use crate::targets::TargetError;
use alloc::boxed::Box;
use cmdline::{TargetEntry, TargetSpec};
use handoff::Stage;
use log::{info, warn};

/// Gives `dump` to the first of the targets on `list` that takes it, and to those that are to have
/// it as well; logs the result of each. `open` finds the device behind a target.
///
/// # Errors
/// No target has taken it: the failure of the last one, or [`TargetError::NoTarget`].
pub fn serve<'t>(
    list: &[TargetEntry<'_>],
    mut open: impl FnMut(&TargetSpec<'_>) -> Result<Box<dyn Target + 't>, TargetError>,
    dump: &Dump,
    reached: &mut dyn FnMut(Stage),
) -> Result<(), TargetError> {
    let mut result = Err(TargetError::NoTarget);
    for (number, TargetEntry { target, also }) in (1..).zip(list) {
        if result.is_ok() && !also {
            break;
        }
        match open(target).and_then(|opened| deliver(opened, dump, reached)) {
            Ok(()) => {
                info!("target {target}: has the dump");
                result = Ok(());
            }
            Err(failure) => {
                result = result.or(Err(failure));
                let goes_on = |next: &TargetEntry<'_>| next.also || result.is_err();
                if list.get(number).is_some_and(goes_on) {
                    warn!("target {target}: {failure}; trying the next");
                } else if result.is_ok() {
                    warn!("target {target}: {failure}");
                }
            }
        }
    }
    result
}

/// Delivers and stops the target. One whose device does not stop leaks the memory that the device
/// may use.
fn deliver<'t>(
    mut target: Box<dyn Target + 't>,
    dump: &Dump,
    reached: &mut dyn FnMut(Stage),
) -> Result<(), TargetError> {
    let delivered = target.deliver(dump, reached);
    // The result of the delivery does not depend on it.
    let _ = target.stop();
    delivered
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver;
    use crate::fake::logged;
    use std::string::String;
    use std::vec::Vec;

    /// Fails or not, and records the call.
    struct Scripted {
        name: &'static str,
        failure: Option<TargetError>,
        stops: bool,
    }

    impl Target for Scripted {
        fn deliver(&mut self, _: &Dump, reached: &mut dyn FnMut(Stage)) -> Result<(), TargetError> {
            info!("deliver {}", self.name);
            reached(Stage::FirstByte);
            self.failure.map_or(Ok(()), Err)
        }

        fn stop(&mut self) -> Result<(), driver::Error> {
            info!("stop {}", self.name);
            self.stops.then_some(()).ok_or(driver::Error::Timeout("reset"))
        }
    }

    impl Drop for Scripted {
        fn drop(&mut self) {
            info!("drop {}", self.name);
        }
    }

    /// Serves a list of scripted targets; a `+` before a name means that it is served as well.
    fn run(list: &[&'static str]) -> (Result<(), TargetError>, Vec<String>) {
        let open = |target: &TargetSpec<'_>| -> Result<Box<dyn Target>, TargetError> {
            let TargetSpec::VirtioConsole { name } = target else { panic!("{target}") };
            let (name, failure) = match *name {
                "good" => ("good", None),
                "bad" => ("bad", Some(TargetError::Device(driver::Error::Io(1)))),
                "stuck" => ("stuck", Some(TargetError::Device(driver::Error::Io(1)))),
                _ => return Err(TargetError::Device(driver::Error::NoMemory)),
            };
            Ok(Box::new(Scripted { name, failure, stops: name != "stuck" }))
        };
        let entry = |text: &&'static str| {
            let name = text.strip_prefix('+');
            let target = TargetSpec::VirtioConsole { name: name.unwrap_or(text) };
            TargetEntry { target, also: name.is_some() }
        };
        let list: Vec<TargetEntry<'_>> = list.iter().map(entry).collect();
        let (result, log) = logged(|| serve(&list, open, &Dump::default(), &mut |_| ()));
        (result, log.iter().map(|line| line.replace("virtio-console:name=", "")).collect())
    }

    /// The messages of a log.
    fn said(log: &[String]) -> Vec<&str> {
        log.iter().filter_map(|line| line.strip_prefix("target ")).collect()
    }

    const IO: &str = "the device reported an I/O error (status 1)";

    #[test]
    fn the_first_that_works_gets_the_dump() {
        let (result, log) = run(&["absent", "bad", "good", "never", "+never"]);
        assert_eq!(result, Ok(()));
        let expected = [
            "target absent: no memory left in the slot: use a larger slot; trying the next",
            "deliver bad",
            "stop bad",
            "drop bad",
            &std::format!("target bad: {IO}; trying the next"),
            "deliver good",
            "stop good",
            "drop good",
            "target good: has the dump",
        ];
        assert_eq!(log, expected);
    }

    #[test]
    fn behind_a_plus_the_next_gets_it_as_well() {
        let (result, log) = run(&["good", "+bad", "+good", "never"]);
        assert_eq!(result, Ok(()));
        let bad = std::format!("bad: {IO}; trying the next");
        assert_eq!(said(&log), ["good: has the dump", &bad, "good: has the dump"]);
    }

    #[test]
    fn one_that_works_is_enough() {
        let (result, log) = run(&["bad", "+good", "+bad", "never"]);
        assert_eq!(result, Ok(()));
        let (first, last) = (std::format!("bad: {IO}; trying the next"), std::format!("bad: {IO}"));
        assert_eq!(said(&log), [&first, "good: has the dump", &last]);
    }

    #[test]
    fn a_device_that_does_not_stop_does_not_keep_the_next_target_from_the_dump() {
        let (result, log) = run(&["stuck", "good"]);
        assert_eq!(result, Ok(()));
        assert_eq!(log[..3], ["deliver stuck", "stop stuck", "drop stuck"]);
        assert_eq!(log.last().map(String::as_str), Some("target good: has the dump"));
    }

    #[test]
    fn when_none_works_the_last_reason_is_told() {
        assert_eq!(run(&["bad", "+absent"]).0, Err(TargetError::Device(driver::Error::NoMemory)));
        assert_eq!(run(&[]).0, Err(TargetError::NoTarget));
    }
}
