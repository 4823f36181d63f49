//! The bulk of a dump on its way to the disk: a log of segments.
//!
//! The chunks of the open segment are in memory, whatever the length of the dump; its block is
//! written when it is closed. Stored bytes go out as they come, in requests as large as the disk
//! takes.

use super::chunks::{after, cut, kept_runs, order};
use super::options::WriteOptions;
use super::place::{Place, write_block};
use super::scratch::Scratch;
use crate::driver::BlockDevice;
use crate::driver::Error;
use crate::driver::dma::Pool;
use crate::gather::{Added, Copies, Gather};
use crate::{Clock, Deadline, list};
use alloc::vec::Vec;
use core::ops::Range;
use dumpfile::Crc32c;
use dumpfile::chunk::{
    ChunkEntry, Codec, Encoder, Left, MOST_COMPRESSED, PAGE, left_of, pages_of, repeats,
};
use dumpfile::disk::{BLOCK, PageCounts, SEGMENT_ENTRIES, Segment, StoredChunks, encode_segment};
use log::warn;
use vmcore::{DumpOffset, Piece, View, What};

/// Chunks that are added at once where memory is contiguous: 1 MiB.
const RUN: u32 = 16;
/// The end of a bulk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// All of it is on the disk.
    Whole,
    /// The region is full.
    NoRoom,
}

/// The bulk on its way to the disk. Places are in bytes from the region's start.
pub(super) struct Bulk<'d, 'c, D: BlockDevice> {
    device: &'d mut D,
    pool: &'d Pool,
    scratch: &'d mut Scratch,
    place: &'d mut Place,
    clock: &'c dyn Clock,
    options: WriteOptions<'c>,
    gather: Gather<'d>,
    /// The encoder, and room for its output.
    encoder: Option<(Encoder, Vec<u8>)>,
    /// Number of the open segment.
    number: u32,
    /// The place of its block.
    start: u64,
    /// The place of the next stored byte.
    at: u64,
    /// Bytes before this place have been given to the device.
    sent: u64,
    /// Its chunks.
    chunks: Vec<StoredChunks>,
    /// The pages of closed segments.
    pages: PageCounts,
    /// Number of the first segment that is not committed.
    committed: u32,
    /// Bytes that were kept since then.
    kept: u64,
    /// Time of the next commit.
    next: Deadline,
}

