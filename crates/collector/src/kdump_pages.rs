//! The pages of a kdump-compressed file.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use dumpfile::kdump_file::{
    BLOCK, DESCRIPTOR, HEADERS, KdumpError, KdumpHeader, Machine, PageBitmap, PageDescriptor, Part,
};
use vmcore::{EM_386, EM_X86_64, Error as Unread, MAX_NOTES, PhysAddr, RWX, Segment, SegmentKind};

use crate::Error;
use crate::page_codec::PageCodecs;
use crate::raw_file::RawFile;

/// Bytes of a bitmap that are read at once.
const STEP: usize = 1 << 20;
/// Page descriptors that are read at once.
const AT_ONCE: u64 = 512;

/// A kdump-compressed file that is open for reading. Pages that it does not have are zero.
pub(crate) struct KdumpPages {
    file: RawFile,
    pub(crate) header: KdumpHeader,
    /// The page frames that are RAM.
    pub(crate) ram: PageBitmap,
    /// The page frames that are in the file.
    pub(crate) stored: PageBitmap,
    /// The page that was read last in part, and its number.
    last: Mutex<Option<(u64, Vec<u8>)>>,
    codecs: Mutex<Vec<PageCodecs>>,
}

impl std::fmt::Debug for KdumpPages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KdumpPages").field("header", &self.header).finish_non_exhaustive()
    }
}

impl KdumpPages {
    /// Reads the headers and bitmaps.
    ///
    /// # Errors
    /// [`Error::Kdump`], [`Error::Io`], [`Error::Cut`].
    pub(crate) fn open(file: RawFile, path: &Path) -> Result<Self, Error> {
        let error = |source| Error::Kdump { path: path.to_owned(), source };
        let mut front = vec![0; HEADERS.min(usize::try_from(file.length()).unwrap_or(HEADERS))];
        file.read(0, &mut front).map_err(Error::io("read", path))?;
        let header = KdumpHeader::decode(&front).map_err(error)?;
        let places = (header.bitmap1(), header.bitmap2());
        let mut ram = read_bitmap(&file, path, places.0, header.bitmap_length())?;
        let mut stored = read_bitmap(&file, path, places.1, header.bitmap_length())?;
        ram.count_pages().and_then(|()| stored.count_pages()).map_err(error)?;
        let end = header.descriptors().saturating_add(stored.len() * DESCRIPTOR as u64);
        if end > file.length() {
            return Err(cut(&file, path));
        }
        let (last, codecs) = (Mutex::default(), Mutex::default());
        Ok(Self { file, header, ram, stored, last, codecs })
    }

    /// The file, which may be in a flattened one.
    pub(crate) const fn file(&self) -> &RawFile {
        &self.file
    }

    /// `e_machine` of the dead kernel's machine.
    pub(crate) const fn machine(&self) -> u16 {
        match self.header.machine {
            Machine::I386 => EM_386,
            Machine::X86_64 => EM_X86_64,
        }
    }

    /// One past the highest physical address.
    pub(crate) const fn end(&self) -> u64 {
        self.header.max_mapnr * BLOCK
    }

    /// A PT_LOAD for each run of RAM. Its `source` is its physical address; its virtual address is
    /// not known.
    ///
    /// # Errors
    /// [`Unread::TooManySegments`].
    pub(crate) fn loads(&self) -> Result<Vec<Segment>, Unread> {
        let most = usize::from(u16::MAX) - 2;
        let runs = self.ram.runs(0, self.header.max_mapnr).filter(|(_, _, is_ram)| *is_ram);
        let loads = runs.map(|(start, end, _)| Segment {
            kind: SegmentKind::Load,
            source: PhysAddr::new(start * BLOCK),
            vaddr: 0,
            paddr: PhysAddr::new(start * BLOCK),
            filesz: (end - start) * BLOCK,
            memsz: (end - start) * BLOCK,
            flags: RWX,
        });
        let loads: Vec<_> = loads.take(most + 1).collect();
        let count = loads.len();
        if count > most { Err(Unread::TooManySegments { count }) } else { Ok(loads) }
    }

    /// The bytes of a part, [`MAX_NOTES`] at most.
    pub(crate) fn part(&self, part: Part, path: &Path) -> Result<Vec<u8>, Error> {
        let length = usize::try_from(part.size).unwrap_or(MAX_NOTES).min(MAX_NOTES);
        if part.offset.saturating_add(length as u64) > self.file.length() {
            return Err(cut(&self.file, path));
        }
        let mut bytes = vec![0; length];
        self.file.read(part.offset, &mut bytes).map_err(Error::io("read", path))?;
        Ok(bytes)
    }

