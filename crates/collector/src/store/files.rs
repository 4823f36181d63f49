//! Views in files.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use dumpfile::wire::{Held, Range, Ranges, Receiver, ViewState, Write};

use super::{Store, sparse};
use crate::text::with_suffix;
use crate::{Error, range_map};

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

    /// Returns the path for the main view.
    pub(crate) fn out(&self) -> &Path {
        &self.out
    }

    fn partial(&self, name: &str) -> PathBuf {
        with_suffix(&self.out, &format!(".{name}.partial"))
    }

    fn map(&self) -> PathBuf {
        with_suffix(&self.out, ".ranges")
    }

    /// Returns the state that an earlier run has left: a map, and the files that it is about.
    pub(crate) fn held(&self) -> Option<Held> {
        let text = fs::read_to_string(self.map()).ok()?;
        let mut held = range_map::from_text(&text)?;
        let length = |name: &str| self.partial(name).metadata().map(|file| file.len());
        held.views.retain(|view| length(&view.name).is_ok_and(|length| length == view.length));
        // A map without bytes is useless, and must not refuse another dump.
        held.views.retain(|view| !view.have.is_empty());
        (!held.views.is_empty()).then_some(held)
    }

    /// Gives the files their names, once all are whole. Says which view went where, with its
    /// SHA-256. `progress` is called with the bytes that are hashed, and with all that will be.
    pub(crate) fn finish(
        &mut self,
        receiver: &Receiver,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Vec<Stored>, Error> {
        let main = main_view(receiver).map(|(number, _)| number);
        let mut stored = Vec::new();
        let wanted = || receiver.views().filter(|(_, view)| view.wanted.is_some());
        let all = wanted().map(|(_, view)| view.length).sum();
        let mut done = 0;
        for (number, view) in wanted() {
            let Some((partial, file)) = self.files.remove(&number) else { continue };
            file.sync_all().map_err(Error::io("write", &partial))?;
            let sha256 = sparse::hash(&file, 0, view.length, &mut |at| progress(done + at, all));
            let sha256 = sha256.map_err(Error::io("read", &partial))?;
            done += view.length;
            let suffix = format!(".{}", view.name);
            let path = if main == Some(number) {
                self.out.clone()
            } else {
                with_suffix(&self.out, &suffix)
            };
            fs::rename(&partial, &path).map_err(Error::io("write", &path))?;
            stored.push(Stored { view: number, path, sha256 });
        }
        self.keep_map(&receiver.held())?;
        Ok(stored)
    }

    /// Keeps the map where it names bytes that are left out, for `kdump-collector info`. The next
    /// dump does not go on from it, as it has no partial files.
    fn keep_map(&mut self, held: &Held) -> Result<(), Error> {
        if held.views.iter().any(|view| !view.left.is_empty()) {
            return self.save(held).map(drop);
        }
        // One that stays does no harm.
        let _ = fs::remove_file(self.map());
        Ok(())
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
        let wanted = receiver.views().filter(|(_, view)| view.wanted.is_some());
        let new: Vec<_> = wanted.filter(|(number, _)| !self.files.contains_key(number)).collect();
        if !new.is_empty() {
            // Save the map first: an earlier one may name bytes that are about to be zeroed.
            self.save(&receiver.held())?;
        }
        for (number, view) in new {
            let path = self.partial(&view.name);
            let anew = view.have.is_empty();
            let mut how = File::options();
            let open = how.read(true).write(true).create(true).truncate(anew).open(&path);
            let file = open.map_err(|source| Error::Open { path: path.clone(), source })?;
            blank(&file, view.length, &view.have).map_err(Error::io("write", &path))?;
            self.files.insert(number, (path, file));
        }
        Ok(())
    }

    fn write(&mut self, write: &Write<'_>) -> Result<(), Error> {
        let (path, file) = self.file(write.view)?;
        sparse::write(file, &write.bytes, write.offset).map_err(Error::io("write", path))
    }

    fn clear(&mut self, range: Range) -> Result<(), Error> {
        let (path, file) = self.file(range.view())?;
        sparse::punch(file, range.offset(), range.end()).map_err(Error::io("write", path))
    }

    fn hash(&mut self, range: Range) -> Result<[u8; 32], Error> {
        let (path, file) = self.file(range.view())?;
        sparse::hash(file, range.offset(), range.end(), &mut |_| {})
            .map_err(Error::io("read", path))
    }

    /// The bytes in the map are already written, at least to the page cache: they survive a kill of
    /// this process.
    fn save(&mut self, held: &Held) -> Result<u64, Error> {
        let (map, new) = (self.map(), with_suffix(&self.out, ".ranges.new"));
        let text = range_map::to_text(held);
        fs::write(&new, &text).map_err(Error::io("write", &new))?;
        fs::rename(&new, &map).map_err(Error::io("write", &map))?;
        Ok(text.len() as u64)
    }
}

/// Makes the file as long as its view, and zero except in the parts known to be there: bytes
/// written after the last map may be there in part.
fn blank(file: &File, length: u64, have: &Ranges) -> std::io::Result<()> {
    file.set_len(length)?;
    have.gaps((0, length)).try_for_each(|(start, end)| sparse::punch(file, start, end))
}
