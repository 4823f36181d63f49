//! The guest's memory as the host sees it: the backing file of QEMU's RAM, and digests of its
//! pages.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use twox_hash::XxHash3_128;

/// Size of a page in bytes.
pub const PAGE: u64 = 4096;
/// Address at which RAM continues after the hole below 4 GiB.
const ABOVE_4G: u64 = 1 << 32;
/// QEMU's `pc` machine: with this much RAM or more …
const SPLIT_FROM: u64 = 0xe000_0000;
/// … everything above this is at 4 GiB and up (hw/i386/pc_piix.c, `max-ram-below-4g`).
const SPLIT_AT: u64 = 0xc000_0000;
/// Bytes of the file that are read at once; a multiple of [`PAGE`].
const CHUNK: usize = 1 << 20;

static ZERO_PAGE: [u8; PAGE as usize] = [0; PAGE as usize];

/// The digest of one page. Pages of zeros, the most frequent ones, are not hashed.
pub fn digest(page: &[u8]) -> u128 {
    if page == ZERO_PAGE { 0 } else { XxHash3_128::oneshot(page) | 1 }
}

/// The file that is the guest's RAM, and the backing file of memory that is added while it runs.
#[derive(Debug)]
pub struct GuestMemory {
    file: File,
    path: PathBuf,
    size: u64,
    hot: Option<HotMemory>,
}

/// Memory that is added while the guest runs: the backing file of a device.
#[derive(Debug)]
pub struct HotMemory {
    file: File,
    path: PathBuf,
    /// Physical addresses.
    range: Range<u64>,
}

impl HotMemory {
    /// The path under which QEMU opens the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its physical addresses.
    pub fn range(&self) -> Range<u64> {
        self.range.clone()
    }

    /// True if the host has no memory for any byte of `range` (physical): nothing has touched it
    /// since it was unplugged. Only a file system that keeps files sparse in memory can tell.
    ///
    /// # Errors
    /// Fails if the seek in the file fails.
    pub fn is_untouched(&self, range: &Range<u64>) -> Result<bool> {
        let offset = |address: u64| address.saturating_sub(self.range.start);
        match rustix::fs::seek(&self.file, rustix::fs::SeekFrom::Data(offset(range.start))) {
            Ok(data) => Ok(data >= offset(range.end)),
            Err(rustix::io::Errno::NXIO) => Ok(true),
            Err(error) => Err(error).context("looking for data in hot-added memory"),
        }
    }
}

impl GuestMemory {
    /// Creates the file for `size` bytes of RAM in `folder`.
    ///
    /// # Errors
    /// Fails if the size is no multiple of a page or the file cannot be made.
    pub fn create(size: u64, folder: &Path) -> Result<Self> {
        if size == 0 || !size.is_multiple_of(PAGE) {
            bail!("guest memory of {size} bytes: not a multiple of {PAGE}");
        }
        let path = folder.join("guest-memory");
        let file = create(&path, size)?;
        Ok(Self { file, path, size, hot: None })
    }

    /// The same with `size` more bytes that are added while the guest runs, at `address` (physical)
    /// above all other memory.
    ///
    /// # Errors
    /// Fails if `address` is not above all other memory, or the file cannot be made.
    pub fn and_hot(self, size: u64, address: u64, folder: &Path) -> Result<Self> {
        let end = self.ranges().iter().map(|range| range.end).max().unwrap_or(0);
        if size == 0 || !(size | address).is_multiple_of(PAGE) || address < end.max(ABOVE_4G) {
            bail!("{size} bytes of hot-added memory at {address:#x}: above {end:#x}, in pages");
        }
        let path = folder.join("hot-memory");
        let (file, range) = (create(&path, size)?, address..address + size);
        Ok(Self { hot: Some(HotMemory { file, path, range }), ..self })
    }