    /// Reads memory by its physical address.
    ///
    /// # Errors
    /// [`Unread::Unreadable`] for pages that are damaged or cut off.
    pub(crate) fn read(&self, at: u64, into: &mut [u8]) -> Result<(), Unread> {
        let (mut at, mut rest) = (at, into);
        while !rest.is_empty() {
            let within = (at % BLOCK) as usize;
            let is_whole = within == 0 && rest.len() >= BLOCK as usize;
            let count = if is_whole {
                rest.len() - rest.len() % BLOCK as usize
            } else {
                (BLOCK as usize - within).min(rest.len())
            };
            let (part, after) = rest.split_at_mut(count);
            if is_whole {
                self.read_pages(at / BLOCK, part)?;
            } else {
                self.read_part(at / BLOCK, within, part)?;
            }
            (at, rest) = (at + count as u64, after);
        }
        Ok(())
    }

    /// Reads a part of one page.
    fn read_part(&self, page: u64, within: usize, into: &mut [u8]) -> Result<(), Unread> {
        let unreadable = Unread::Unreadable { at: PhysAddr::new(page * BLOCK) };
        let mut last = self.last.lock().map_err(|_| unreadable)?;
        if last.as_ref().is_none_or(|(number, _)| *number != page) {
            let mut bytes = vec![0; BLOCK as usize];
            self.read_pages(page, &mut bytes)?;
            *last = Some((page, bytes));
        }
        let bytes = last.as_ref().and_then(|(_, bytes)| bytes.get(within..within + into.len()));
        into.copy_from_slice(bytes.ok_or(unreadable)?);
        Ok(())
    }

    /// Reads whole pages from page frame `first` on.
    fn read_pages(&self, first: u64, into: &mut [u8]) -> Result<(), Unread> {
        let pages = into.len() as u64 / BLOCK;
        let mut codecs = self.take_codecs(first)?;
        let mut result = Ok(());
        for (start, end, is_stored) in self.stored.runs(first, first + pages) {
            let range = ((start - first) * BLOCK) as usize..((end - first) * BLOCK) as usize;
            let part = &mut into[range];
            if !is_stored {
                part.fill(0);
                continue;
            }
            let mut start = start;
            for part in part.chunks_mut((AT_ONCE * BLOCK) as usize) {
                result = result.and_then(|()| self.read_stored(start, part, &mut codecs));
                start += AT_ONCE;
            }
        }
        // The next read takes them again.
        if let Ok(mut all) = self.codecs.lock() {
            all.push(codecs);
        }
        result
    }

    fn take_codecs(&self, page: u64) -> Result<PageCodecs, Unread> {
        let unreadable = Unread::Unreadable { at: PhysAddr::new(page * BLOCK) };
        let free = self.codecs.lock().map_err(|_| unreadable)?.pop();
        free.map_or_else(PageCodecs::new, Ok).map_err(|_| unreadable)
    }

    /// Reads pages that are all in the file, [`AT_ONCE`] at most.
    fn read_stored(
        &self,
        first: u64,
        into: &mut [u8],
        codecs: &mut PageCodecs,
    ) -> Result<(), Unread> {
        let unreadable = |page| Unread::Unreadable { at: PhysAddr::new(page * BLOCK) };
        let count = into.len() / BLOCK as usize;
        let mut table = vec![0; count * DESCRIPTOR];
        let at = self.header.descriptors() + self.stored.rank(first) * DESCRIPTOR as u64;
        self.file.read(at, &mut table).map_err(|_| unreadable(first))?;
        let mut bytes = [0; BLOCK as usize];
        let pages = table.as_chunks::<DESCRIPTOR>().0.iter().zip(into.chunks_mut(BLOCK as usize));
        for (page, (descriptor, into)) in (first..).zip(pages) {
            let descriptor = PageDescriptor::decode(descriptor).map_err(|_| unreadable(page))?;
            let bytes = &mut bytes[..descriptor.size as usize];
            self.file.read(descriptor.offset, bytes).map_err(|_| unreadable(page))?;
            codecs.decompress(descriptor.codec, bytes, into).ok_or(unreadable(page))?;
        }
        Ok(())
    }
}

fn cut(file: &RawFile, path: &Path) -> Error {
    let (path, length) = (PathBuf::from(path), file.length());
    Error::Cut { path, what: "its tables are", length }
}

/// Reads a bitmap of `length` bytes, which must be in the file.
fn read_bitmap(file: &RawFile, path: &Path, at: u64, length: u64) -> Result<PageBitmap, Error> {
    if at.saturating_add(length) > file.length() {
        return Err(cut(file, path));
    }
    let mut bitmap = PageBitmap::default();
    let mut step = vec![0; STEP];
    for done in (0..length).step_by(STEP) {
        let part = &mut step[..(length - done).min(STEP as u64) as usize];
        file.read(at + done, part).map_err(Error::io("read", path))?;
        let no_memory = |source: KdumpError| Error::Kdump { path: path.to_owned(), source };
        bitmap.extend(part).map_err(no_memory)?;
    }
    Ok(bitmap)
}
