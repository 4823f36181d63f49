//! Lets one loader run at a time: locks a file.
//!
//! Source: `flock(2)`.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::kexec::error::KexecError;
use crate::kexec::holder::{holder, shown};

/// Times to wait for a lock that another process holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeouts {
    /// Time until the wait is reported.
    pub(crate) silent: Duration,
    /// Time until the wait is given up.
    pub(crate) whole: Duration,
    /// Time between two attempts.
    pub(crate) pace: Duration,
}

/// Locks the file, which is open at `path`; it stays locked as long as it is open. While another
/// process holds the lock, each new holder is reported once.
pub(crate) fn lock(file: &File, path: &Path, timeouts: Timeouts) -> Result<(), KexecError> {
    let start = Instant::now();
    let mut reported = None;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(source)) => {
                return Err(KexecError::State { path: path.to_owned(), source });
            }
            Err(TryLockError::WouldBlock) if start.elapsed() >= timeouts.whole => {
                let (path, holder) = (path.to_owned(), holder(file));
                return Err(KexecError::Locked { path, holder, waited: timeouts.whole });
            }
            Err(TryLockError::WouldBlock) if start.elapsed() >= timeouts.silent => {
                let holder = holder(file);
                let pid = Some(holder.as_ref().map(|holder| holder.pid));
                if reported != pid {
                    let (holder, path) = (shown(holder.as_ref()), path.display());
                    log::info!("waiting for {holder}, which has locked {path}");
                    reported = pid;
                }
            }
            Err(TryLockError::WouldBlock) => {}
        }
        sleep(timeouts.pace);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::OpenOptions;
    use vmcore::fake::logged;

    fn open(path: &Path) -> File {
        OpenOptions::new().create(true).truncate(false).write(true).open(path).expect("a file")
    }

    #[test]
    fn who_waits_is_told_for_whom_and_gives_up_in_the_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x");
        let (first, second) = (open(&path), open(&path));
        assert_eq!(holder(&second), None, "nobody holds it yet");
        let quick = Duration::from_millis(50);
        let timeouts = Timeouts { silent: Duration::ZERO, whole: quick, pace: quick / 10 };
        let (free, lines) = logged(|| lock(&first, &path, timeouts));
        free.expect("it is free");
        assert_eq!(lines, [""; 0]);
        let (refused, lines) = logged(|| lock(&second, &path, timeouts));
        let error = refused.expect_err("it is locked");
        let KexecError::Locked { holder: Some(last), .. } = &error else { panic!("{error:?}") };
        assert_eq!(last.pid, std::process::id());
        let program = std::env::args().next().expect("a program");
        assert!(
            last.command.as_ref().is_some_and(
                |command| program.starts_with(command.split(' ').next().expect("a word"))
            ),
            "{last:?}"
        );
        assert!(last.runs_for.is_some());
        let (process, file) = (format!("process {} (", last.pid), path.display());
        assert_eq!(lines.len(), 1, "told once: {lines:?}");
        assert!(lines[0].starts_with(&format!("waiting for {process}")), "{lines:?}");
        assert!(lines[0].ends_with(&format!("which has locked {file}")), "{lines:?}");
        assert!(error.to_string().contains(&format!("{file} is locked by {process}")), "{error}");
        drop(first);
        lock(&second, &path, timeouts).expect("it is free again");
    }
}
