//! A part of a disk as a disk of its own.

use super::dma::{Limits, Pieces};
use super::{BlockDevice, Error};
use core::ops::Range;

/// A part of a disk, or all of it. Nothing outside of it is read or written.
pub struct Partition<D> {
    disk: D,
    /// Its bytes on the disk.
    place: Range<u64>,
}

impl<D: BlockDevice> Partition<D> {
    /// The part of `disk` at `place`.
    ///
    /// # Errors
    /// [`Error::Outside`]: the disk has no such part, or it does not consist of whole blocks.
    pub fn new(disk: D, place: Range<u64>) -> Result<Self, Error> {
        let block = u64::from(disk.block_size());
        let is_part = place.start <= place.end
            && place.end <= disk.capacity()
            && place.start.is_multiple_of(block);
        if is_part { Ok(Self { disk, place }) } else { Err(Error::Outside) }
    }

    /// The disk that it is a part of.
    pub fn into_disk(self) -> D {
        self.disk
    }

    /// The place on the disk of `length` bytes at `at`.
    fn inside(&self, at: u64, length: u64) -> Result<u64, Error> {
        let start = self.place.start.checked_add(at).ok_or(Error::Outside)?;
        let end = start.checked_add(length).ok_or(Error::Outside)?;
        if end <= self.place.end { Ok(start) } else { Err(Error::Outside) }
    }
}

impl<D: BlockDevice> BlockDevice for Partition<D> {
    fn capacity(&self) -> u64 {
        self.place.end - self.place.start
    }

    fn block_size(&self) -> u32 {
        self.disk.block_size()
    }

    fn is_read_only(&self) -> bool {
        self.disk.is_read_only()
    }

    fn limits(&self) -> Limits {
        self.disk.limits()
    }

    fn read(&mut self, at: u64, into: &mut [u8]) -> Result<(), Error> {
        self.disk.read(self.inside(at, into.len() as u64)?, into)
    }

    fn write(&mut self, at: u64, pieces: Pieces) -> Result<(), Error> {
        let length = pieces.iter().try_fold(0_u64, |sum, piece| sum.checked_add(piece.length()));
        self.disk.write(self.inside(at, length.ok_or(Error::Outside)?)?, pieces)
    }

    fn wait_for_one(&mut self) -> Result<bool, Error> {
        self.disk.wait_for_one()
    }

    fn drain(&mut self) -> Result<(), Error> {
        self.disk.drain()
    }

    fn settle(&mut self) -> Result<(), Error> {
        self.disk.settle()
    }

    fn written_below(&self) -> u64 {
        self.disk.written_below().saturating_sub(self.place.start)
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.disk.flush()
    }

    fn stop(&mut self) -> Result<(), Error> {
        self.disk.stop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::virtio::blk::VirtioBlk;
    use crate::fake::{Disk, FakeClock, FakeTransport, old, slot};
    use std::vec;

    #[test]
    fn nothing_outside_is_read_or_written() {
        let (disk, clock) = (Disk::new(vec![1; 8 << 9]), FakeClock::default());
        let start = || VirtioBlk::start(FakeTransport::new(&disk), slot(), &clock, 100);
        for place in [0..4097, 1..512, 0..u64::MAX, 4096..4097] {
            let opened = Partition::new(start().expect("starts"), place.clone());
            assert_eq!(opened.err(), Some(Error::Outside), "{place:?}");
        }
        let mut part = Partition::new(start().expect("starts"), 1024..2560).expect("a part");
        assert_eq!(part.capacity(), 1536);
        let (data, mut read) = ([7; 1024], [0; 512]);
        let requests = disk.borrow().requests;
        for at in [1024, 1536, u64::MAX - 1023, u64::MAX - 511] {
            let pieces = [old(&data)].into_iter().collect();
            assert_eq!(part.write(at, pieces), Err(Error::Outside), "{at:#x}");
            let end = at.saturating_add(512);
            assert_eq!(part.read(end, &mut read), Err(Error::Outside), "{at:#x}");
        }
        assert_eq!(disk.borrow().requests, requests, "the disk is not asked");
        assert_eq!(part.written_below(), u64::MAX - 1024);
        part.write(512, [old(&data)].into_iter().collect()).expect("inside");
        assert_eq!(part.written_below(), 512);
        part.drain().expect("arrives");
        part.read(1024, &mut read).expect("inside");
        assert_eq!(read, [7; 512]);
        let expected = [vec![1; 1536], vec![7; 1024], vec![1; 1536]].concat();
        assert_eq!(disk.borrow().bytes, expected);
    }
}
