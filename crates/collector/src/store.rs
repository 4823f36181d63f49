//! Where what is received goes.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use dumpfile::wire::{Held, Range, Receiver, ViewState, Write};
use rustix::fs::{FallocateFlags, fallocate};
use sha2::{Digest, Sha256};

use crate::{Error, range_map};

/// Takes the views of a receiver.
pub(crate) trait Store {
    /// Makes room for the views that are wanted; called again whenever there may be more.
    fn prepare(&mut self, receiver: &Receiver) -> Result<(), Error>;

    /// Writes down a part of one.
    fn write(&mut self, write: Write<'_>) -> Result<(), Error>;

    /// SHA-256 of what was written of a range.
    fn hash(&mut self, range: Range) -> Result<[u8; 32], Error>;

    /// Writes down how far it has come.
    fn save(&mut self, held: &Held) -> Result<(), Error>;
}

/// `path` with something at the end of its name.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

/// One file for each view, `OUT.NAME.partial` until all are whole, and `OUT.ranges` as long as they
/// are not. Then the main one becomes `OUT`, the others `OUT.NAME`.
#[derive(Debug)]
pub(crate) struct Files {
    out: PathBuf,
    files: BTreeMap<u16, (PathBuf, File)>,
}

/// The view that is the dump itself: vmcore, else oldmem, else the largest.
pub(crate) fn main_view(receiver: &Receiver) -> Option<(u16, &ViewState)> {
    let rank = |view: &ViewState| (view.name == "vmcore", view.name == "oldmem", view.length);
    let wanted = receiver.views().filter(|(_, view)| view.wanted.is_some());
    wanted.max_by_key(|(_, view)| rank(view))
}

impl Files {
    pub(crate) fn new(out: &Path) -> Self {
        Self { out: out.to_owned(), files: BTreeMap::new() }
    }

    fn partial(&self, name: &str) -> PathBuf {
        with_suffix(&self.out, &format!(".{name}.partial"))
    }

    fn map(&self) -> PathBuf {
        with_suffix(&self.out, ".ranges")
    }

    /// What an earlier run has left: a map, and the files that it is about.
    pub(crate) fn held(&self) -> Option<Held> {
        let text = fs::read_to_string(self.map()).ok()?;
        let mut held = range_map::from_text(&text)?;
        held.views.retain(|view| self.partial(&view.name).is_file());
        (!held.views.is_empty()).then_some(held)
    }

    /// Gives the files their names, once all are whole. Says which view went where, with its SHA-256.
    pub(crate) fn finish(&mut self, receiver: &Receiver) -> Result<Vec<Stored>, Error> {
        let main = main_view(receiver).map(|(number, _)| number);
        let mut stored = Vec::new();
        for (number, view) in receiver.views().filter(|(_, view)| view.wanted.is_some()) {
            let Some((partial, mut file)) = self.files.remove(&number) else { continue };
            file.sync_all().map_err(Error::io("write", &partial))?;
            let sha256 = whole_hash(&mut file).map_err(Error::io("read", &partial))?;
            let suffix = format!(".{}", view.name);
            let path = if main == Some(number) {
                self.out.clone()
            } else {
                with_suffix(&self.out, &suffix)
            };
            fs::rename(&partial, &path).map_err(Error::io("write", &path))?;
            stored.push(Stored { view: number, path, sha256 });
        }
        // A map that stays is about files that are not there any more, and says so to nobody.
        let _ = fs::remove_file(self.map());
        Ok(stored)
    }

    fn file(&self, view: u16) -> Result<&(PathBuf, File), Error> {
        self.files.get(&view).ok_or(Error::NotAFile(self.out.clone()))
    }
}

/// A view that was stored as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) view: u16,
    pub(crate) path: PathBuf,
    pub(crate) sha256: [u8; 32],
}

impl Store for Files {
    fn prepare(&mut self, receiver: &Receiver) -> Result<(), Error> {
        for (number, view) in receiver.views().filter(|(_, view)| view.wanted.is_some()) {
            if self.files.contains_key(&number) {
                continue;
            }
            let path = self.partial(&view.name);
            let anew = view.have.is_empty();
            let mut how = File::options();
            let open = how.read(true).write(true).create(true).truncate(anew).open(&path);
            let file = open.map_err(|source| Error::Open { path: path.clone(), source })?;
            file.set_len(view.length).map_err(Error::io("write", &path))?;
            self.files.insert(number, (path, file));
        }
        Ok(())
    }

    fn write(&mut self, write: Write<'_>) -> Result<(), Error> {
        match write {
            Write::Bytes { view, offset, bytes } => {
                let (path, file) = self.file(view)?;
                file.write_all_at(bytes, offset).map_err(Error::io("write", path))
            }
            Write::Zeros(range) => {
                let (path, file) = self.file(range.view())?;
                zero(file, range).map_err(Error::io("write", path))
            }
        }
    }

