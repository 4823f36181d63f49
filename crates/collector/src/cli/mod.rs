//! The commands that communicate with the other end of a line.

pub(crate) mod backtrace;
pub(crate) mod console;
pub(crate) mod extract;
pub(crate) mod line;
pub(crate) mod progress;
pub(crate) mod read;
pub(crate) mod receive;

use std::path::Path;

use collector::Error;

/// Refuses to replace a file without the force option.
pub(crate) fn check_output(output: &Path, force: bool) -> Result<(), String> {
    if !force && output.symlink_metadata().is_ok() {
        return Err(format!("{} exists: name another file or say --force", output.display()));
    }
    Ok(())
}

/// For `map_err`.
pub(crate) fn text(error: Error) -> String {
    error.to_string()
}
