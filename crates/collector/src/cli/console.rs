//! Observer of a transfer: the progress bar, and the output for console text.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use collector::Observer;

use super::progress::{self, Progress};

/// Shows progress on standard error, and console text there or in a file.
pub(crate) struct Console {
    progress: Progress,
    file: Option<File>,
}

impl Console {
    /// With console text at the end of the file at `path`, if one is named: a collector that is
    /// started again goes on with it.
    pub(crate) fn new(path: Option<&Path>) -> Result<Self, String> {
        let open = |path: &Path| {
            let file = File::options().append(true).create(true).open(path);
            file.map_err(|error| format!("cannot open {}: {error}", path.display()))
        };
        Ok(Self { progress: Progress::new(), file: path.map(open).transpose()? })
    }

    /// Removes the bar.
    pub(crate) fn end(self) {
        self.progress.end();
    }
}

impl Observer for Console {
    fn text(&mut self, text: &[u8]) {
        // Text that cannot be written is no reason to lose the dump.
        if let Some(file) = &mut self.file {
            let _ = file.write_all(text);
            return;
        }
        let harmless: Vec<u8> = text.iter().copied().filter(is_harmless).collect();
        progress::beside(|| drop(std::io::stderr().write_all(&harmless)));
    }

    fn progress(&mut self, done: u64, all: u64) {
        self.progress.show(done, all);
    }

    fn hashing(&mut self, done: u64, all: u64) {
        self.progress.show_next("SHA-256 of the file", done, all);
    }
}

/// True if a byte only prints on a terminal: bytes from the link can be anything.
fn is_harmless(byte: &u8) -> bool {
    matches!(byte, b' '..=b'~' | b'\n' | b'\t')
}
