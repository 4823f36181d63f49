//! Files that are being written: as they are, or flattened.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

use dumpfile::flattened;

/// A file that takes bytes at any offset. Bytes that are never written are zero.
pub(crate) trait Sink: Send {
    /// Writes bytes.
    fn write_at(&mut self, at: u64, bytes: &[u8]) -> io::Result<()>;

    /// Ends a file of `length` bytes.
    fn finish(&mut self, length: u64) -> io::Result<()>;
}

/// The file itself.
pub(crate) struct Plain(pub(crate) File);

impl Sink for Plain {
    fn write_at(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, at)
    }

    fn finish(&mut self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }
}

/// A flattened file, which a pipe takes as well.
pub(crate) struct Flattened<W> {
    to: W,
    end: u64,
    has_header: bool,
}

impl<W: Write> Flattened<W> {
    pub(crate) const fn new(to: W) -> Self {
        Self { to, end: 0, has_header: false }
    }
}

impl<W: Write + Send> Sink for Flattened<W> {
    fn write_at(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        if !self.has_header {
            self.to.write_all(&flattened::header())?;
            self.has_header = true;
        }
        if bytes.is_empty() {
            return Ok(());
        }
        self.to.write_all(&flattened::record(at, bytes.len() as u64))?;
        self.to.write_all(bytes)?;
        self.end = self.end.max(at + bytes.len() as u64);
        Ok(())
    }

    fn finish(&mut self, length: u64) -> io::Result<()> {
        // Zeros at the end are bytes of the file as well.
        let last = length.checked_sub(1).filter(|_| self.end < length);
        self.write_at(last.unwrap_or(0), if last.is_some() { &[0] } else { &[] })?;
        self.to.write_all(&flattened::END)?;
        self.to.flush()
    }
}