    /// Opens an existing file as guest memory, for reading.
    ///
    /// # Errors
    /// Fails if the file cannot be opened.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
        let size = file.metadata()?.len();
        Ok(Self { file, path: path.to_path_buf(), size, hot: None })
    }

    /// Returns the path at which QEMU finds the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// RAM that the guest starts with, in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The same, with memory that is added while it runs.
    pub fn total(&self) -> u64 {
        self.size + self.hot.as_ref().map_or(0, |hot| hot.range.end - hot.range.start)
    }

    /// Memory that is added while the guest runs.
    pub fn hot(&self) -> Option<&HotMemory> {
        self.hot.as_ref()
    }

    /// The physical addresses that are RAM to QEMU, before any firmware takes its share.
    pub fn ranges(&self) -> Vec<Range<u64>> {
        let below = self.below_4g();
        let above = ABOVE_4G..ABOVE_4G + (self.size - below);
        let hot = self.hot.iter().map(HotMemory::range);
        [0..below, above].into_iter().chain(hot).filter(|range| !range.is_empty()).collect()
    }

    /// Returns the bytes of RAM below 4 GiB.
    pub fn below_4g(&self) -> u64 {
        if self.size >= SPLIT_FROM { SPLIT_AT } else { self.size }
    }

    /// Returns the offset in the file of the byte at a physical address; hot-added memory follows
    /// in the other.
    pub fn file_offset(&self, address: u64) -> Option<u64> {
        let below = self.below_4g();
        if let Some(hot) = self.hot.iter().find(|hot| hot.range.contains(&address)) {
            return Some(self.size + (address - hot.range.start));
        }
        if address < below {
            return Some(address);
        }
        let offset = address.checked_sub(ABOVE_4G)?.checked_add(below)?;
        (offset < self.size).then_some(offset)
    }

    /// Reads guest memory at a physical address, as it is now.
    ///
    /// # Errors
    /// Fails if the range is not RAM from its first to its last byte.
    pub fn read(&self, address: u64, into: &mut [u8]) -> Result<()> {
        let offset = self.offset_of_range(address, into.len())?;
        self.read_file(into, offset).with_context(|| format!("reading {address:#x}"))
    }

    /// Writes guest memory at a physical address, as a faulty stage would.
    ///
    /// # Errors
    /// Fails if the range is not RAM from its first to its last byte.
    pub fn write(&self, address: u64, bytes: &[u8]) -> Result<()> {
        let offset = self.offset_of_range(address, bytes.len())?;
        let (file, offset) = self.file_at(offset);
        file.write_all_at(bytes, offset).with_context(|| format!("writing {address:#x}"))
    }

    /// The file that has the byte at an offset of both together, and the offset in it.
    fn file_at(&self, offset: u64) -> (&File, u64) {
        match &self.hot {
            Some(hot) if offset >= self.size => (&hot.file, offset - self.size),
            _ => (&self.file, offset),
        }
    }

    /// Reads bytes that are in one file, or across the end of the first.
    fn read_file(&self, into: &mut [u8], offset: u64) -> Result<()> {
        let first = self.size.saturating_sub(offset).min(into.len() as u64) as usize;
        let (low, high) = into.split_at_mut(first);
        for (bytes, at) in [(low, offset), (high, offset + first as u64)] {
            let (file, at) = self.file_at(at);
            if !bytes.is_empty() {
                file.read_exact_at(bytes, at)?;
            }
        }
        Ok(())
    }

    fn offset_of_range(&self, address: u64, length: usize) -> Result<u64> {
        let end = address.checked_add(length as u64);
        let inside = |range: &Range<u64>| range.start <= address && end <= Some(range.end);
        let offset = self.file_offset(address).filter(|_| self.ranges().iter().any(inside));
        offset.with_context(|| format!("{length} bytes at {address:#x} are not guest RAM"))
    }

    /// Digests of all pages as they are now. The VM must be stopped for this to mean anything.
    ///
    /// # Errors
    /// Fails if the file cannot be read.
    pub fn digests(&self) -> Result<Digests> {
        let total = self.total();
        let half = (total / 2).next_multiple_of(PAGE).min(total);
        let (low, high) = std::thread::scope(|scope| {
            let high = scope.spawn(|| self.digests_of(half..total));
            (self.digests_of(0..half), high.join())
        });
        let mut pages = low?;
        pages.extend(high.map_err(|_| anyhow::anyhow!("a digest thread panicked"))??);
        Ok(Digests { pages })
    }

    fn digests_of(&self, span: Range<u64>) -> Result<Vec<u128>> {
        let mut pages = Vec::with_capacity(((span.end - span.start) / PAGE) as usize);
        let mut buffer = vec![0; CHUNK];
        let mut at = span.start;
        while at < span.end {
            let length = CHUNK.min((span.end - at) as usize);
            self.read_file(&mut buffer[..length], at).context("reading guest memory")?;
            pages.extend(buffer[..length].chunks_exact(PAGE as usize).map(digest));
            at += length as u64;
        }
        Ok(pages)
    }

    /// The digest taken of the page at a physical address.
    pub fn digest_at(&self, digests: &Digests, address: u64) -> Option<u128> {
        let page = self.file_offset(address)? / PAGE;
        digests.pages.get(usize::try_from(page).ok()?).copied()
    }

    /// Physical addresses of the pages that differ between two moments.
    pub fn changed_pages(&self, before: &Digests, after: &Digests) -> Vec<u64> {
        let below = self.below_4g();
        let address = |page: usize| {
            let offset = page as u64 * PAGE;
            match &self.hot {
                Some(hot) if offset >= self.size => offset - self.size + hot.range.start,
                _ if offset < below => offset,
                _ => offset - below + ABOVE_4G,
            }
        };
        let pages = before.pages.iter().zip(&after.pages).enumerate();
        pages.filter(|(_, (was, is))| was != is).map(|(page, _)| address(page)).collect()
    }
}

