//! A file that is read as it is, or the file that a flattened one holds.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use dumpfile::flattened::{Found, Pieces, RECORD, Scan, check_header};

use crate::kind::{FRONT, FileKind};
use crate::{Error, disk};

/// A file of which any part can be read.
#[derive(Debug)]
pub(crate) struct RawFile {
    file: File,
    length: u64,
    /// The place of each byte, if the file is flattened.
    pieces: Option<Pieces>,
}

impl RawFile {
    /// Takes an open file of this kind. Of a flattened file, all records are found; then the kind
    /// is that of the file in it.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Flattened`].
    pub(crate) fn new(
        mut file: File,
        path: &Path,
        kind: FileKind,
    ) -> Result<(Self, FileKind), Error> {
        let length = disk::size(&mut file, path)?;
        let plain = Self { file, length, pieces: None };
        if !matches!(kind, FileKind::Flattened(_)) {
            return Ok((plain, kind));
        }
        let pieces = plain.pieces(path)?;
        let whole = Self { length: pieces.length(), pieces: Some(pieces), ..plain };
        let mut front = vec![0; FRONT.min(usize::try_from(whole.length).unwrap_or(FRONT))];
        whole.read(0, &mut front).map_err(Error::io("read", path))?;
        Ok((whole, FileKind::of(&front)))
    }

    /// Finds all records.
    fn pieces(&self, path: &Path) -> Result<Pieces, Error> {
        let error = |source| Error::Flattened { path: path.to_owned(), source };
        let read = |at: u64, into: &mut [u8]| {
            let there = usize::try_from(self.length.saturating_sub(at)).unwrap_or(into.len());
            let count = into.len().min(there);
            self.file.read_exact_at(&mut into[..count], at).map_err(Error::io("read", path))?;
            Ok::<_, Error>(count)
        };
        let mut header = [0; 32];
        let count = read(0, &mut header)?;
        check_header(&header[..count]).map_err(error)?;
        let mut scan = Scan::new(self.length);
        while let Some(at) = scan.place() {
            let mut record = [0; RECORD];
            let count = read(at, &mut record)?;
            scan.record(&record[..count]).map_err(error)?;
        }
        scan.finish().map_err(error)
    }

    /// Length in bytes.
    pub(crate) const fn length(&self) -> u64 {
        self.length
    }

    /// True if it is in a flattened file.
    pub(crate) const fn is_flattened(&self) -> bool {
        self.pieces.is_some()
    }

    /// Fills `into` with the bytes from `at` on. Bytes that a flattened file does not have are
    /// zero.
    pub(crate) fn read(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        let Some(pieces) = &self.pieces else { return self.file.read_exact_at(into, at) };
        let mut done = 0;
        while done < into.len() {
            let found = pieces.find(at + done as u64).ok_or(io::ErrorKind::UnexpectedEof)?;
            let (Found::Stored(_, length) | Found::Gap(length)) = found;
            let rest = into.len() - done;
            let count = usize::try_from(length).unwrap_or(rest).min(rest);
            let part = &mut into[done..done + count];
            match found {
                Found::Stored(place, _) => self.file.read_exact_at(part, place)?,
                Found::Gap(_) => part.fill(0),
            }
            done += count;
        }
        Ok(())
    }
}
