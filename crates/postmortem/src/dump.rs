//! The memory of a dead or running kernel, with a cache of its pages.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::path::Path;

use collector::{LinkOptions, Source, Timeouts, VmcoreFile};
use linux::SegmentMap;
use vmcore::{PhysAddr, ReadPhys};

use crate::Error;

/// Bytes that are read from the dump at once.
const BLOCK: u64 = 4096;
/// Most blocks that are kept: 128 MiB.
const MOST_BLOCKS: usize = 32 << 10;
/// Reads that are longer than this go past the cache.
const LONG: usize = 64 << 10;

/// An open dump: a vmcore of any format, a dump disk, or `/proc/kcore`.
#[derive(Debug)]
pub struct Dump {
    vmcore: VmcoreFile,
    blocks: RefCell<Blocks>,
    /// VMCOREINFO with more lines.
    described: OnceCell<Vec<u8>>,
}

/// Blocks of the dump, by their offsets. [`None`] is a block that cannot be read whole.
#[derive(Debug, Default)]
struct Blocks {
    kept: HashMap<u64, Option<Box<[u8; BLOCK as usize]>>>,
    reads: u64,
}

impl Dump {
    /// Opens a dump; of a disk the dump with this number, else the newest.
    ///
    /// # Errors
    /// As for [`VmcoreFile::open_dump`].
    pub fn open(path: &Path, number: Option<u64>) -> Result<Self, Error> {
        let vmcore = VmcoreFile::open_dump(path, number)?;
        Ok(Self { vmcore, blocks: RefCell::default(), described: OnceCell::new() })
    }

    /// Opens a dump by its name on the command line: a path, or a line to a capture kernel that
    /// serves read requests (`unix:PATH`, `tcp:HOST:PORT`, a terminal).
    ///
    /// # Errors
    /// As for [`VmcoreFile::open_source`].
    pub fn open_source(
        source: &Source,
        number: Option<u64>,
        options: LinkOptions,
        timeouts: Timeouts,
    ) -> Result<Self, Error> {
        let vmcore = VmcoreFile::open_source(source, number, options, timeouts)?;
        Ok(Self { vmcore, blocks: RefCell::default(), described: OnceCell::new() })
    }

    /// The headers and notes.
    pub const fn vmcore(&self) -> &VmcoreFile {
        &self.vmcore
    }

    /// The places of the PT_LOADs.
    pub const fn map(&self) -> &SegmentMap {
        self.vmcore.map()
    }

    /// VMCOREINFO with the lines that were added first.
    pub(crate) fn described(&self, lines: impl FnOnce() -> Vec<u8>) -> &[u8] {
        self.described.get_or_init(lines)
    }

    /// Number of reads that the dump itself has answered.
    pub fn reads(&self) -> u64 {
        self.blocks.borrow().reads
    }

    /// Forgets all that was read: memory of a running kernel changes.
    pub fn refresh(&self) {
        self.blocks.borrow_mut().kept.clear();
    }

    fn read_block(&self, at: u64, offset: usize, into: &mut [u8]) -> Result<(), vmcore::Error> {
        let mut blocks = self.blocks.borrow_mut();
        let Blocks { kept, reads } = &mut *blocks;
        if kept.len() >= MOST_BLOCKS && !kept.contains_key(&at) {
            kept.clear();
        }
        let block = kept.entry(at).or_insert_with(|| {
            let mut bytes = Box::new([0; BLOCK as usize]);
            *reads += 1;
            let is_read = self.vmcore.bytes().read_phys(PhysAddr::new(at), &mut *bytes).is_ok();
            is_read.then_some(bytes)
        });
        match block {
            Some(bytes) => {
                into.copy_from_slice(&bytes[offset..offset + into.len()]);
                Ok(())
            }
            None => {
                *reads += 1;
                self.vmcore.bytes().read_phys(PhysAddr::new(at + offset as u64), into)
            }
        }
    }
}

impl ReadPhys for Dump {
    fn read_phys(&self, at: PhysAddr, into: &mut [u8]) -> Result<(), vmcore::Error> {
        if into.len() > LONG {
            self.blocks.borrow_mut().reads += 1;
            return self.vmcore.bytes().read_phys(at, into);
        }
        let mut done = 0;
        while done < into.len() {
            let unreadable = vmcore::Error::Unreadable { at };
            let next = at.checked_add(done as u64).ok_or(unreadable)?.get();
            let offset = next % BLOCK;
            let count = (BLOCK - offset).min((into.len() - done) as u64) as usize;
            self.read_block(next - offset, offset as usize, &mut into[done..done + count])?;
            done += count;
        }
        Ok(())
    }
}
