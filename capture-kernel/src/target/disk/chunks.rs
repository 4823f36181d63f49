//! The bulk of a dump, and the table that says which of its chunks are whole.

use super::scratch::Scratch;
use super::{BlockDevice, Manner, Place, write_block};
use crate::dma::{DmaPiece, Limits, Pieces, Pool};
use crate::pump::Sink;
use crate::{Clock, Deadline, Failure};
use dumpfile::disk::{BLOCK, MARKS, Mark, TableBlock};
use vmcore::{DumpOffset, View};

/// Chunks with checksums are marked after this many of them, so that the disk is not idle for long.
const MOST_CHECKSUMS: u64 = 64;

/// The bulk on its way to the disk. One block of the table is in memory at a time: chunks are sent in
/// order, so those before it are full, and those behind it blank.
pub(super) struct Chunks<'d, 'c, D: BlockDevice> {
    device: &'d mut D,
    pool: &'d Pool,
    scratch: &'d mut Scratch,
    place: &'d Place,
    view: &'d dyn View,
    clock: &'c dyn Clock,
    manner: Manner<'c>,
    table: TableBlock,
    /// Which copy of a block of the table is written next, 0 or 1.
    copy: u64,
    /// Bytes that have been sent.
    sent: u64,
    /// Chunks that are marked.
    marked: u64,
    /// When chunks are marked again.
    next: Deadline,
}

impl<'d, 'c, D: BlockDevice> Chunks<'d, 'c, D> {
    pub(super) fn new(
        device: &'d mut D,
        (pool, scratch): (&'d Pool, &'d mut Scratch),
        place: &'d Place,
        view: &'d dyn View,
        clock: &'c dyn Clock,
        manner: Manner<'c>,
    ) -> Self {
        let (table, next) = (TableBlock::new(0), Deadline::after(clock, manner.pace));
        let [copy, sent, marked] = [0; 3];
        Self { device, pool, scratch, place, view, clock, manner, table, copy, sent, marked, next }
    }

    /// Where the bulk begins, in bytes from the disk's start.
    const fn start(&self) -> u64 {
        self.place.region + self.place.header.bulk_offset
    }

    /// How many chunks lie within the first `bytes`.
    const fn chunks_in(&self, bytes: u64) -> u64 {
        let header = &self.place.header;
        if bytes >= header.bulk_length { header.chunks() } else { bytes / header.chunk }
    }

    fn is_due(&self) -> bool {
        let waiting = self.chunks_in(self.sent) - self.marked;
        let many = self.manner.checksums && waiting >= MOST_CHECKSUMS;
        many || (waiting > 0 && self.next.is_over(self.clock))
    }

    /// Waits until what has been sent is there for good, and marks it.
    pub(super) fn mark(&mut self) -> Result<(), Failure> {
        self.device.flush()?;
        self.mark_below(self.sent)
    }

    /// After a failure: marks what is certainly there.
    pub(super) fn rescue(&mut self) -> Result<(), Failure> {
        self.device.settle()?;
        self.device.flush()?;
        let there = self.device.written_below().saturating_sub(self.start());
        self.mark_below(self.sent.min(there))
    }

    fn mark_below(&mut self, bytes: u64) -> Result<(), Failure> {
        let chunks = self.chunks_in(bytes);
        while self.marked < chunks {
            let index = self.marked / MARKS as u64;
            if self.table.index != index {
                self.table.index = index;
                self.table.marks.fill(Mark::Absent);
            }
            let end = chunks.min((index + 1) * MARKS as u64);
            for chunk in self.marked..end {
                self.table.marks[(chunk % MARKS as u64) as usize] = self.mark_of(chunk);
            }
            self.marked = end;
            self.write_table()?;
        }
        self.copy = 1 - self.copy;
        self.next = Deadline::after(self.clock, self.manner.pace);
        Ok(())
    }

    /// Memory that cannot be read is no reason for a chunk to be missing.
    fn mark_of(&mut self, chunk: u64) -> Mark {
        if !self.manner.checksums {
            return Mark::Whole;
        }
        let (start, end) = self.place.header.chunk_range(chunk);
        let crc = self.scratch.checksum(self.view, start, end, self.manner.memory);
        crc.map_or(Mark::Whole, Mark::Checked)
    }

    /// Writes one copy of the block. The other one is from the last time, and was flushed since.
    fn write_table(&mut self) -> Result<(), Failure> {
        let header = &self.place.header;
        let offset = header.table_block_offset(self.table.index) + self.copy * BLOCK as u64;
        let at = self.place.region + offset;
        let encode = |block: &mut _| self.table.encode_to(header, block);
        write_block(self.device, self.pool, at, encode)?;
        self.device.drain()
    }
}

impl<D: BlockDevice> Sink for Chunks<'_, '_, D> {
    fn limits(&self) -> Limits {
        self.device.limits()
    }

    fn send(&mut self, at: DumpOffset, pieces: Pieces) -> Result<(), Failure> {
        let length = pieces.iter().map(DmaPiece::length).sum::<u64>();
        self.device.write(self.start() + at.get(), pieces)?;
        self.sent = at.get() + length;
        if self.is_due() { self.mark() } else { Ok(()) }
    }

    fn wait_for_one(&mut self) -> Result<bool, Failure> {
        self.device.wait_for_one()
    }

    fn drain(&mut self) -> Result<(), Failure> {
        self.device.drain()
    }
}