/// A new file of `size` bytes.
fn create(path: &Path, size: u64) -> Result<File> {
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create_new(true).open(path);
    let file = file.with_context(|| format!("creating {}", path.display()))?;
    file.set_len(size).context("sizing guest memory")?;
    Ok(file)
}

/// Digests of every page of guest memory at one moment, in file order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digests {
    pages: Vec<u128>,
}

impl Digests {
    /// Returns the number of different pages, without that of zeros.
    pub fn distinct(&self) -> u64 {
        let digests: HashSet<_> = self.pages.iter().filter(|digest| **digest != 0).collect();
        digests.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_guests_have_one_range_and_large_ones_two() {
        let folder = tempfile::tempdir().unwrap();
        let small = GuestMemory::create(512 << 20, folder.path()).unwrap();
        assert_eq!(small.ranges().as_slice(), std::slice::from_ref(&(0..0x2000_0000)));
        assert_eq!(small.file_offset(0x2000_0000), None);
        // 4 GiB in QEMU's pc: `info mtree` shows 0-0xbfffffff and 0x100000000-0x13fffffff.
        let folder = tempfile::tempdir().unwrap();
        let large = GuestMemory::create(4 << 30, folder.path()).unwrap();
        assert_eq!(large.ranges(), [0..0xc000_0000, 0x1_0000_0000..0x1_4000_0000]);
        assert_eq!(large.file_offset(0xc000_0000), None);
        assert_eq!(large.file_offset(0x1_0000_0000), Some(0xc000_0000));
        assert_eq!(large.file_offset(0x1_4000_0000), None);
    }

    #[test]
    fn one_changed_byte_is_one_changed_page() {
        let folder = tempfile::tempdir().unwrap();
        let memory = GuestMemory::create(5 << 20, folder.path()).unwrap();
        let before = memory.digests().unwrap();
        memory.write(0x30_0fff, &[1]).unwrap();
        let after = memory.digests().unwrap();
        assert_eq!(memory.changed_pages(&before, &after), [0x30_0000]);
        assert_eq!(memory.changed_pages(&after, &after), [] as [u64; 0]);
        assert_ne!(memory.digest_at(&after, 0x30_0000), memory.digest_at(&before, 0x30_0000));
    }

    #[test]
    fn hot_added_memory_is_read_and_compared_at_its_address() {
        let folder = tempfile::tempdir().unwrap();
        let memory = GuestMemory::create(5 << 20, folder.path()).unwrap();
        assert!(memory.and_hot(1 << 20, 1 << 31, folder.path()).is_err(), "below 4 GiB");
        let folder = tempfile::tempdir().unwrap();
        let memory = GuestMemory::create(5 << 20, folder.path()).unwrap();
        let memory = memory.and_hot(3 << 20, 1 << 34, folder.path()).unwrap();
        assert_eq!(memory.ranges(), [0..5 << 20, 1 << 34..(1 << 34) + (3 << 20)]);
        let hot = memory.hot().unwrap();
        assert!(hot.is_untouched(&hot.range()).unwrap());
        let before = memory.digests().unwrap();
        assert!(hot.is_untouched(&hot.range()).unwrap(), "a look is no touch");
        memory.write((1 << 34) + 0x5fff, &[1]).unwrap();
        memory.write(0x4f_ffff, &[2]).unwrap();
        let after = memory.digests().unwrap();
        assert_eq!(memory.changed_pages(&before, &after), [0x4f_f000, (1 << 34) + 0x5000]);
        assert!(!hot.is_untouched(&((1 << 34) + 0x5000..(1 << 34) + 0x6000)).unwrap());
        let mut byte = [0];
        memory.read((1 << 34) + 0x5fff, &mut byte).unwrap();
        assert_eq!(byte, [1]);
        assert!(memory.read((1 << 34) + (3 << 20), &mut byte).is_err());
    }

    #[test]
    fn pages_of_zeros_and_repeated_ones_are_not_distinct() {
        let folder = tempfile::tempdir().unwrap();
        let memory = GuestMemory::create(1 << 20, folder.path()).unwrap();
        assert_eq!(memory.digests().unwrap().distinct(), 0);
        for (address, byte) in [(0, 1), (0x5000, 1), (0x8000, 2)] {
            memory.write(address, &[byte]).unwrap();
        }
        assert_eq!(memory.digests().unwrap().distinct(), 2);
    }

    #[test]
    fn ranges_that_leave_memory_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let memory = GuestMemory::create(1 << 20, folder.path()).unwrap();
        let mut byte = [0; 2];
        memory.read(0xf_fffe, &mut byte).unwrap();
        assert!(memory.read(0xf_ffff, &mut byte).is_err());
        assert!(memory.read(u64::MAX, &mut byte).is_err());
    }
}
