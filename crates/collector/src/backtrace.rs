//! The functions that CPUs and tasks of the dead kernel were in.

mod output;
mod stacks;
mod stored;

use std::io::Write;
use std::path::Path;

pub use output::{BacktraceFormat, Stacks};
pub(crate) use stacks::crashed_in;
pub use stacks::{NamedFrame, Stack, stacks_of_cpus, stacks_of_tasks};

use crate::{Error, LinkOptions, Observer, Source, Timeouts, VmcoreFile};

/// Origin of backtraces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BacktraceSource {
    /// The dead kernel's memory, as it is in the vmcore.
    Vmcore,
    /// The text that the capture kernel stored.
    SmallView,
}

/// Writes the backtraces of a vmcore or of a dump on a disk (the one with this number, else as for
/// [`crate::DumpDisk::choose`]). If the dump on the disk is no whole vmcore, they are the text
/// beside it. If `out` takes no more (a closed pipe), that is an early end and no error. `progress`
/// is called with the number of tasks whose stacks were followed, and that of all.
///
/// # Errors
/// As for [`VmcoreFile::open_dump`], where there is no such text; [`Error::NoBacktrace`],
/// [`Error::NoCpu`], [`Error::Output`].
pub fn backtrace_of(
    path: &Path,
    number: Option<u64>,
    wanted: Stacks,
    (format, out): (BacktraceFormat, &mut dyn Write),
    progress: &mut dyn FnMut(u64, u64),
) -> Result<BacktraceSource, Error> {
    let opened = VmcoreFile::open_dump(path, number);
    match opened.and_then(|vmcore| stacks::write(&vmcore, wanted, (format, out), progress)) {
        Ok(()) => Ok(BacktraceSource::Vmcore),
        Err(error @ (Error::Output(_) | Error::NoCpu { .. })) => Err(error),
        Err(error) => {
            let text = stored::on_disk(path, number).ok().flatten();
            let Some(text) = text.filter(|_| wanted != Stacks::Tasks) else { return Err(error) };
            stored::write(&path.display().to_string(), &text, wanted, format, out)?;
            Ok(BacktraceSource::SmallView)
        }
    }
}

/// Writes the backtraces that a capture kernel has, which is at the other end of a line.
///
/// # Errors
/// [`Error::OnlyCpus`] for tasks, [`Error::NoCpu`], [`Error::Output`], or the reason why they did
/// not come.
pub fn backtrace_over(
    source: &Source,
    wanted: Stacks,
    (format, out): (BacktraceFormat, &mut dyn Write),
    options: LinkOptions,
    timeouts: Timeouts,
    observer: &mut dyn Observer,
) -> Result<(), Error> {
    let name = source.to_string();
    if wanted == Stacks::Tasks {
        return Err(Error::OnlyCpus(name));
    }
    let text = stored::over_line(source, options, timeouts, observer)?;
    stored::write(&name, &text, wanted, format, out)
}