    fn hash(&mut self, range: Range) -> Result<[u8; 32], Error> {
        let (path, file) = self.file(range.view())?;
        hash_at(file, range).map_err(Error::io("read", path))
    }

    fn save(&mut self, held: &Held) -> Result<(), Error> {
        let (map, new) = (self.map(), with_suffix(&self.out, ".ranges.new"));
        fs::write(&new, range_map::to_text(held)).map_err(Error::io("write", &new))?;
        fs::rename(&new, &map).map_err(Error::io("write", &map))
    }
}

/// How much is read or zeroed at once, in bytes.
const CHUNK: u64 = 1 << 20;

/// Makes a hole; where the file system has none, writes zeros.
fn zero(file: &File, range: Range) -> io::Result<()> {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    if fallocate(file, flags, range.offset(), range.length()).is_ok() {
        return Ok(());
    }
    for (offset, length) in chunks(range) {
        file.write_all_at(&vec![0; length], offset)?;
    }
    Ok(())
}

fn hash_at(file: &File, range: Range) -> io::Result<[u8; 32]> {
    let mut hash = Sha256::new();
    for (offset, length) in chunks(range) {
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, offset)?;
        hash.update(&bytes);
    }
    Ok(hash.finalize().into())
}

/// Offsets and lengths of a range's parts, [`CHUNK`] bytes each at most.
fn chunks(range: Range) -> impl Iterator<Item = (u64, usize)> {
    let starts = (range.offset()..range.end()).step_by(CHUNK as usize);
    starts.map(move |start| (start, (range.end() - start).min(CHUNK) as usize))
}

fn whole_hash(file: &mut File) -> io::Result<[u8; 32]> {
    let (mut hash, mut bytes) = (Sha256::new(), vec![0; CHUNK as usize]);
    file.rewind()?;
    loop {
        match file.read(&mut bytes)? {
            0 => return Ok(hash.finalize().into()),
            count => hash.update(&bytes[..count]),
        }
    }
}

/// A part of one view, in memory.
#[derive(Debug)]
pub(crate) struct Part {
    view: Option<u16>,
    offset: u64,
    bytes: Vec<u8>,
}

impl Part {
    /// Room for `length` bytes.
    pub(crate) fn new(length: usize) -> Self {
        Self { view: None, offset: 0, bytes: vec![0; length] }
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// The place of a range, as far as it is wanted, and how much of the range lies before it.
    fn place(&mut self, offset: u64, length: u64) -> (&mut [u8], usize) {
        let end = self.offset + self.bytes.len() as u64;
        let from = offset.clamp(self.offset, end);
        let to = offset.saturating_add(length).clamp(from, end);
        let (start, stop) = ((from - self.offset) as usize, (to - self.offset) as usize);
        (&mut self.bytes[start..stop], from.saturating_sub(offset).min(length) as usize)
    }
}

impl Store for Part {
    fn prepare(&mut self, receiver: &Receiver) -> Result<(), Error> {
        for (number, view) in receiver.views() {
            if let Some((start, _)) = view.wanted {
                (self.view, self.offset) = (Some(number), start);
            }
        }
        Ok(())
    }

    fn write(&mut self, write: Write<'_>) -> Result<(), Error> {
        match write {
            Write::Bytes { view, offset, bytes } if self.view == Some(view) => {
                let (place, skip) = self.place(offset, bytes.len() as u64);
                let length = place.len();
                place.copy_from_slice(&bytes[skip..][..length]);
            }
            Write::Zeros(range) if self.view == Some(range.view()) => {
                self.place(range.offset(), range.length()).0.fill(0);
            }
            _ => {}
        }
        Ok(())
    }

    fn hash(&mut self, range: Range) -> Result<[u8; 32], Error> {
        Ok(Sha256::digest(self.place(range.offset(), range.length()).0).into())
    }

    fn save(&mut self, _: &Held) -> Result<(), Error> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sender may send more than it was asked for.
    #[test]
    fn a_part_takes_what_lies_in_it() {
        let mut part = Part { view: Some(0), offset: 100, bytes: vec![0xff; 10] };
        let bytes: Vec<u8> = (0..20).collect();
        for (view, offset) in [(1, 100), (0, 50), (0, 110), (0, 95)] {
            part.write(Write::Bytes { view, offset, bytes: &bytes }).expect("memory");
        }
        assert_eq!(part.bytes, [5, 6, 7, 8, 9, 10, 11, 12, 13, 14]);
        let zeros = Range::new(0, 0, 103).expect("a range");
        part.write(Write::Zeros(zeros)).expect("memory");
        assert_eq!(part.bytes, [0, 0, 0, 8, 9, 10, 11, 12, 13, 14]);
    }
}
