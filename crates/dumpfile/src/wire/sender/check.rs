//! The hash of a range, a little at a time.

use sha2::{Digest, Sha256};

use super::piece::in_line;
use crate::wire::{Range, Source, codec};

/// A range that is being hashed.
#[derive(Debug)]
pub(super) struct Check {
    pub(super) range: Range,
    done: u64,
    hash: Sha256,
}

impl Check {
    pub(super) fn new(range: Range) -> Self {
        Self { range, done: 0, hash: Sha256::new() }
    }

    /// The hash, once all of the range is in it.
    pub(super) fn result(&self) -> Option<[u8; 32]> {
        (self.done >= self.range.length()).then(|| self.hash.clone().finalize().into())
    }

    /// Hashes as much as fits into `buffer`. Bytes that cannot be read, or are past the view's end,
    /// count as zero.
    pub(super) fn step<S: Source>(&mut self, source: &mut S, buffer: &mut [u8]) {
        let view = self.range.view();
        let left = self.range.length() - self.done;
        let offset = self.range.offset() + self.done;
        let length =
            usize::try_from(left).unwrap_or(usize::MAX).min(codec::data_capacity(buffer.len()));
        let bytes = &mut buffer[..length];
        let inside = source.view(view).is_some_and(|info| offset + length as u64 <= info.length);
        if inside {
            read_around_holes(source, view, offset, bytes);
        } else {
            bytes.fill(0);
        }
        self.hash.update(&*bytes);
        self.done += length as u64;
    }
}

/// Reads the readable lines; the other lines are zero.
fn read_around_holes<S: Source>(source: &mut S, view: u16, offset: u64, bytes: &mut [u8]) {
    if source.read(view, offset, bytes).is_ok() {
        return;
    }
    let (mut at, mut rest) = (offset, bytes);
    while !rest.is_empty() {
        let length = in_line(at, rest.len() as u64);
        let (line, behind) = rest.split_at_mut(length as usize);
        if source.read(view, at, line).is_err() {
            line.fill(0);
        }
        (at, rest) = (at + length, behind);
    }
}
