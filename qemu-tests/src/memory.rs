//! The guest's memory as the host sees it: the file behind QEMU's RAM, and digests of its pages.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use twox_hash::XxHash3_128;

/// Size of a page in bytes.
pub const PAGE: u64 = 4096;
/// Where addresses of RAM go on after the hole below 4 GiB.
const ABOVE_4G: u64 = 1 << 32;
/// QEMU's `pc` machine: with this much RAM or more …
const SPLIT_FROM: u64 = 0xe000_0000;
/// … everything above this lies at 4 GiB and up (hw/i386/pc_piix.c, `max-ram-below-4g`).
const SPLIT_AT: u64 = 0xc000_0000;
/// How much of the file is read at once, in bytes; a multiple of [`PAGE`].
const CHUNK: usize = 1 << 20;

static ZERO_PAGE: [u8; PAGE as usize] = [0; PAGE as usize];

/// The digest of one page. Pages of zeros, the most frequent ones, are not hashed.
pub fn digest(page: &[u8]) -> u128 {
    if page == ZERO_PAGE { 0 } else { XxHash3_128::oneshot(page) | 1 }
}

/// The file that is the guest's RAM.
#[derive(Debug)]
pub struct GuestMemory {
    file: File,
    path: PathBuf,
    size: u64,
}

impl GuestMemory {
    /// Creates the file for `size` bytes of RAM in `folder`.
    ///
    /// # Errors
    /// When the size is no multiple of a page or the file cannot be made.
    pub fn create(size: u64, folder: &Path) -> Result<Self> {
        if size == 0 || !size.is_multiple_of(PAGE) {
            bail!("guest memory of {size} bytes: not a multiple of {PAGE}");
        }
        let path = folder.join("guest-memory");
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create_new(true).open(&path);
        let file = file.with_context(|| format!("creating {}", path.display()))?;
        file.set_len(size).context("sizing guest memory")?;
        Ok(Self { file, path, size })
    }

    /// Opens an existing file as guest memory, for reading.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
        let size = file.metadata()?.len();
        Ok(Self { file, path: path.to_path_buf(), size })
    }

    /// Where QEMU finds the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Guest RAM in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The physical addresses that are RAM to QEMU, before any firmware takes its share.
    pub fn ranges(&self) -> Vec<Range<u64>> {
        let below = self.below_4g();
        let above = ABOVE_4G..ABOVE_4G + (self.size - below);
        [0..below, above].into_iter().filter(|range| !range.is_empty()).collect()
    }

    /// Bytes of RAM that lie below 4 GiB.
    pub fn below_4g(&self) -> u64 {
        if self.size >= SPLIT_FROM { SPLIT_AT } else { self.size }
    }

    /// Where the byte at a physical address lies in the file.
    pub fn file_offset(&self, address: u64) -> Option<u64> {
        let below = self.below_4g();
        if address < below {
            return Some(address);
        }
        let offset = address.checked_sub(ABOVE_4G)?.checked_add(below)?;
        (offset < self.size).then_some(offset)
    }

    /// Reads guest memory at a physical address, as it is now.
    ///
    /// # Errors
    /// When the range is not RAM from its first to its last byte.
    pub fn read(&self, address: u64, into: &mut [u8]) -> Result<()> {
        let offset = self.offset_of_range(address, into.len())?;
        self.file.read_exact_at(into, offset).with_context(|| format!("reading {address:#x}"))
    }

    /// Writes guest memory at a physical address: what a faulty stage would do.
    ///
    /// # Errors
    /// When the range is not RAM from its first to its last byte.
    pub fn write(&self, address: u64, bytes: &[u8]) -> Result<()> {
        let offset = self.offset_of_range(address, bytes.len())?;
        self.file.write_all_at(bytes, offset).with_context(|| format!("writing {address:#x}"))
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
    /// When the file cannot be read.
    pub fn digests(&self) -> Result<Digests> {
        let half = (self.size / 2).next_multiple_of(PAGE).min(self.size);
        let (low, high) = std::thread::scope(|scope| {
            let high = scope.spawn(|| self.digests_of(half..self.size));
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
            self.file.read_exact_at(&mut buffer[..length], at).context("reading guest memory")?;
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
            if offset < below { offset } else { offset - below + ABOVE_4G }
        };
        let pages = before.pages.iter().zip(&after.pages).enumerate();
        pages.filter(|(_, (was, is))| was != is).map(|(page, _)| address(page)).collect()
    }
}

/// Digests of every page of guest memory at one moment, in file order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digests {
    pages: Vec<u128>,
}

impl Digests {
    /// How many different pages there are, without that of zeros.
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