impl<'d, 'c: 'd, D: BlockDevice> Bulk<'d, 'c, D> {
    /// Nothing is written yet.
    ///
    /// # Errors
    /// [`Error::NoMemory`].
    pub(super) fn new(
        device: &'d mut D,
        (pool, scratch): (&'d Pool, &'d mut Scratch),
        place: &'d mut Place,
        clock: &'c dyn Clock,
        options: WriteOptions<'c>,
    ) -> Result<Self, Error> {
        let copies = Copies { pool, memory: options.memory };
        let gather = Gather::new(copies, device.limits(), BLOCK as u64);
        let encoder = encoder(options).unwrap_or_else(|failure| {
            warn!("no compression: {failure}");
            (place.header.codec, place.header.checksums) = (Codec::Raw, options.checksums);
            None
        });
        let chunks = list::with_room(SEGMENT_ENTRIES)?;
        let start = place.header.bulk_start;
        Ok(Self {
            device,
            pool,
            scratch,
            place,
            clock,
            options,
            gather,
            encoder,
            number: 0,
            start,
            at: start,
            sent: start,
            chunks,
            pages: PageCounts::default(),
            committed: 0,
            kept: 0,
            next: Deadline::after(clock, options.pace),
        })
    }

    /// Writes all of `view`, the `urgent` parts of it first, or as much as the region has room for.
    /// All that the header then names as committed is there for good. `first_arrived` is called
    /// when something is.
    ///
    /// # Errors
    /// The first write that failed; [`Self::rescue`] then commits as much as possible.
    pub(super) fn write(
        &mut self,
        view: &dyn View,
        urgent: &[Range<u64>],
        first_arrived: &mut dyn FnMut(),
    ) -> Result<Ended, Error> {
        let mut ended = Ended::Whole;
        let (mut is_first, head) = (true, self.start + BLOCK as u64);
        'all: for range in order(view.len(), urgent) {
            let mut chunk = range.start;
            while chunk < range.end {
                let Some(count) = self.add(view, chunk, range.end - chunk)? else {
                    ended = Ended::NoRoom;
                    break 'all;
                };
                chunk += count;
                if self.sent > head && core::mem::take(&mut is_first) {
                    self.device.drain()?;
                    first_arrived();
                }
            }
        }
        self.commit()?;
        Ok(ended)
    }

    /// Adds `chunk` and at most `most` - 1 chunks after it. Returns their number, or [`None`] where
    /// the region has no room for them.
    fn add(&mut self, view: &dyn View, chunk: u32, most: u32) -> Result<Option<u32>, Error> {
        if !self.open()? {
            return Ok(None);
        }
        match self.next_chunks(view, chunk, most) {
            chunks if chunks.entry.stored == 0 => {
                self.push(chunks, view.len());
                Ok(Some(chunks.count()))
            }
            chunks if chunks.entry.codec == Codec::Raw => self.add_raw(view, chunks),
            chunks => self.add_compressed(view, chunks),
        }
    }

    /// Chunks that are one entry, without their place.
    fn next_chunks(&mut self, view: &dyn View, chunk: u32, most: u32) -> StoredChunks {
        let left = left_of(view, chunk);
        let kept = left.kept(pages_of(chunk, view.len())) as u64;
        let stored = (kept * PAGE) as u32;
        let raw = ChunkEntry { chunk, codec: Codec::Raw, stored, crc: None, left };
        let is_checked = self.options.checksums || self.encoder.is_some();
        let is_run = stored == 0 || left == Left::default() && !is_checked;
        if is_run {
            let longest = if stored == 0 { u16::MAX.into() } else { RUN - 1 };
            let alike = repeats(view, chunk, most.saturating_sub(1).min(longest));
            return StoredChunks { entry: raw, repeat: alike as u16, at: 0 };
        }
        let entry = match &mut self.encoder {
            Some((encoder, out)) => {
                let mut entry = encoder.encode(view, chunk, self.options.memory, out);
                if entry.codec == Codec::Raw && entry.stored > 0 {
                    entry.crc = Some(Crc32c::of(encoder.pages()));
                }
                entry
            }
            None if is_checked => self.checked(view, raw),
            None => raw,
        };
        StoredChunks { entry, repeat: 0, at: 0 }
    }

    /// The same chunk with its checksum, unless some of it cannot be read: that is no reason for it
    /// to be missing.
    fn checked(&mut self, view: &dyn View, raw: ChunkEntry) -> ChunkEntry {
        let mut crc = Some(Crc32c::new());
        for page in kept_runs(&raw, view.len()) {
            crc = crc.and_then(|crc| {
                let (start, end) = (page.start, page.end);
                self.scratch.add_to(crc, view, start, end, self.options.memory)
            });
        }
        self.place.header.checksums &= crc.is_some();
        ChunkEntry { crc: crc.map(Crc32c::finish), ..raw }
    }

    /// Adds as many of raw chunks as there is room for.
    fn add_raw(&mut self, view: &dyn View, chunks: StoredChunks) -> Result<Option<u32>, Error> {
        self.pad()?;
        let fit = self.room() / u64::from(chunks.entry.stored);
        if fit == 0 {
            return Ok(None);
        }
        let chunks = chunks.first(fit.min(u32::MAX.into()) as u32);
        let chunks = StoredChunks { at: self.at, ..chunks };
        self.push(chunks, view.len());
        match chunks.repeat {
            0 => {
                for run in kept_runs(&chunks.entry, view.len()) {
                    self.append_view(view, run)?;
                }
            }
            _ => {
                let start = chunks.entry.start();
                self.append_view(view, start..start + chunks.stored())?;
            }
        }
        Ok(Some(chunks.count()))
    }

    /// Adds a compressed chunk.
    fn add_compressed(
        &mut self,
        view: &dyn View,
        chunks: StoredChunks,
    ) -> Result<Option<u32>, Error> {
        // If this has room, the pad at the end of the segment has room as well.
        if self.room() < chunks.entry.stored.into() {
            return Ok(None);
        }
        self.push(StoredChunks { at: self.at, ..chunks }, view.len());
        let Some((encoder, out)) = self.encoder.take() else { return Ok(None) };
        let bytes = &out[..chunks.entry.stored as usize];
        let appended = self.append(Piece {
            at: DumpOffset::new(0),
            len: bytes.len() as u64,
            what: What::Bytes(bytes),
        });
        self.encoder = Some((encoder, out));
        appended.map(|()| Some(1))
    }

    /// Bytes from the next stored byte to the region's end.
    const fn room(&self) -> u64 {
        self.place.length.saturating_sub(self.at)
    }

    /// Makes a segment ready that takes one more entry; false where there is no room for one.
    fn open(&mut self) -> Result<bool, Error> {
        if self.kept >= self.options.least && self.next.is_over(self.clock) {
            self.commit()?;
            self.write_header()?;
        } else if self.chunks.len() == SEGMENT_ENTRIES {
            self.close()?;
        }
        if self.at == self.start {
            if self.room() < BLOCK as u64 {
                return Ok(false);
            }
            self.at += BLOCK as u64;
            self.sent = self.at;
        }
        Ok(true)
    }

    fn push(&mut self, chunks: StoredChunks, raw_length: u64) {
        let kept = chunks.entry.left.kept(pages_of(chunks.entry.chunk, raw_length)) as u64;
        self.kept += kept * PAGE * u64::from(chunks.count());
        if !self.chunks.last_mut().is_some_and(|last| last.join(&chunks, raw_length)) {
            // `open` has made room.
            self.chunks.push(chunks);
        }
    }

    /// Adds bytes of the view, and zeros after its end.
    fn append_view(&mut self, view: &dyn View, range: Range<u64>) -> Result<(), Error> {
        let mut at = range.start;
        while at < range.end {
            let most = range.end - at;
            let zeros = Piece { at: DumpOffset::new(at), len: most, what: What::Zero };
            let piece = view.piece(DumpOffset::new(at), most).unwrap_or(zeros);
            at = piece.end().get();
            self.append(piece)?;
        }
        Ok(())
    }

    /// Adds zeros up to the end of a block.
    fn pad(&mut self) -> Result<(), Error> {
        let len = self.at.next_multiple_of(BLOCK as u64) - self.at;
        let zeros = Piece { at: DumpOffset::new(0), len, what: What::Zero };
        if len > 0 { self.append(zeros) } else { Ok(()) }
    }

    /// Adds a piece, and sends full requests.
    fn append(&mut self, mut piece: Piece<'_>) -> Result<(), Error> {
        while piece.len > 0 {
            match self.gather.add(piece)? {
                Added::Taken(count) => {
                    self.at += count;
                    piece = after(piece, count);
                }
                Added::NoBuffer if self.gather.bytes() < BLOCK as u64 => {
                    if !self.device.wait_for_one()? {
                        return Err(Error::NoMemory);
                    }
                }
                Added::Full | Added::NoBuffer => self.send()?,
            }
        }
        Ok(())
    }

    /// Sends all whole blocks.
    fn send(&mut self) -> Result<(), Error> {
        if self.gather.bytes() == 0 {
            return Ok(());
        }
        let (pieces, length) = self.gather.take()?;
        self.device.write(self.place.region + self.sent, pieces)?;
        self.sent += length;
        Ok(())
    }

    /// Closes the segment: all of it has been given to the device then.
    fn close(&mut self) -> Result<(), Error> {
        self.pad()?;
        self.send()?;
        if self.chunks.is_empty() {
            (self.at, self.sent) = (self.start, self.start);
            return Ok(());
        }
        let chunks = core::mem::take(&mut self.chunks);
        let written = self.write_segment(self.start, self.at, self.number, &chunks);
        self.chunks = chunks;
        // If it could not be written, it stays open, for `rescue`.
        written?;
        for chunks in self.chunks.drain(..) {
            self.pages.add(&chunks, self.place.header.raw_length);
        }
        self.number += 1;
        self.start = self.at;
        Ok(())
    }

    fn write_segment(
        &mut self,
        start: u64,
        end: u64,
        number: u32,
        chunks: &[StoredChunks],
    ) -> Result<(), Error> {
        let (header, length) = (&self.place.header, end - start - BLOCK as u64);
        let encode =
            |block: &mut [u8; BLOCK]| encode_segment(header, number, length, chunks, block);
        write_block(self.device, self.pool, self.place.region + start, encode)
    }

    /// Closes the segment, and waits until all that there is is there for good. The header names it
    /// from now on, but is not written.
    fn commit(&mut self) -> Result<(), Error> {
        self.close()?;
        self.device.flush()?;
        self.commit_up_to(self.start, self.number, self.pages);
        self.next = Deadline::after(self.clock, self.options.pace);
        Ok(())
    }

    fn commit_up_to(&mut self, end: u64, number: u32, pages: PageCounts) {
        (self.place.header.committed, self.place.header.pages) = (end, pages);
        (self.committed, self.kept) = (number, 0);
    }

    /// Starts writing the header. The next flush is before the next header.
    fn write_header(&mut self) -> Result<(), Error> {
        self.place.header.generation += 1;
        let (header, at) = (&self.place.header, self.place.header_at());
        write_block(self.device, self.pool, at, |block| header.encode_to(block))
    }

    /// After a failure: commits the part that is certainly there. The header is not written.
    ///
    /// # Errors
    /// Another write fails: the earlier commits are not affected.
    pub(super) fn rescue(&mut self) -> Result<(), Error> {
        self.device.settle()?;
        self.device.flush()?;
        let there = self.device.written_below().saturating_sub(self.place.region).min(self.sent);
        let (mut at, mut number) = (self.place.header.committed, self.committed);
        let mut pages = self.place.header.pages;
        let raw_length = self.place.header.raw_length;
        let mut chunks = core::mem::take(&mut self.chunks);
        while at < self.start {
            // Closed since the last commit: their contents are on the disk only.
            let segment = self.read_segment(at, there.max(at))?;
            let Some(segment) = segment.filter(|segment| segment.number == number) else {
                chunks.clear();
                break;
            };
            if segment.end(at) > there {
                chunks = segment.chunks;
                break;
            }
            segment.chunks.iter().for_each(|chunks| pages.add(chunks, raw_length));
            (at, number) = (segment.end(at), number + 1);
        }
        self.commit_up_to(at, number, pages);
        let end = cut(&mut chunks, there, at);
        if chunks.is_empty() || there < at {
            return Ok(());
        }
        self.write_segment(at, end, number, &chunks)?;
        self.device.flush()?;
        chunks.iter().for_each(|chunks| pages.add(chunks, raw_length));
        self.commit_up_to(end, number + 1, pages);
        Ok(())
    }

    /// The closed segment whose block is at `at`, if the block is there.
    fn read_segment(&mut self, at: u64, there: u64) -> Result<Option<Segment>, Error> {
        if at + BLOCK as u64 > there {
            return Ok(None);
        }
        self.device.read(self.place.region + at, self.scratch.one())?;
        let block = self.scratch.one();
        Ok(Segment::decode_within(block, &self.place.header, at, self.start).ok())
    }
}

/// An encoder where one is wanted.
fn encoder(options: WriteOptions<'_>) -> Result<Option<(Encoder, Vec<u8>)>, Error> {
    let new = || {
        let out = list::filled(MOST_COMPRESSED, 0)?;
        Ok((Encoder::new().or(Err(Error::NoMemory))?, out))
    };
    match options.codec {
        Codec::Raw => Ok(None),
        Codec::Lz4 => new().map(Some),
    }
}
