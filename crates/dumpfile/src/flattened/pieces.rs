//! The place of each byte of a flattened file.

use alloc::collections::BinaryHeap;
use alloc::vec::Vec;

use super::{END, FlattenedError, HEADER, RECORD};

/// Consecutive bytes of the file, and their place in the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    start: u64,
    end: u64,
    at: u64,
}

/// The bytes of a file in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pieces {
    list: Vec<Piece>,
}

/// The bytes at an offset of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// They are in the stream: place and length.
    Stored(u64, u64),
    /// No record has them: they are zero. Length up to the next record's.
    Gap(u64),
}

/// Reads the records of a stream one by one: [`Self::place`] names the place of the next one, and
/// [`Self::record`] takes its first bytes.
#[derive(Clone, Debug)]
pub struct Scan {
    /// Length of the stream in bytes.
    length: u64,
    at: Option<u64>,
    records: Vec<Piece>,
}

impl Scan {
    /// For a stream of `length` bytes, whose header is good.
    pub const fn new(length: u64) -> Self {
        Self { length, at: Some(HEADER as u64), records: Vec::new() }
    }

    /// The place in the stream of the next [`RECORD`] bytes to look at; [`None`] after the last
    /// record.
    pub const fn place(&self) -> Option<u64> {
        self.at
    }

    /// Takes the first bytes of the record at [`Self::place`], as many as there are.
    ///
    /// # Errors
    /// [`FlattenedError::Cut`], [`FlattenedError::Record`], [`FlattenedError::NoMemory`].
    pub fn record(&mut self, bytes: &[u8]) -> Result<(), FlattenedError> {
        let Some(at) = self.at else { return Ok(()) };
        let head: &[u8; RECORD] = bytes.first_chunk().ok_or(FlattenedError::Cut(self.length))?;
        if *head == END {
            self.at = None;
            return Ok(());
        }
        let impossible = FlattenedError::Record { at };
        let ([start, length], []) = head.as_chunks::<8>() else { return Err(impossible) };
        let (start, length) = (u64::from_be_bytes(*start), u64::from_be_bytes(*length));
        let end = start.checked_add(length).filter(|end| i64::try_from(*end).is_ok());
        let end = end.ok_or(impossible)?;
        let data = at + RECORD as u64;
        let next = data.checked_add(length).ok_or(impossible)?;
        if next > self.length {
            return Err(FlattenedError::Cut(self.length));
        }
        if length > 0 {
            self.records.try_reserve(1).map_err(|_| FlattenedError::NoMemory)?;
            self.records.push(Piece { start, end, at: data });
        }
        self.at = Some(next);
        Ok(())
    }

    /// The file that the records make.
    ///
    /// # Errors
    /// [`FlattenedError::NoMemory`].
    pub fn finish(self) -> Result<Pieces, FlattenedError> {
        let no_memory = |_| FlattenedError::NoMemory;
        let mut records = self.records;
        // Places in the stream tell which of two records is the later one.
        records.sort_unstable_by_key(|record| (record.start, record.at));
        let mut pieces = Pieces::default();
        let mut open: BinaryHeap<(u64, u64, u64)> = BinaryHeap::new();
        open.try_reserve(records.len()).map_err(no_memory)?;
        pieces.list.try_reserve(records.len()).map_err(no_memory)?;
        let (mut at, mut next) = (0, records.iter().peekable());
        loop {
            while open.peek().is_some_and(|(_, end, _)| *end <= at) {
                open.pop();
            }
            let new = next.peek().map(|record| record.start);
            if let Some((place, end, start)) = open.peek().copied() {
                let until = new.unwrap_or(end).min(end);
                pieces.push(Piece { start: at, end: until, at: place + (at - start) })?;
                at = at.max(until);
            } else if let Some(start) = new {
                at = start;
            } else {
                return Ok(pieces);
            }
            while let Some(record) = next.next_if(|record| record.start <= at) {
                open.push((record.at, record.end, record.start));
            }
        }
    }
}

impl Pieces {
    /// Adds a piece at the end, or makes the last one longer. One without bytes is dropped.
    fn push(&mut self, new: Piece) -> Result<(), FlattenedError> {
        if new.start >= new.end {
            return Ok(());
        }
        if let Some(last) = self.list.last_mut()
            && last.end == new.start
            && last.at + (last.end - last.start) == new.at
        {
            last.end = new.end;
            return Ok(());
        }
        self.list.try_reserve(1).map_err(|_| FlattenedError::NoMemory)?;
        self.list.push(new);
        Ok(())
    }

    /// Length of the file in bytes.
    pub fn length(&self) -> u64 {
        self.list.last().map_or(0, |last| last.end)
    }

    /// The bytes from `offset` on that have one place; [`None`] at the end of the file.
    pub fn find(&self, offset: u64) -> Option<Found> {
        let piece = self.list.get(self.list.partition_point(|piece| piece.end <= offset))?;
        Some(match offset.checked_sub(piece.start) {
            Some(skip) => Found::Stored(piece.at + skip, piece.end - offset),
            None => Found::Gap(piece.start - offset),
        })
    }
}
